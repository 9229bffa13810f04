//! Headers of the PROXY protocol: what peers say of where they are from, and what components are told.

use std::net::SocketAddr;

use tlsgate::config::model::{ProxyIn, ProxyOut, ProxyVersions};
use tlsgate::engine::sim::OURS;
use tlsgate::engine::sim::rng::Rng;
use tlsgate::proxy::{Addresses, Header, Tlvs};

/// What is spoken around a listener's connections. It is the same for an address in all
/// configurations, so that peers and components know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) incoming: bool,
    pub(crate) outgoing: Option<ProxyOut>,
}

/// What a peer says first.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) bytes: Vec<u8>,
    /// Where it says that it is from.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) is_good: bool,
}

/// Bytes of a header that ends there.
const CUT: usize = 9;
/// Last byte of the address of a peer that is not believed.
pub(crate) const STRANGER: u8 = 9;

impl Introduction {
    /// It ends in the middle.
    pub(crate) fn is_cut(&self) -> bool {
        self.bytes.len() == CUT
    }
}

impl Around {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let two = ProxyOut::Two { client_cert: true, checksum: true };
        Self {
            incoming: rng.chance(30),
            outgoing: rng.weighted(&[(5, None), (1, Some(ProxyOut::One)), (3, Some(two))]),
        }
    }

    pub(crate) fn proxy_in(self) -> Option<ProxyIn> {
        let trusted = vec![Some("198.51.100.0/30".parse().expect("a range"))];
        self.incoming.then_some(ProxyIn { versions: ProxyVersions::Any, trusted })
    }

    /// What a peer says to a listener that wants to hear it.
    pub(crate) fn introduction(self, rng: &mut Rng) -> Option<Introduction> {
        if !self.incoming {
            return None;
        }
        let port = 1024 + u16::try_from(rng.below(1000)).expect("below a thousand");
        let from = SocketAddr::from(([203, 0, 113, 1], port));
        let inet = Addresses::inet(from, OURS);
        let addresses = rng.weighted(&[(6, inet), (1, Addresses::Local), (1, Addresses::Unknown)]);
        let source = addresses.source();
        let others = vec![(0xe0, vec![0; rng.below(3000)])];
        let tlvs = Tlvs { unique_id: Some(b"theirs".to_vec()), others, ..Tlvs::default() };
        let header = Header { addresses, tlvs };
        let mut bytes = Vec::new();
        if rng.chance(50) {
            header.encode_v1(&mut bytes);
        } else {
            header.encode_v2(&mut bytes).expect("a few kilobytes");
        }
        let is_good = rng.chance(85);
        if !is_good {
            match rng.below(3) {
                0 => bytes.clear(),
                // Version and command, or the family of version 1.
                1 => bytes[12] = 0xff,
                _ => bytes.truncate(CUT),
            }
        }
        Some(Introduction { bytes, source, is_good })
    }
}
