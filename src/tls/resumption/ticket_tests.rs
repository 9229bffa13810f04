//! Tickets, their keys, epochs and secrets, over several nodes and with clocks that differ.

use proptest::prelude::*;
use rustls::server::ProducesTickets;

use super::tests::{LIFETIME, TestClock, accepted, as_rustls, binding};
use super::*;

/// A process: its clock, its keys and one domain of it.
struct Node {
    clock: TestClock,
    keys: Arc<TicketKeys>,
    tickets: Tickets,
}

impl Node {
    fn random(now: u64) -> Self {
        let clock = TestClock::new();
        clock.set(now);
        let keys = TicketKeys::new(lifetime(LIFETIME), clock.clock()).expect("random numbers");
        let tickets = Tickets::new(binding(1), Arc::clone(&keys));
        Self { clock, keys, tickets }
    }

    fn sharing(secrets: &[&Secret], now: u64) -> Self {
        let node = Self::random(now);
        node.roll(secrets);
        node
    }

    fn roll(&self, secrets: &[&Secret]) {
        self.set(Some(self::secrets(secrets)), LIFETIME);
    }

    fn set(&self, secrets: Option<Secrets>, seconds: u64) {
        self.keys.set(secrets, lifetime(seconds)).expect("random numbers");
    }

    fn make(&self) -> Vec<u8> {
        as_rustls(|| self.tickets.encrypt(b"session")).expect("a small session")
    }

    fn takes(&self, ticket: &[u8]) -> bool {
        match as_rustls(|| self.tickets.decrypt(ticket)) {
            Some(session) => session == b"session",
            None => false,
        }
    }

    fn stats(&self) -> TicketStats {
        self.keys.stats()
    }
}

fn lifetime(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secret() -> Secret {
    Secret::random().expect("random numbers")
}

fn secrets(list: &[&Secret]) -> Secrets {
    let text: Vec<_> = list.iter().map(|secret| secret.to_hex().to_string()).collect();
    Secrets::parse(text.join("\n").as_bytes()).expect("good secrets")
}

/// First second of an epoch.
const START: u64 = LIFETIME * 1_000;

#[test]
fn a_ticket_that_was_tampered_with_is_refused() {
    let node = Node::sharing(&[&secret()], START);
    let ticket = node.make();
    assert!(!ticket.windows(7).any(|bytes| bytes == b"session"));
    assert!(node.takes(&ticket));
    for position in 0..ticket.len() {
        let mut bad = ticket.clone();
        bad[position] ^= 1;
        assert!(!node.takes(&bad) && !node.takes(&ticket[..position]), "{position}");
    }
    let stats = node.stats();
    // A changed name is one that nobody knows: bytes 1 to 8, and what is cut behind them is
    // still too short to have a name until it has all the rest.
    assert_eq!(stats.refused.of(Refusal::UnknownKey), 8);
    let rest = 2 * ticket.len() as u64 - stats.refused.of(Refusal::UnknownKey);
    assert_eq!(
        (stats.refused.of(Refusal::Malformed), accepted(&stats), stats.issued),
        (rest, 1, 1)
    );
}

/// Nodes of different versions read each other's tickets only while this holds. The ticket was made
/// by other code than ours.
#[test]
fn keys_and_format_do_not_change_between_versions() {
    const TICKET: &str = "02c4b449fd9098ca1a000102030405060708090a0b4173ad321ee16170a260ef\
                          84f3044fa3ddc51b0004a9569ad2c4c01cc569726e1ac9782d2c3726f8b3ea58\
                          a5746337af9ac42a1be97cd8f6fd450e6aa0331dde859a3021ecb387c076cc50\
                          f564199ea2699b2e94f139972a3873cdd94313e99d615186315d92edc8";
    let file: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
    let node = Node::random(START);
    node.set(Secrets::parse(file.as_bytes()), LIFETIME);
    let ticket = data_encoding::HEXLOWER.decode(TICKET.as_bytes()).expect("hex");
    assert!(node.takes(&ticket));
    assert_eq!(node.make()[..9], ticket[..9]);
    // It is of a client, and of a handshake nine seconds before it.
    let left = || (node.tickets.decrypt(&ticket), node.tickets.lifetime());
    assert_eq!(u64::from(as_rustls(left).1), LIFETIME - 9);
    // One of the former format is refused as such.
    assert!(!node.takes(&[&[1], &ticket[1..]].concat()));
    assert_eq!(node.stats().refused.of(Refusal::OtherFormat), 1);
}

#[test]
fn tickets_are_of_bounded_length_and_never_the_same() {
    let node = Node::random(START);
    assert_ne!(node.make(), node.make());
    let overhead = node.make().len() - b"session".len();
    let longest = 16 * 1024 - overhead;
    let ticket = as_rustls(|| node.tickets.encrypt(&vec![7; longest])).expect("fits");
    assert_eq!(as_rustls(|| node.tickets.decrypt(&ticket)), Some(vec![7; longest]));
    assert_eq!(as_rustls(|| node.tickets.encrypt(&vec![7; longest + 1])), None);
    assert_eq!(as_rustls(|| node.tickets.decrypt(&[ticket, vec![0]].concat())), None);
    assert_eq!((node.stats().issued, node.stats().refused.of(Refusal::Malformed)), (4, 1));
    let empty = as_rustls(|| node.tickets.encrypt(b"")).expect("fits");
    assert_eq!(as_rustls(|| node.tickets.decrypt(&empty)), Some(Vec::new()));
}

#[test]
fn the_lifetime_is_exact_to_the_second() {
    for offset in [0, 1, LIFETIME / 2, LIFETIME - 1] {
        let node = Node::sharing(&[&secret()], START + offset);
        let ticket = node.make();
        node.clock.pass(LIFETIME - 1);
        assert!(node.takes(&ticket), "{offset}: in the last second");
        node.clock.pass(1);
        assert!(!node.takes(&ticket), "{offset}: too old");
        assert_eq!(node.stats().expired, [1, 0, 0], "{offset}");
        node.clock.pass(LIFETIME);
        assert!(!node.takes(&ticket), "{offset}: the key is gone");
        assert_eq!(node.stats().refused.of(Refusal::UnknownKey), 1, "{offset}");
        assert_eq!(u64::from(as_rustls(|| node.tickets.lifetime())), LIFETIME);
    }
}

#[test]
fn the_epoch_of_a_key_is_the_readers_view() {
    let secret = secret();
    let node = |now| Node::sharing(&[&secret], now);
    let reader = node(START);
    for (made, expected) in [
        (START - LIFETIME - 1, None),
        (START - LIFETIME + 1, Some(Epoch::Previous)),
        (START - 1, Some(Epoch::Previous)),
        (START, Some(Epoch::Current)),
        (START + LIFETIME - 1, Some(Epoch::Current)),
        (START + LIFETIME, Some(Epoch::Next)),
        (START + 2 * LIFETIME - 1, Some(Epoch::Next)),
        (START + 2 * LIFETIME, None),
    ] {
        let before = reader.stats();
        assert_eq!(reader.takes(&node(made).make()), expected.is_some(), "{made}");
        let mut after = before;
        match expected {
            Some(epoch) => after.accepted[epoch as usize][Rank::First as usize] += 1,
            None => {
                after.refused = after.refused.iter().chain([(Refusal::UnknownKey, 1)]).collect()
            }
        }
        assert_eq!(reader.stats(), after, "{made}");
    }
    // Time before the first epoch's end has no previous one.
    assert!(node(5).takes(&node(7).make()));
}

#[test]
fn a_clock_that_is_set_back_and_forth_loses_nothing() {
    let node = Node::sharing(&[&secret()], START);
    let ticket = node.make();
    for now in [START + LIFETIME - 1, START - 1, START + LIFETIME - 1, START - LIFETIME, START] {
        node.clock.set(now);
        assert!(node.takes(&ticket), "{now}");
    }
}

#[test]
fn domains_and_secrets_are_apart() {
    let shared = secret();
    let (one, other) = (Node::sharing(&[&shared], START), Node::sharing(&[&secret()], START));
    let ticket = one.make();
    assert!(!other.takes(&ticket), "another secret");
    let stranger = Tickets::new(binding(2), Arc::clone(&one.keys));
    assert_eq!(as_rustls(|| stranger.decrypt(&ticket)), None, "another domain");
    let twin = Tickets::new(binding(1), Arc::clone(&Node::sharing(&[&shared], START).keys));
    assert_eq!(as_rustls(|| twin.decrypt(&ticket)), Some(b"session".to_vec()));
    assert_eq!(one.stats().refused.of(Refusal::OtherDomain), 1);
    assert_eq!(other.stats().refused.of(Refusal::UnknownKey), 1);
    // Key names of domains, epochs and secrets say nothing about each other.
    let other_ticket = as_rustls(|| stranger.encrypt(b"session")).expect("fits");
    assert_eq!(ticket[0], other_ticket[0]);
    assert_ne!(ticket[1..9], other_ticket[1..9]);
}

/// The documented steps, each of them on one node after the other.
#[test]
fn a_secret_is_rolled_without_a_loss() {
    let (old, new) = (secret(), secret());
    let nodes: Vec<_> = (0..3).map(|_| Node::sharing(&[&old], START)).collect();
    let all_take_all = |place: &str| {
        for maker in &nodes {
            let ticket = maker.make();
            assert!(nodes.iter().all(|node| node.takes(&ticket)), "{place}");
        }
    };
    let before = nodes[0].make();
    for step in [&[&old, &new][..], &[&new, &old]] {
        for node in &nodes {
            node.roll(step);
            all_take_all("within a step");
        }
    }
    assert!(nodes.iter().all(|node| node.takes(&before)));
    let older = |node: &Node| node.stats().accepted.map(|ranks| ranks[Rank::Older as usize]);
    assert!(nodes.iter().all(|node| older(node)[Epoch::Current as usize] > 0));
    // A lifetime later, the old one has nothing left to do.
    nodes.iter().for_each(|node| node.clock.pass(LIFETIME));
    let counts: Vec<_> = nodes.iter().map(older).collect();
    for node in &nodes {
        all_take_all("before the old one is dropped");
        node.roll(&[&new]);
    }
    all_take_all("at the end");
    assert_eq!(nodes.iter().map(older).collect::<Vec<_>>(), counts);
}

#[test]
fn what_does_not_change_takes_nothing_away() {
    let shared = secret();
    let node = Node::sharing(&[&shared], START);
    let ticket = node.make();
    node.roll(&[&shared]);
    assert!(node.takes(&ticket));
    // Another lifetime is another row of epochs.
    node.set(Some(secrets(&[&shared])), LIFETIME * 2);
    assert!(!node.takes(&ticket));
    let later = node.make();
    assert!(node.takes(&later));
    assert_eq!(u64::from(as_rustls(|| node.tickets.lifetime())), LIFETIME * 2);
    // From a file to random ones, which then stay.
    node.set(None, LIFETIME);
    assert!(!node.takes(&later));
    let random = node.make();
    node.set(None, LIFETIME);
    assert!(node.takes(&random));
}

#[test]
fn random_secrets_are_forgotten_an_epoch_later() {
    let node = Node::random(START);
    let first = node.keys.export();
    let ticket = node.make();
    node.clock.pass(LIFETIME - 1);
    assert!(node.takes(&ticket));
    node.clock.pass(1);
    let young = {
        node.clock.set(START + LIFETIME - 1);
        let ticket = node.make();
        node.clock.set(START + LIFETIME);
        ticket
    };
    assert!(node.takes(&young), "made with the previous epoch's secret");
    let accepted = node.stats().accepted[Epoch::Previous as usize];
    assert_eq!(accepted, [0, 1]);
    let made_now = node.make();
    node.clock.pass(LIFETIME);
    assert_eq!(as_rustls(|| node.tickets.decrypt(&made_now)), None, "too old");
    // Nothing of the first epoch is left in what the process holds.
    let secret = first.last_chunk::<32>().expect("a secret");
    let second = node.keys.export();
    assert!(!second.windows(32).any(|bytes| bytes == secret));
    // After a long rest nothing of before is kept.
    node.clock.pass(10 * LIFETIME);
    let rested = node.make();
    assert!(node.takes(&rested));
    assert_eq!(node.keys.export().len(), 13 + 32);
}

#[test]
fn a_new_process_goes_on_with_random_secrets() {
    let old = Node::random(START);
    let before = old.make();
    old.clock.pass(LIFETIME - 1);
    let late = old.make();
    old.clock.pass(1);
    let latest = old.make();
    assert_eq!(old.keys.export().len(), 13 + 2 * 32);
    let new = Node::random(old.clock.now());
    assert_eq!(new.keys.import(&old.keys.export()), Ok(true));
    assert!(new.takes(&late) && new.takes(&latest) && old.takes(&new.make()));
    assert!(!new.takes(&before), "too old everywhere");
    // Where a file says what to use, or epochs are others, nothing is taken.
    let with_file = Node::sharing(&[&secret()], START);
    assert_eq!(with_file.keys.import(&old.keys.export()), Ok(false));
    assert_eq!(old.keys.import(&with_file.keys.export()), Ok(false));
    let other = Node::random(START);
    other.set(None, LIFETIME + 1);
    assert_eq!(other.keys.import(&old.keys.export()), Ok(false));
    assert!(old.takes(&latest));
}

#[test]
fn nothing_secret_is_shown() {
    let node = Node::random(START);
    let shown = format!("{:?} {:?}", node.keys, node.tickets);
    let expected = "TicketKeys { lifetime: 3600, secrets: 1, random: true, .. } Tickets { domain:";
    assert!(shown.starts_with(expected), "{shown}");
}

/// Shards use the keys while they are changed.
#[test]
fn changes_are_noticed_by_all_threads() {
    let (old, new) = (secret(), secret());
    let node = Arc::new(Node::sharing(&[&old], START));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let node = Arc::clone(&node);
            std::thread::spawn(move || {
                for _ in 0..500 {
                    let ticket = node.make();
                    assert!(node.takes(&ticket));
                }
            })
        })
        .collect();
    for turn in 0..100 {
        let order = if turn % 2 == 0 { [&old, &new] } else { [&new, &old] };
        node.roll(&order);
        node.clock.pass(1);
    }
    for thread in threads {
        thread.join().expect("no ticket was refused");
    }
    assert_eq!(accepted(&node.stats()), 2_000);
}

proptest! {
    /// The argument for the length of epochs: a ticket is taken for exactly its lifetime, on
    /// whatever nodes, while their clocks differ by no more than that.
    #[test]
    fn age_alone_decides(
        made in START..START + 2 * LIFETIME,
        read in START - 2 * LIFETIME..START + 5 * LIFETIME,
    ) {
        let secret = secret();
        let ticket = Node::sharing(&[&secret], made).make();
        let reader = Node::sharing(&[&secret], read);
        let is_young = read < made + LIFETIME;
        let is_behind = read + LIFETIME < made;
        if !is_behind {
            prop_assert_eq!(reader.takes(&ticket), is_young);
        } else if reader.takes(&ticket) {
            prop_assert_eq!(reader.stats().accepted[Epoch::Next as usize][0], 1);
        }
    }

    #[test]
    fn garbage_is_never_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let node = Node::random(START);
        prop_assert_eq!(as_rustls(|| node.tickets.decrypt(&bytes)), None);
        prop_assert!(node.keys.import(&bytes).is_err() || bytes[0] == 1);
        let stats = node.stats();
        prop_assert_eq!(stats.refused.iter().map(|(_, count)| count).sum::<u64>(), 1);
    }

    #[test]
    fn any_session_comes_back(session in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let node = Node::random(START);
        let ticket = as_rustls(|| node.tickets.encrypt(&session)).expect("fits");
        prop_assert_eq!(as_rustls(|| node.tickets.decrypt(&ticket)), Some(session));
    }
}
