//! OpenSSL on the other end, with every suite, in both roles.

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::{ProtocolVersion, SupportedCipherSuite};
use zeroize::Zeroizing;

use super::*;
use crate::tls::openssl::spec::{Identity, Parameters, suites};
use crate::tls::openssl::tests::{End, client, client_spec, converse, only, server, server_spec};
use crate::tls::provider::provider_with;
use crate::tls::testing::Issued;
use crate::tls::tls_conn::suite_name;

/// We as `role`, and OpenSSL as the other, with this suite alone.
fn meet((ca, issued): (&Ca, &Issued), suite: SupportedCipherSuite, role: Role) -> (End, End) {
    let name = suite_name(suite.suite());
    let provider = provider_with(&[name]);
    let alone = |mut parameters: Parameters| {
        let (old, new) = suites([name]);
        if suite.version().version == ProtocolVersion::TLSv1_3 {
            parameters.suites13 = new;
            return only(TlsVersion::V1_3, parameters);
        }
        parameters.suites = old;
        only(TlsVersion::V1_2, parameters)
    };
    match role {
        Role::Server => {
            let mut config = issued.server_of(provider, &[suite.version()]);
            config.key_log = key_log();
            let tls = ModernConn::new(Arc::new(config), RecordLayer::Own, None);
            let mut spec = client_spec(Lane::Compat12);
            spec.parameters = alone(spec.parameters);
            (End::of(tls.expect("a valid configuration")), End::client(&client(&spec), None))
        }
        Role::Client => {
            let mut config = ca.client((*provider).clone());
            (config.enable_secret_extraction, config.key_log) = (true, key_log());
            let identity = Identity {
                names: vec![NAME.to_owned()],
                chain: vec![issued.certificate.der().to_vec()],
                key: Zeroizing::new(issued.key.serialize_der()),
            };
            let mut spec = server_spec(Lane::Compat12, identity);
            spec.parameters = alone(spec.parameters);
            let Ours { tls, records, .. } = Ours::connect(config, RecordLayer::Own);
            (End { records, ..End::of(tls) }, End::server(&server(&spec), None))
        }
    }
}

#[test]
fn openssl_hears_and_says_the_same() {
    let ca = Ca::new();
    let issued = [ca.issue(&PKCS_ECDSA_P256_SHA256), ca.issue_rsa()];
    for suite in &provider().cipher_suites {
        let name = suite_name(suite.suite());
        let issued = &issued[usize::from(name.contains("_RSA_"))];
        for role in [Role::Server, Role::Client] {
            let (mut ours, mut theirs) = meet((&ca, issued), *suite, role);
            let (at_ours, at_theirs) = converse(&mut ours, &mut theirs);
            at_ours.expect("good records");
            at_theirs.expect("good records");
            assert_eq!(ours.tls.facts().cipher_suite, name, "{role:?}");
            for length in [1, 100, 4096, 16_384, 16_385, 300_000] {
                ours.seal(&counting(length));
                theirs.seal(&counting(length + 1));
                // No piece ends where a record does.
                let (up, down) = (ours.said(), theirs.said());
                theirs.hear(&up, 4999).expect("good records");
                ours.hear(&down, 4999).expect("good records");
                assert!(theirs.heard() == counting(length), "{name} {role:?} {length}");
                assert!(ours.heard() == counting(length + 1), "{name} {role:?} {length}");
            }
            ours.close();
            theirs.close();
            let (at_ours, at_theirs) = converse(&mut ours, &mut theirs);
            assert!(at_ours.is_ok() && at_theirs.is_ok());
            assert!(ours.tls.peer_has_closed() && theirs.tls.peer_has_closed());
        }
    }
}
