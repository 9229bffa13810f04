use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::engine::Address;

const PATIENCE: Duration = Duration::from_secs(5);
const EJECTED: Duration = Duration::from_secs(10);

fn address(last: u8) -> Address {
    Address::Tcp(([192, 0, 2, last], 5060).into())
}

/// Endpoints with these weights, of which the last `backups` are backups.
fn group(balance: Balance, weights: &[u8], backups: usize) -> Group {
    let mut endpoints = Vec::new();
    for (position, weight) in weights.iter().enumerate() {
        let last = u8::try_from(position + 1).expect("a few");
        let name = format!("sip-{last}.example.com:5060");
        let mut endpoint = Endpoint::new(&name, Presence::new(&[address(last)]));
        endpoint.weight = *weight;
        if position >= weights.len() - backups {
            endpoint.role = Role::Backup;
        }
        endpoints.push(endpoint);
    }
    let balance = BalanceSettings { policy: balance, ..BalanceSettings::default() };
    let source = SourceSettings::Any;
    Group { name: "test".into(), endpoints, balance, source, checks: None, resolve_interval: None }
}

/// A shard in front of one group.
struct Rig {
    upstreams: Upstreams,
    group: Arc<Group>,
    now: Time,
}

impl Rig {
    fn new(group: Group) -> Self {
        let group = Arc::new(group);
        let upstreams = Upstreams::new(vec![Arc::clone(&group)], 0);
        Self { upstreams, group, now: Time::from_nanos(77) }
    }

    fn try_choose(&mut self, source: Option<IpAddr>, tried: &Attempts) -> Option<Choice> {
        let client = source.map(|source| (source, 4711).into());
        let request = Request { client, patience: PATIENCE, tried };
        self.upstreams.choose(0, &request, self.now)
    }

    fn choose(&mut self) -> Choice {
        self.try_choose(None, &Attempts::default()).expect("nothing was tried yet")
    }

    /// The endpoints of connections that end at once.
    fn endpoints<const N: usize>(&mut self) -> [usize; N] {
        [(); N].map(|()| self.choose().endpoint)
    }

    fn owner(&mut self, source: IpAddr) -> usize {
        self.try_choose(Some(source), &Attempts::default()).expect("nothing was tried").endpoint
    }

    fn report(&mut self, endpoint: usize, up: bool) {
        let destination = self.destination(endpoint);
        self.upstreams.report(0, endpoint, &destination, up, self.now);
    }

    /// Its first address.
    fn destination(&self, endpoint: usize) -> Arc<Destination> {
        Arc::clone(&self.group.endpoints[endpoint].presence.destinations()[0])
    }

    /// Checks find it up or down.
    fn check(&self, endpoint: usize, passed: bool) {
        let settings = HealthSettings { rise: 1, fall: 1, ..HealthSettings::default() };
        self.destination(endpoint).health.record(passed, &settings);
    }

    /// The endpoints of this role that are up.
    fn up(&self, role: Role) -> Vec<usize> {
        let seen = &self.upstreams.groups[0].seen;
        let is_up =
            |at: &usize| seen[*at].borrow().has(&Attempts::default(), Reach::ALL, true, self.now);
        let has_role = |at: &usize| self.group.endpoints[*at].role == role;
        (0..seen.len()).filter(has_role).filter(is_up).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

#[test]
fn endpoints_take_turns() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1, 1, 1], 0));
    assert_eq!(rig.endpoints(), [0, 1, 2, 0, 1, 2]);
    let mut second = Upstreams::new(vec![Arc::clone(&rig.group)], 1);
    let request = Request { client: None, patience: PATIENCE, tried: &Attempts::default() };
    let first = second.choose(0, &request, rig.now).expect("nothing was tried");
    assert_eq!(first.endpoint, 1, "another shard begins elsewhere");
}

#[test]
fn one_that_failed_is_passed_over_until_one_connection_has_tried_it() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1, 1, 1], 0));
    rig.report(1, false);
    assert_eq!(rig.endpoints(), [0, 2, 0, 2, 0, 2]);
    rig.pass(EJECTED - Duration::from_nanos(1));
    assert_eq!(rig.endpoints(), [0, 2]);
    rig.pass(Duration::from_nanos(1));
    let trials = rig.endpoints::<6>().into_iter().filter(|endpoint| *endpoint == 1).count();
    assert_eq!(trials, 1);
    rig.report(1, true);
    let mut three = rig.endpoints::<3>();
    three.sort_unstable();
    assert_eq!(three, [0, 1, 2]);
    assert_eq!(rig.group.endpoints[1].presence.figures().ejections, 1);
}

#[test]
fn a_trial_that_nobody_waits_for_makes_way_for_another() {
    let mut rig = Rig::new(group(Balance::LeastConnections, &[1, 1], 0));
    rig.report(0, false);
    rig.pass(EJECTED);
    // With connections on the other one, the trial is due at once.
    let _elsewhere = Occupied::new(&rig.group.endpoints[1].presence, &rig.destination(1));
    assert_eq!(rig.endpoints(), [0, 1, 1], "its peer leaves, and nothing is reported");
    rig.pass(TIMEOUT_WHEN_DOWN);
    assert_eq!(rig.endpoints(), [0, 1]);
}

#[test]
fn with_all_down_each_is_tried_and_given_less_time() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1, 1], 0));
    assert_eq!(rig.choose().timeout, PATIENCE);
    for endpoint in [0, 1] {
        rig.report(endpoint, false);
    }
    let choice = rig.choose();
    assert_eq!((choice.endpoint, choice.timeout), (1, TIMEOUT_WHEN_DOWN));
    assert_eq!(rig.endpoints(), [0, 1, 0, 1, 0, 1]);
    rig.pass(10 * EJECTED);
    assert_eq!(rig.choose().timeout, TIMEOUT_WHEN_DOWN, "a trial does not wait for long either");
    rig.report(0, true);
    rig.report(1, true);
    assert_eq!(rig.choose().timeout, PATIENCE);
}

#[test]
fn groups_do_not_share_what_they_learn() {
    let groups = [2, 1].map(|count| Arc::new(group(Balance::RoundRobin, &vec![1; count], 0)));
    let mut upstreams = Upstreams::new(groups.to_vec(), 0);
    let failed = &groups[0].endpoints[0].presence.destinations()[0];
    upstreams.report(0, 0, failed, false, Time::ZERO);
    let request = Request { client: None, patience: PATIENCE, tried: &Attempts::default() };
    let other = upstreams.choose(1, &request, Time::ZERO).expect("nothing was tried");
    assert_eq!(other.timeout, PATIENCE);
    assert_eq!(upstreams.choose(0, &request, Time::ZERO).expect("untried").endpoint, 1);
}

#[test]
fn backups_are_for_when_every_primary_is_down() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1; 4], 2));
    rig.report(0, false);
    assert_eq!(rig.endpoints(), [1; 3]);
    rig.check(1, false);
    assert_eq!(rig.endpoints(), [2, 3, 2, 3]);
    assert_eq!(rig.choose().timeout, PATIENCE);
    // One primary is back.
    rig.check(1, true);
    assert_eq!(rig.endpoints(), [1; 3]);
    // Nothing is up: primaries come first.
    rig.check(1, false);
    for backup in [2, 3] {
        rig.report(backup, false);
    }
    let mut tried = Attempts::default();
    let mut order = Vec::new();
    while let Some(choice) = rig.try_choose(None, &tried) {
        assert_eq!(choice.timeout, TIMEOUT_WHEN_DOWN);
        order.push(choice.endpoint);
        tried.add(choice.endpoint, choice.destination);
    }
    let (primaries, backups) = order.split_at_mut(2);
    primaries.sort_unstable();
    backups.sort_unstable();
    assert_eq!((&*primaries, &*backups), (&[0, 1][..], &[2, 3][..]));
}

#[test]
fn an_endpoint_is_up_when_neither_checks_nor_connections_say_otherwise() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1, 1], 0));
    rig.check(0, false);
    assert_eq!(rig.endpoints(), [1, 1, 1]);
    rig.report(0, true);
    assert_eq!(rig.endpoints(), [1, 1, 1], "one connection proves less than checks");
    rig.check(0, true);
    rig.report(0, false);
    assert_eq!(rig.endpoints(), [1, 1, 1], "the failure is newer than the check");
    rig.check(0, true);
    assert_eq!(rig.endpoints::<4>().iter().sum::<usize>(), 2, "both again");
    assert_eq!(rig.choose().timeout, PATIENCE);
}

#[test]
fn the_addresses_of_a_name_are_tried_in_turn_before_another_endpoint() {
    let mut parts = group(Balance::RoundRobin, &[1, 1], 0);
    parts.endpoints[0].presence = Presence::new(&[address(1), address(11), address(21)]);
    let mut rig = Rig::new(parts);
    let texts = |rig: &mut Rig| {
        let mut tried = Attempts::default();
        let mut texts = Vec::new();
        while let Some(choice) = rig.try_choose(None, &tried) {
            texts.push(choice.destination.address.to_string());
            rig.upstreams.report(0, choice.endpoint, &choice.destination, false, rig.now);
            tried.add(choice.endpoint, choice.destination);
        }
        texts
    };
    let all = ["192.0.2.1:5060", "192.0.2.11:5060", "192.0.2.21:5060", "192.0.2.2:5060"];
    assert_eq!(texts(&mut rig), all);
    let presence = Arc::clone(&rig.group.endpoints[0].presence);
    assert_eq!(presence.figures().connect_failures, 3);
    // The name has other addresses: those that stay keep what is known about them.
    assert!(presence.set_addresses(&[address(21), address(31)]));
    let choice = rig.choose();
    assert_eq!(choice.destination.address, address(31));
    assert_eq!(choice.timeout, PATIENCE);
}

#[test]
fn a_report_about_an_address_that_is_gone_harms_nobody() {
    let mut rig = Rig::new(group(Balance::RoundRobin, &[1], 0));
    let choice = rig.choose();
    rig.group.endpoints[0].presence.set_addresses(&[address(9)]);
    assert_eq!(rig.choose().destination.address, address(9));
    rig.upstreams.report(0, 0, &choice.destination, false, rig.now);
    assert_eq!(rig.choose().timeout, PATIENCE);
}

/// A shard that dials from these, in front of two endpoints.
fn from(lasts: &[u8]) -> Rig {
    let list = lasts.iter().map(|last| [10, 0, 0, *last].into()).collect();
    Rig::new(Group { source: SourceSettings::From(list), ..group(Balance::RoundRobin, &[1, 1], 0) })
}

#[test]
fn other_sources_come_before_other_endpoints_and_share_the_time_of_the_first() {
    let mut rig = from(&[1, 2]);
    let mut tried = Attempts::default();
    let mut seen = Vec::new();
    let mut patience = PATIENCE;
    while let Some(choice) = rig.try_choose(None, &tried) {
        let Source::From(IpAddr::V4(source)) = choice.source else { panic!("{choice:?}") };
        seen.push((choice.endpoint, source.octets()[3], choice.timeout));
        patience = Duration::from_secs(2);
        rig.upstreams.report_used_up(0, &choice, rig.now);
        tried.add_source(&choice, patience);
    }
    let expected = [(0, 1, PATIENCE), (0, 2, patience), (1, 1, PATIENCE), (1, 2, patience)];
    assert_eq!(seen, expected);
    // The endpoints did nothing.
    assert_eq!(rig.up(Role::Primary), [0, 1]);
    assert_eq!([0, 1].map(|at| rig.destination(at).connections()), [0, 0]);
}

#[test]
fn a_source_that_is_used_up_is_not_asked_by_the_next_connection() {
    let mut rig = from(&[1, 2]);
    let choice = rig.choose();
    rig.upstreams.report_used_up(0, &choice, rig.now);
    let next: Vec<Choice> = (0..4).map(|_| rig.choose()).collect();
    let towards_the_first = next.iter().filter(|next| next.endpoint == choice.endpoint);
    assert!(towards_the_first.clone().all(|next| next.source != choice.source), "{next:?}");
    assert_eq!(towards_the_first.count(), 2);
}

#[test]
fn sources_belong_to_endpoints_as_their_weights_say() {
    let mut rig = Rig::new(group(Balance::SourceHash, &[1, 3, 6], 0));
    let mut owned = [0u32; 3];
    for number in 0..10_000u32 {
        owned[rig.owner(IpAddr::from((0x0a00_0000 + number).to_be_bytes()))] += 1;
    }
    for (count, expected) in owned.into_iter().zip([1_000, 3_000, 6_000]) {
        assert!(count.abs_diff(expected) < 200, "{owned:?}");
    }
}

#[test]
fn attempts_from_many_sources_have_an_end_too() {
    let mut rig = from(&(1..=60).collect::<Vec<_>>());
    let mut tried = Attempts::default();
    let mut count = 0;
    while let Some(choice) = rig.try_choose(None, &tried) {
        tried.add_source(&choice, choice.timeout);
        count += 1;
    }
    assert_eq!(count, MAX_ATTEMPTS);
}

#[test]
fn what_no_source_leads_to_is_passed_over() {
    let v6 = Address::Tcp(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 5060).into());
    let mut group = group(Balance::RoundRobin, &[1, 1], 0);
    group.endpoints[0] = Endpoint::new("new", Presence::new(&[v6]));
    group.source = SourceSettings::Client { keep_port: false };
    let mut rig = Rig::new(group);
    for _ in 0..3 {
        let choice = rig.try_choose(Some([10, 0, 0, 1].into()), &Attempts::default());
        assert_eq!(choice.expect("one of its family").endpoint, 1);
    }
    assert!(rig.try_choose(None, &Attempts::default()).is_none(), "a client without an address");
}

#[test]
fn attempts_have_an_end() {
    let mut parts = group(Balance::RoundRobin, &[1; 10], 0);
    for (position, endpoint) in (0..).zip(&mut parts.endpoints) {
        let addresses: Vec<_> = (0..10).map(|last| address(10 * position + last)).collect();
        endpoint.presence = Presence::new(&addresses);
    }
    let mut rig = Rig::new(parts);
    let mut tried = Attempts::default();
    let mut count = 0;
    while let Some(choice) = rig.try_choose(None, &tried) {
        tried.add(choice.endpoint, choice.destination);
        count += 1;
    }
    assert_eq!(count, MAX_ATTEMPTS);
}

/// Connections of an older generation count, and what it learnt is known.
#[test]
fn what_stays_over_a_reload_keeps_its_connections_and_what_was_learnt() {
    let mut rig = Rig::new(group(Balance::LeastConnections, &[1, 1, 1], 0));
    let old: Vec<_> = (0..6).map(|_| rig.choose()).collect();
    rig.report(2, false);
    let mut parts = group(Balance::LeastConnections, &[1, 1], 0);
    parts.endpoints[0] = rig.group.endpoints[0].clone();
    parts.endpoints.push(rig.group.endpoints[2].clone());
    let next = Arc::new(parts);
    rig.upstreams = rig.upstreams.next(vec![Arc::clone(&next)]);
    rig.group = next;
    assert_eq!(rig.endpoints(), [1, 1, 1], "the one that has no connections yet");
    let _two: [Choice; 2] = [(); 2].map(|()| rig.choose());
    let three: Vec<Choice> = (0..3).map(|_| rig.choose()).collect();
    assert!(three.iter().all(|choice| choice.endpoint != 2), "known to be down");
    drop((three, old));
    assert_eq!(rig.choose().endpoint, 0);
    // What the new generation learns, the old one knows: there is one state.
    rig.report(2, true);
    assert_eq!(rig.choose().endpoint, 2);
}

#[test]
fn removing_an_endpoint_moves_its_own_sources_only() {
    let sources: Vec<IpAddr> =
        (0..4_000u32).map(|number| std::net::Ipv4Addr::from(0x0a01_0000 + number).into()).collect();
    let mut all = Rig::new(group(Balance::SourceHash, &[1, 1, 2, 1], 0));
    let owners: Vec<usize> = sources.iter().map(|source| all.owner(*source)).collect();
    let mut shares = HashMap::new();
    for owner in &owners {
        *shares.entry(*owner).or_insert(0u32) += 1;
    }
    for (endpoint, expected) in [(0, 800), (1, 800), (2, 1_600), (3, 800)] {
        let share = shares[&endpoint];
        assert!(share.abs_diff(expected) < expected / 8, "{endpoint}: {share}");
    }
    // By configuration, and by being down.
    let mut fewer = group(Balance::SourceHash, &[1, 1, 2, 1], 0);
    fewer.endpoints.remove(1);
    fewer.endpoints.reverse();
    let mut fewer = Rig::new(fewer);
    all.report(1, false);
    for (source, owner) in sources.iter().zip(&owners) {
        let by_name = fewer.owner(*source);
        let by_name = &fewer.group.endpoints[by_name].name;
        let now = all.owner(*source);
        assert_eq!(&all.group.endpoints[now].name, by_name, "nodes agree, whatever the order");
        assert!(now == *owner || *owner == 1, "{source} moved");
        assert_ne!(now, 1);
    }
}

proptest! {
    #[test]
    fn turns_follow_the_weights(
        weights in prop::collection::vec(1u8..=9, 1..8),
        rounds in 1usize..4,
    ) {
        let mut rig = Rig::new(group(Balance::RoundRobin, &weights, 0));
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let mut counts = vec![0; weights.len()];
        for _ in 0..total * rounds {
            counts[rig.choose().endpoint] += 1;
        }
        let expected: Vec<_> = weights.iter().map(|w| usize::from(*w) * rounds).collect();
        prop_assert_eq!(counts, expected);
    }

    /// The busiest of all is the busier one of every two that it is in.
    #[test]
    fn of_two_the_busier_is_never_chosen(
        loads in prop::collection::vec(0usize..20, 2..8),
        busiest in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let group = Arc::new(group(Balance::PowerOfTwo, &vec![1; loads.len()], 0));
        let busiest = busiest.index(loads.len());
        let mut load = Vec::new();
        for (position, count) in loads.iter().enumerate() {
            let count = count + if position == busiest { 20 } else { 0 };
            let presence = &group.endpoints[position].presence;
            let destination = &presence.destinations()[0];
            load.extend((0..count).map(|_| Occupied::new(presence, destination)));
        }
        let mut upstreams = Upstreams::new(vec![Arc::clone(&group)], seed);
        let tried = Attempts::default();
        let request = Request { client: None, patience: PATIENCE, tried: &tried };
        for _ in 0..50 {
            let choice = upstreams.choose(0, &request, Time::ZERO).expect("untried");
            prop_assert_ne!(choice.endpoint, busiest);
        }
    }

    #[test]
    fn connections_that_last_are_spread_by_weight(
        weights in prop::collection::vec(1u8..=5, 1..6),
        least in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let policy = if least { Balance::LeastConnections } else { Balance::PowerOfTwo };
        let group = Arc::new(group(policy, &weights, 0));
        let mut upstreams = Upstreams::new(vec![Arc::clone(&group)], seed);
        let tried = Attempts::default();
        let request = Request { client: None, patience: PATIENCE, tried: &tried };
        let choose = |_| upstreams.choose(0, &request, Time::ZERO).expect("untried");
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        let _held: Vec<Choice> = (0..40 * total).map(choose).collect();
        for (endpoint, weight) in group.endpoints.iter().zip(&weights) {
            let expected = 40 * u32::from(*weight);
            let connections = endpoint.presence.connections();
            // The lighter of two that are drawn by weight.
            let slack = if least { 1 } else { 3 + expected / 10 };
            prop_assert!(connections.abs_diff(expected) <= slack, "{connections} of {expected}");
        }
    }

    /// The same seed and the same events lead to the same choices; whatever happens, something is
    /// chosen, and nothing that is passed over while another one is up.
    #[test]
    fn choices_are_reproducible_and_sound(
        policy in prop::sample::select(&Balance::ALL[..]),
        backups in 0usize..3,
        seed in any::<u64>(),
        events in prop::collection::vec((0u8..5, 0usize..5, 0u64..30), 1..60),
    ) {
        let run = || {
            let mut rig = Rig::new(group(policy, &[1, 2, 1, 1, 3], backups));
            rig.upstreams = Upstreams::new(vec![Arc::clone(&rig.group)], seed);
            let mut held = Vec::new();
            let mut chosen = Vec::new();
            for (kind, endpoint, time) in &events {
                match kind {
                    0 => rig.report(*endpoint, false),
                    1 => rig.report(*endpoint, true),
                    2 => rig.check(*endpoint, time % 2 == 0),
                    3 => rig.pass(Duration::from_secs(*time)),
                    _ => drop(held.pop()),
                }
                let source = Some([10, 0, 0, u8::try_from(*time).expect("small")].into());
                let tried = Attempts::default();
                let [primaries, backups] = [Role::Primary, Role::Backup].map(|role| rig.up(role));
                let choice = rig.try_choose(source, &tried).expect("untried");
                let allowed = if primaries.is_empty() { backups } else { primaries };
                prop_assert!(allowed.is_empty() || allowed.contains(&choice.endpoint));
                prop_assert!(!allowed.is_empty() || choice.timeout == TIMEOUT_WHEN_DOWN);
                chosen.push(choice.endpoint);
                held.push(choice);
            }
            drop(held);
            let open: u32 =
                rig.group.endpoints.iter().map(|one| one.presence.connections()).sum();
            prop_assert_eq!(open, 0);
            Ok(chosen)
        };
        prop_assert_eq!(run()?, run()?);
    }
}
