//! What a session is bound to, and whether it may still be resumed.

use std::sync::Arc;

use super::counters::Refusal;
use super::{CrlDigest, CrlEpoch, DomainId, DomainParts};
use crate::config::model::ClientCert;

/// A client, by the SHA-256 of its own certificate.
pub(super) type Fingerprint = [u8; 32];

/// What a resumption domain demands of the sessions in it.
#[derive(Clone, Debug)]
pub struct Binding {
    pub(super) id: DomainId,
    pub(super) crl_epoch: Arc<CrlEpoch>,
    pub(super) clients: Clients,
}

/// Whether sessions have a client with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    Anonymous,
    Either,
    Known,
}

/// Where a session comes from: the full handshake, however often it was resumed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The second in which both sides proved who they are.
    pub(super) authenticated: u64,
    /// The CRLs by which certificates were checked, or older ones.
    pub(super) crl_epoch: CrlDigest,
    /// Of the client, if it showed a certificate.
    pub(super) client: Option<Fingerprint>,
}

impl Binding {
    /// That of the domain of `parts`, with its CRLs.
    pub fn new(parts: &DomainParts<'_>, crl_epoch: Arc<CrlEpoch>) -> Self {
        let clients = match parts.client_cert {
            ClientCert::None => Clients::Anonymous,
            ClientCert::Optional | ClientCert::Report => Clients::Either,
            ClientCert::Required => Clients::Known,
        };
        Self { id: DomainId::new(parts), crl_epoch, clients }
    }

    /// Whether a session of this domain, stored or sealed at `made`, may be resumed at `now`.
    /// Returns its origin, which may not be in the future: another node's clock may be ahead.
    pub(super) fn admit(
        &self,
        origin: Origin,
        made: u64,
        now: u64,
        lifetime: u64,
    ) -> Result<Origin, Refusal> {
        if now.saturating_sub(made) >= lifetime {
            return Err(Refusal::Expired);
        }
        if now.saturating_sub(origin.authenticated) >= lifetime {
            return Err(Refusal::AbsoluteLifetime);
        }
        if origin.crl_epoch != self.crl_epoch.get() {
            return Err(Refusal::CrlEpoch);
        }
        match (self.clients, origin.client) {
            (Clients::Anonymous, Some(_)) | (Clients::Known, None) => Err(Refusal::Identity),
            _ => Ok(Origin { authenticated: origin.authenticated.min(now), ..origin }),
        }
    }
}

impl Origin {
    /// Time 8, CRL epoch 32, whether there is a client 1, its fingerprint 32 or zeros.
    pub(super) const LENGTH: usize = size_of::<u64>() + CrlDigest::LENGTH + 1 + 32;

    pub(super) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (time, rest) = bytes.split_at_mut(size_of::<u64>());
        let (crl_epoch, rest) = rest.split_at_mut(CrlDigest::LENGTH);
        time.copy_from_slice(&self.authenticated.to_be_bytes());
        crl_epoch.copy_from_slice(self.crl_epoch.bytes());
        if let (Some(client), [is_known, fingerprint @ ..]) = (self.client, rest) {
            *is_known = 1;
            fingerprint.copy_from_slice(&client);
        }
        bytes
    }

    /// `None` for what [`Origin::to_bytes`] does not make.
    pub(super) fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (crl_epoch, rest) = rest.split_first_chunk()?;
        let (is_known, fingerprint) = rest.split_first()?;
        let fingerprint: Fingerprint = fingerprint.try_into().ok()?;
        let client = match is_known {
            0 if fingerprint == [0; 32] => None,
            1 => Some(fingerprint),
            _ => return None,
        };
        let authenticated = u64::from_be_bytes(*time);
        Some(Self { authenticated, crl_epoch: CrlDigest::from_bytes(*crl_epoch), client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10_000;

    fn origin(client: Option<Fingerprint>) -> Origin {
        Origin { authenticated: NOW, crl_epoch: CrlDigest::default(), client }
    }

    fn binding(clients: Clients) -> Binding {
        let id = DomainId::from_bytes([1; DomainId::LENGTH]);
        Binding { id, crl_epoch: Arc::default(), clients }
    }

    #[test]
    fn each_cause_is_told() {
        let known = origin(Some([7; 32]));
        let either = binding(Clients::Either);
        let old = Origin { authenticated: NOW - 100, ..known };
        let other = Origin { crl_epoch: CrlDigest::of(&["another"]), ..known };
        for (binding, origin, made, expected) in [
            (&either, known, NOW - 100, Err(Refusal::Expired)),
            (&either, old, NOW - 99, Err(Refusal::AbsoluteLifetime)),
            (&either, other, NOW, Err(Refusal::CrlEpoch)),
            (&binding(Clients::Anonymous), known, NOW, Err(Refusal::Identity)),
            (&binding(Clients::Known), origin(None), NOW, Err(Refusal::Identity)),
            (&binding(Clients::Known), known, NOW, Ok(known)),
            (&binding(Clients::Anonymous), origin(None), NOW, Ok(origin(None))),
            (&either, origin(None), NOW - 99, Ok(origin(None))),
        ] {
            assert_eq!(binding.admit(origin, made, NOW, 100), expected);
        }
        let ahead = Origin { authenticated: NOW + 50, ..known };
        assert_eq!(either.admit(ahead, NOW + 50, NOW, 100), Ok(known), "not in the future");
    }

    #[test]
    fn bytes_come_back_and_others_are_refused() {
        for client in [None, Some([0; 32]), Some([9; 32])] {
            let origin = origin(client);
            assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
        }
        for (position, byte) in [(40, 2), (50, 1)] {
            let mut bytes = origin(None).to_bytes();
            bytes[position] = byte;
            assert_eq!(Origin::from_bytes(&bytes), None);
        }
    }
}
