//! Where a connection goes is decided anew when it is known who the peer is.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, PKCS_ECDSA_P256_SHA256};

use super::component::*;
use super::rig::*;
use crate::policy::rules::RuleSpec;
use crate::policy::{self, ListenerPolicy, Route, Rules};
use crate::tls::ClientProfile;
use crate::tls::provider::provider;
use crate::tls::testing::NAME;

/// A listener that speaks with its component in `own` TLS, and for one client in that of `rule`.
fn policy(own: Option<ClientProfile>, rule: Option<ClientProfile>) -> ListenerPolicy {
    let of_listener = (*mutual().routes[0]).clone();
    let connect = crate::config::model::ConnectWhen::AfterHandshake;
    let of_listener = Route { connect, upstream_tls: own, ..of_listener };
    let of_rule = Arc::new(Route { upstream_tls: rule, ..of_listener.clone() });
    let spec = RuleSpec {
        name: "phones".to_owned(),
        line: 1,
        source: Vec::new(),
        sni: Vec::new(),
        alpn: Vec::new(),
        versions: Vec::new(),
        client: vec!["cn:phone".parse().expect("a condition")],
        outcome: 0,
    };
    let outcomes = vec![policy::Outcome::Follow(of_rule)];
    let rules = Rules::compile(vec![spec], outcomes).expect("one rule is no ambiguity");
    ListenerPolicy { rules: Arc::new(rules), ..with(of_listener) }
}

/// Shows a certificate of this name.
fn client(name: &str) -> Client {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a DNS name");
    params.distinguished_name.push(DnType::CommonName, name);
    let issued = ca().issue_with(&params, &PKCS_ECDSA_P256_SHA256);
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(ca().roots())
        .with_client_auth_cert(issued.chain(), issued.private_key())
        .expect("key and certificate match");
    Client::of(&config)
}

/// What a client says in the flight that ends its handshake is there before it is known where it
/// goes: it must not go on the wire as plaintext if that is spoken to in TLS, nor wait for keys that
/// never come if it is not.
#[test]
fn what_was_said_before_the_rule_was_found_goes_the_rules_way() {
    for (own, rule) in [(None, Some(trusting())), (Some(trusting()), None)] {
        for name in ["phone", "somebody"] {
            let secure = if name == "phone" { rule.is_some() } else { own.is_some() };
            let (mut rig, mut client) = (Rig::new(policy(own.clone(), rule.clone())), client(name));
            client.exchange(&mut rig);
            rig.settle();
            client.exchange(&mut rig);
            // Certificate, Finished and this, in one receive.
            client.write(b"early words");
            client.exchange(&mut rig);
            rig.settle();
            assert_eq!(rig.dialled, [0], "{name}");
            rig.connected();
            if secure {
                let mut component = Component::new();
                run_both(&mut rig, &mut client, &mut component);
                assert_eq!(component.error, None, "{name}");
                assert_eq!(component.received, b"early words", "{name}");
            } else {
                client.run(&mut rig);
                assert_eq!(rig.up.outbound, b"early words", "{name}");
            }
        }
    }
}
