//! Which certificate a peer gets, by the name it asks for and the signatures it verifies.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::Identity;

/// Longest DNS name in text form (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Chooses among the identities of one listener.
///
/// A certificate for exactly the name comes first, then one with a wildcard for its first label
/// (RFC 9525 §6.3), then the default. Among several for one name, those with an ECDSA or Ed25519
/// key come before those with an RSA key, and the first wins whose key makes a signature that the
/// peer verifies.
#[derive(Debug)]
pub struct SniResolver {
    exact: HashMap<Box<[u8]>, Vec<Candidate>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<[u8]>, Vec<Candidate>>,
    /// The first identity and those that share its first name.
    default: Vec<Candidate>,
    strict: bool,
}

#[derive(Clone, Debug)]
struct Candidate {
    key: Arc<CertifiedKey>,
    schemes: Vec<SignatureScheme>,
}

impl SniResolver {
    /// `strict` refuses names that no certificate has; no name at all gets the default.
    pub(super) fn new(identities: &[Identity], strict: bool) -> Self {
        let mut in_order: Vec<&Identity> = identities.iter().collect();
        in_order.sort_by_key(|identity| identity.key.key.algorithm() == SignatureAlgorithm::RSA);
        let candidate = |identity: &Identity| Candidate {
            key: Arc::clone(&identity.key),
            schemes: identity.schemes.clone(),
        };
        let mut exact: HashMap<Box<[u8]>, Vec<Candidate>> = HashMap::new();
        let mut wildcard: HashMap<Box<[u8]>, Vec<Candidate>> = HashMap::new();
        for identity in &in_order {
            for name in &identity.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.as_bytes().into()).or_default().push(candidate(identity));
            }
        }
        let mut default = Vec::new();
        if let Some(first) = identities.first() {
            let shares_name = |other: &&&Identity| match first.names.first() {
                Some(name) => other.names.contains(name),
                None => Arc::ptr_eq(&other.key, &first.key),
            };
            default = in_order.iter().filter(shares_name).map(|other| candidate(other)).collect();
        }
        Self { exact, wildcard, default, strict }
    }

    /// Whether a certificate names `name`, ignoring case and a trailing dot.
    pub fn covers(&self, name: &str) -> bool {
        self.with_name(name, |exact, wildcard| !exact.is_empty() || !wildcard.is_empty())
    }

    /// What kind of key a peer gets that asks for `name` and verifies what `is_offered`, if it makes
    /// such a signature that `is_usable`, too.
    pub fn algorithm_for(
        &self,
        name: Option<&str>,
        is_offered: impl Fn(SignatureScheme) -> bool,
        is_usable: impl Fn(SignatureScheme) -> bool,
    ) -> Option<SignatureAlgorithm> {
        let chosen = self.choose(name, &is_offered)?;
        let mut schemes = chosen.schemes.iter();
        let signs = schemes.any(|scheme| is_offered(*scheme) && is_usable(*scheme));
        signs.then(|| chosen.key.key.algorithm())
    }

    /// The certificate for a peer that asks for `name` and verifies what `is_offered`. When no key
    /// can make such a signature, the first candidate: the handshake then fails for that reason.
    fn choose(
        &self,
        name: Option<&str>,
        is_offered: impl Fn(SignatureScheme) -> bool,
    ) -> Option<&Candidate> {
        let signs =
            |candidate: &&Candidate| candidate.schemes.iter().any(|scheme| is_offered(*scheme));
        let named = name.and_then(|name| {
            self.with_name(name, |exact, wildcard| {
                let mut all = exact.iter().chain(wildcard);
                all.clone().find(signs).or_else(|| all.next())
            })
        });
        match (named, name) {
            (Some(found), _) => Some(found),
            (None, Some(_)) if self.strict => None,
            _ => self.default.iter().find(signs).or_else(|| self.default.first()),
        }
    }

    /// Looks up `name` in both maps, in the form that their keys have, without allocating.
    fn with_name<'a, T>(
        &'a self,
        name: &str,
        found: impl FnOnce(&'a [Candidate], &'a [Candidate]) -> T,
    ) -> T {
        let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
        let mut buffer = [0; MAX_NAME];
        let Some(lower) = buffer.get_mut(..name.len()) else {
            return found(&[], &[]);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let exact = self.exact.get(&*lower);
        let mut labels = lower.splitn(2, |byte| *byte == b'.');
        let wildcard = match (labels.next(), labels.next()) {
            (Some(first), Some(parent)) if !first.is_empty() => self.wildcard.get(parent),
            _ => None,
        };
        found(exact.map_or(&[], Vec::as_slice), wildcard.map_or(&[], Vec::as_slice))
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = client_hello.signature_schemes();
        let chosen = self.choose(client_hello.server_name(), |scheme| offered.contains(&scheme));
        chosen.map(|candidate| Arc::clone(&candidate.key))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;
    use crate::tls::identity::load::identity_for_tests;
    use crate::tls::testing::{Ca, Issued};

    const ALL: [SignatureScheme; 4] = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ED25519,
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
    ];

    fn issue(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("DNS names");
        Ca::new().issue_with(&params, algorithm)
    }

    /// The resolver, and which position it chooses.
    fn resolver(
        issued: &[Issued],
        strict: bool,
    ) -> impl Fn(Option<&str>, &[SignatureScheme]) -> Option<usize> {
        let identities: Vec<Identity> = issued.iter().map(identity_for_tests).collect();
        let resolver = SniResolver::new(&identities, strict);
        move |name, offered| {
            let chosen = &resolver.choose(name, |scheme| offered.contains(&scheme))?.key;
            if let Some(name) = name {
                let named = identities
                    .iter()
                    .any(|identity| Arc::ptr_eq(chosen, &identity.key) && resolver.covers(name));
                assert!(named || !resolver.covers(name));
            }
            identities.iter().position(|identity| Arc::ptr_eq(chosen, &identity.key))
        }
    }

    #[test]
    fn exact_then_wildcard_then_default() {
        let issued = [
            issue(&["default.example"], &PKCS_ECDSA_P256_SHA256),
            issue(&["*.a.example"], &PKCS_ECDSA_P256_SHA256),
            issue(&["x.a.example", "Mixed.Example"], &PKCS_ECDSA_P256_SHA256),
        ];
        let lenient = resolver(&issued, false);
        let strict = resolver(&issued, true);
        let long = "a".repeat(300);
        for (name, lenient_choice, strict_choice) in [
            (None, Some(0), Some(0)),
            (Some("default.example"), Some(0), Some(0)),
            (Some("x.a.example"), Some(2), Some(2)),
            (Some("X.A.EXAMPLE."), Some(2), Some(2)),
            (Some("mixed.example"), Some(2), Some(2)),
            (Some("y.a.example"), Some(1), Some(1)),
            (Some("Y.a.example."), Some(1), Some(1)),
            (Some("z.y.a.example"), Some(0), None),
            (Some("a.example"), Some(0), None),
            (Some(".a.example"), Some(0), None),
            (Some("other.example"), Some(0), None),
            (Some(""), Some(0), None),
            (Some(long.as_str()), Some(0), None),
        ] {
            assert_eq!(lenient(name, &ALL), lenient_choice, "{name:?}");
            assert_eq!(strict(name, &ALL), strict_choice, "{name:?}");
        }
    }

    #[test]
    fn among_several_for_one_name_the_peers_schemes_decide() {
        let name = "one.example";
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        let issued = [
            Ca::new().issue_rsa_with(&params),
            issue(&["first.example", name], &PKCS_ECDSA_P384_SHA384),
            issue(&[name], &PKCS_ED25519),
            issue(&["*.example"], &PKCS_ECDSA_P256_SHA256),
        ];
        let choose = resolver(&issued, true);
        assert_eq!(choose(Some(name), &ALL), Some(1), "not RSA, though it is listed first");
        assert_eq!(choose(None, &ALL), Some(1), "the same holds for the default");
        assert_eq!(choose(Some(name), &[SignatureScheme::ED25519]), Some(2));
        assert_eq!(choose(Some(name), &[SignatureScheme::RSA_PKCS1_SHA256]), Some(0));
        assert_eq!(choose(None, &[SignatureScheme::RSA_PSS_SHA512]), Some(0));
        assert_eq!(choose(Some(name), &[SignatureScheme::ECDSA_NISTP256_SHA256]), Some(3));
        assert_eq!(choose(Some(name), &[SignatureScheme::ECDSA_NISTP521_SHA512]), Some(1));
        assert_eq!(choose(Some("first.example"), &[SignatureScheme::ED25519]), Some(1));
    }
}
