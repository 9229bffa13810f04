//! What holds for every connection (C1 to C12), on the first row of each combination: rows of one
//! combination take the same paths.

pub(super) mod levels;
pub(super) mod offers;
pub(super) mod rotation;
pub(super) mod traffic;
pub(super) mod trust;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tlsgate::catalogue::{Mode, Mutual};
use toml::{Table, Value};

use super::case::{Case, Combination};
use super::pki::Leaf;
use super::stream::{Stream, trusting};
use crate::support::client::connect_plain;

/// One way through a gateway, tried: who it was, and what came of it.
pub(super) struct Tried {
    pub(super) peer: SocketAddr,
    pub(super) ended: io::Result<()>,
}

impl Tried {
    /// Shakes hands where there is TLS, sends a word, and waits for its echo.
    pub(super) fn at(entrance: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let socket = connect_plain(entrance);
        let peer = socket.local_addr().expect("connected");
        let ended = Stream::over(socket, tls).and_then(|mut stream| {
            stream.write_all(b"word")?;
            stream.flush()?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"word");
            stream.end()?;
            match stream.read(&mut [0; 1])? {
                0 => Ok(()),
                _ => Err(io::Error::other("more than there is to say")),
            }
        });
        Self { peer, ended }
    }

    /// # Panics
    /// When it did not come back.
    pub(super) fn succeeds(&self, place: &str) -> SocketAddr {
        if let Err(error) = &self.ended {
            panic!("{place}: {error}");
        }
        self.peer
    }

    /// Returns what the client was told.
    ///
    /// # Panics
    /// When the word came back.
    pub(super) fn fails(&self, place: &str) -> (SocketAddr, &io::Error) {
        match &self.ended {
            Ok(()) => panic!("{place}: it was let through"),
            Err(error) => (self.peer, error),
        }
    }

    /// As [`Tried::fails`], by a reset; also for a client that writes behind it.
    ///
    /// # Panics
    /// When the word came back, or when it ended otherwise.
    pub(super) fn is_reset(&self, place: &str) -> SocketAddr {
        let (peer, error) = self.fails(place);
        let is_reset = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        assert!(is_reset, "{place}: {error}");
        peer
    }
}

/// Items that rows of a combination have to pass; the others are about what it does not have, such as
/// TLS with the component.
pub(super) fn items(combination: &Combination) -> Vec<&'static str> {
    let mut items = vec!["C1", "C2", "C6", "C7", "C9", "C10", "C12"];
    if combination.mode != Mode::Autodetect {
        items.push("C3");
    }
    if combination.has_downstream_tls() {
        items.extend(["C4", "C8", "C8 expired list", "C11"]);
    }
    if combination.has_upstream_tls() {
        items.extend(["C5", "C9 names"]);
    }
    items
}

/// The client that a combination is for: with TLS if it ends at the gateway, and with a certificate
/// if one is needed.
pub(super) fn usual_client(
    combination: &Combination,
    identity: &Leaf,
) -> Option<Arc<ClientConfig>> {
    let shown = (combination.mutual == Mutual::Required).then_some(identity);
    combination.has_downstream_tls().then(|| trusting(shown))
}

/// Name of a variant's listener.
pub(super) fn variant(case: &Case, word: &str) -> String {
    format!("{}.{word}", case.name())
}

/// Sets an option in one of a listener's tables of TLS, if it has that table.
pub(super) fn set(listener: &mut Table, side: &str, key: &str, value: impl Into<Value>) {
    if let Some(table) = listener.get_mut(side).and_then(Value::as_table_mut) {
        table.insert(key.to_owned(), value.into());
    }
}
