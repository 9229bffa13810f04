//! Under which generation each connection must have been admitted.

use std::collections::BTreeMap;

use tlsgate::engine::ListenerId;
use tlsgate::engine::sim::network::WireId;
use tlsgate::engine::sim::ports::Port;
use tlsgate::engine::sim::trace::{Entry, What};

use crate::outside::Given;
use crate::plan::Order;

/// A listening socket, as the trace tells of it.
struct Listening {
    port: Port,
    generation: u64,
    closing: bool,
}

/// Generation by connection, read from the trace. A reload takes effect in the event that wakes
/// the shard after it was sent: for the sockets that it names, unless they are closing, and for no
/// others.
pub(crate) fn expected(given: &[Given], trace: &[Entry]) -> BTreeMap<WireId, u64> {
    let mut given = given.iter().peekable();
    let mut drains = false;
    let mut read: Vec<&[Port]> = Vec::new();
    let mut listening: BTreeMap<u32, Listening> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for (position, entry) in trace.iter().enumerate() {
        match &entry.what {
            What::GotWoken => {
                while let Some(given) = given.next_if(|given| given.position <= position) {
                    drains |= matches!(given.order, Order::Drain { .. } | Order::Stop);
                    let Some(serves) = &given.serves else { continue };
                    read.push(serves);
                    let generation = read.len() as u64 + 1;
                    let served = listening.values_mut().filter(|of| !of.closing && !drains);
                    let served = served.filter(|of| serves.contains(&of.port));
                    served.for_each(|of| of.generation = generation);
                }
            }
            What::DoListen { listener, port } => {
                // The first sockets belong to the first generation, which no reload brought.
                let by = read.iter().rposition(|serves| serves.contains(port));
                let generation = by.map_or(1, |by| by as u64 + 2);
                listening.insert(listener.0, Listening { port: *port, generation, closing: false });
            }
            What::DoCloseListener { listener: ListenerId(id) } => {
                if let Some(listening) = listening.get_mut(id) {
                    listening.closing = true;
                }
            }
            What::GotAccepted { listener, wire } => {
                let generation = listening.get(&listener.0).map_or(0, |of| of.generation);
                expected.insert(*wire, generation);
            }
            _ => {}
        }
    }
    expected
}
