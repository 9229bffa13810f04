//! Whatever comes in whatever order, a connection ends once, and leaves nothing behind.

use std::time::Duration;

use proptest::prelude::*;

use super::component::*;
use super::rig::*;
use crate::conn::Input;
use crate::conn::outcome::Reason;
use crate::engine::{Operation, Side};
use crate::policy::ListenerPolicy;

#[derive(Clone, Debug)]
enum Step {
    Exchange,
    Deliver(bool, usize),
    Sent(bool),
    Closed(bool),
    Connected,
    Refused,
    ClientWrites(usize),
    ClientUpdatesKeys,
    ClientCloses,
    /// Bytes as they are.
    UpstreamWrites(usize),
    /// With the component as a TLS server.
    ComponentExchange,
    ComponentWrites(usize),
    ComponentUpdatesKeys,
    ComponentCloses,
    Fin(bool),
    Garbage(Vec<u8>),
    Fail(bool, bool),
    Pass(u64),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Exchange),
        12 => (any::<bool>(), 1..70_000_usize).prop_map(|(up, len)| Step::Deliver(up, len)),
        4 => (any::<bool>(), 1..20_usize).prop_map(|(up, len)| Step::Deliver(up, len)),
        8 => any::<bool>().prop_map(Step::Sent),
        3 => any::<bool>().prop_map(Step::Closed),
        3 => Just(Step::Connected),
        1 => Just(Step::Refused),
        3 => (1..50_000_usize).prop_map(Step::ClientWrites),
        1 => Just(Step::ClientUpdatesKeys),
        1 => Just(Step::ClientCloses),
        3 => (1..200_000_usize).prop_map(Step::UpstreamWrites),
        8 => Just(Step::ComponentExchange),
        3 => (1..200_000_usize).prop_map(Step::ComponentWrites),
        1 => Just(Step::ComponentUpdatesKeys),
        1 => Just(Step::ComponentCloses),
        1 => any::<bool>().prop_map(Step::Fin),
        1 => prop::collection::vec(any::<u8>(), 1..50).prop_map(Step::Garbage),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(up, send)| Step::Fail(up, send)),
        2 => (0..5_000_u64).prop_map(Step::Pass),
        1 => (0..400_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Stop),
    ]
}

const fn side(up: bool) -> Side {
    if up { UP } else { DOWN }
}

fn take(rig: &mut Rig, client: &mut Client, component: &mut Component, step: Step) {
    match step {
        Step::ComponentExchange => component.exchange(rig),
        Step::ComponentWrites(len) => component.write(&vec![9; len]),
        Step::ComponentUpdatesKeys => drop(component.tls.refresh_traffic_keys()),
        Step::ComponentCloses => component.tls.send_close_notify(),
        Step::Exchange => client.exchange(rig),
        Step::Deliver(up, len) => drop(rig.deliver(side(up), len)),
        Step::Sent(up) => drop(rig.sent(side(up))),
        Step::Closed(up) => drop(rig.closed(side(up))),
        Step::Connected => drop(rig.connected()),
        Step::Refused => drop(rig.refused()),
        Step::ClientWrites(len) => client.write(&vec![7; len]),
        Step::ClientUpdatesKeys => drop(client.tls.refresh_traffic_keys()),
        Step::ClientCloses => client.close(),
        Step::UpstreamWrites(len) => rig.up.inbound.extend(vec![9; len]),
        Step::Fin(up) => rig.socket(side(up)).inbound_fin = true,
        Step::Garbage(bytes) => rig.down.inbound.extend(bytes),
        Step::Fail(up, send) => {
            let socket = rig.socket(side(up));
            if send && socket.sending.is_some() {
                rig.fail(side(up), Operation::Send, libc::EPIPE);
            } else if !send && socket.receiving.is_some() {
                rig.fail(side(up), Operation::Receive, libc::ECONNRESET);
            }
        }
        Step::Pass(millis) => rig.pass(Duration::from_millis(millis)),
        Step::Stop => rig.input(Input::Stop(Reason::Stopped)),
    }
}

fn policies() -> impl Strategy<Value = fn() -> ListenerPolicy> {
    prop_oneof![
        4 => Just(policy as fn() -> ListenerPolicy),
        1 => Just(strict as fn() -> ListenerPolicy),
        1 => Just(mutual as fn() -> ListenerPolicy),
        2 => Just(after_handshake as fn() -> ListenerPolicy),
        2 => Just(two_upstreams as fn() -> ListenerPolicy),
        4 => Just(bridge as fn() -> ListenerPolicy),
        2 => Just(bridge_late as fn() -> ListenerPolicy),
        4 => Just(originate as fn() -> ListenerPolicy),
        2 => Just(originate_second as fn() -> ListenerPolicy),
        2 => Just(passthrough as fn() -> ListenerPolicy),
        2 => Just(detect as fn() -> ListenerPolicy),
        2 => Just(detect_bridge as fn() -> ListenerPolicy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn one_finish_and_nothing_left(
        policy in policies(),
        tls12 in any::<(bool, bool)>(),
        ready in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let version = |tls12| if tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
        let (mut rig, mut client) = (Rig::new(policy()), Client::version(version(tls12.0)));
        let mut component = Component::version(version(tls12.1));
        if ready {
            let secure = rig.connection.route().upstream_tls.is_some();
            for _ in 0..4 {
                client.run(&mut rig);
                rig.connected();
                if secure {
                    component.run(&mut rig);
                }
            }
        }
        for step in steps {
            take(&mut rig, &mut client, &mut component, step);
            if rig.finished.is_some() {
                break;
            }
        }
        // Time alone, and completions, must bring every connection to its end.
        for _ in 0..100 {
            rig.settle();
            rig.pass(Duration::from_secs(100));
        }
        rig.outcome();
    }
}
