//! What each option means, value by value.

use super::Side::{Downstream, Upstream};
use super::*;

fn keys(name: &str, value: &str, side: Side, semantics: Option<Semantics>) -> String {
    written(map(name, value, side, semantics))
}

fn written(mapped: Result<Mapped, Refusal>) -> String {
    match mapped {
        Err(_) => "refused".to_owned(),
        Ok(mapped) => {
            let settings = mapped.settings.into_iter().map(|one| {
                let value = match one.value {
                    Value::Text(text) => text,
                    Value::List(list) => list.join(","),
                };
                format!("{}={value}", one.key)
            });
            settings.collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn client_auth_is_about_the_server() {
    assert_eq!(keys("client-auth", "0", Downstream, None), "");
    assert_eq!(keys("client-auth", "0", Upstream, None), "verify=none");
    assert_eq!(keys("client-auth", "1", Upstream, None), "verify=full");
    assert_eq!(keys("client-auth", "no", Upstream, None), "refused");
    assert_eq!(keys("tls-mutual", "1", Downstream, None), "client_cert=required");
    assert_eq!(keys("tls-mutual", "0", Downstream, None), "client_cert=none");
    assert_eq!(keys("tls-mutual", "1", Upstream, None), "");
}

#[test]
fn versions_by_value_and_semantics() {
    let at_least = "min_version=1.2 max_version=1.3";
    let (only_12, only_13) = ("min_version=1.2 max_version=1.2", "min_version=1.3 max_version=1.3");
    for (value, floor, exact) in [
        ("SSLv2", "refused", "refused"),
        ("SSLv3", "refused", "refused"),
        ("SSLv23", at_least, at_least),
        ("TLSv1", at_least, "refused"),
        ("TLSv1.1", at_least, "refused"),
        ("TLSv11", at_least, "refused"),
        ("TLSv12", at_least, only_12),
        ("TLSv13", only_13, only_13),
        ("", at_least, at_least),
        ("TLSv1.2", "refused", "refused"),
        ("tlsv12", "refused", "refused"),
    ] {
        for (semantics, expected) in
            [(Some(Semantics::Floor), floor), (Some(Semantics::Exact), exact), (None, "refused")]
        {
            for side in [Downstream, Upstream] {
                let keys = keys("sec-protocol", value, side, semantics);
                assert_eq!(keys, expected, "{value:?} {semantics:?}");
            }
        }
    }
    // With the legacy lane, the whole of it.
    let (any, only_10, only_11) = (
        "min_version=1.0 max_version=1.3",
        "min_version=1.0 max_version=1.0",
        "min_version=1.1 max_version=1.1",
    );
    let from_11 = "min_version=1.1 max_version=1.3";
    for (value, floor, exact) in [
        ("SSLv2", "refused", "refused"),
        ("SSLv3", "refused", "refused"),
        ("SSLv23", any, any),
        ("TLSv1", any, only_10),
        ("TLSv1.1", from_11, only_11),
        ("TLSv11", from_11, only_11),
        ("TLSv12", at_least, only_12),
        ("TLSv13", only_13, only_13),
        ("", at_least, at_least),
    ] {
        for (semantics, expected) in [(Semantics::Floor, floor), (Semantics::Exact, exact)] {
            let mapped = sec_protocol(value, Some(semantics), true);
            assert_eq!(written(mapped), expected, "{value:?} {semantics:?}");
        }
        assert_eq!(written(sec_protocol(value, None, true)), "refused");
    }
    let refusal = map("sec-protocol", "TLSv1", Upstream, None).expect_err("semantics are missing");
    assert!(refusal.hint.contains("floor") && refusal.hint.contains("exact"), "{refusal:?}");
}

#[test]
fn old_floors_say_what_happens_now() {
    for value in ["SSLv23", "TLSv1", "TLSv1.1", "TLSv11"] {
        let mapped = map("sec-protocol", value, Downstream, Some(Semantics::Floor));
        let notes = mapped.expect("a floor").notes;
        assert!(notes[0].contains("protocol_version"), "{notes:?}");
    }
}

#[test]
fn names_are_for_the_client() {
    let checked = keys("tls-target-name-check", "host", Upstream, None);
    assert_eq!(checked, "name_match=san_or_cn");
    assert_eq!(keys("tls-target-name-check", "host", Downstream, None), "");
    assert_eq!(keys("tls-target-name-check", "no", Upstream, None), "refused");
    assert_eq!(keys("tls-target-name", "a.b", Upstream, None), "server_name=a.b sni=a.b");
    assert_eq!(keys("tls-target-name", "a.b", Downstream, None), "");
}

#[test]
fn files() {
    for side in [Downstream, Upstream] {
        assert_eq!(keys("certificate", "a.pem", side, None), "certificate=a.pem");
        assert_eq!(keys("certificate", "a.pem,b.pem", side, None), "certificate=a.chain.pem");
        assert_eq!(keys("certificate", "a.pem, b.pem", side, None), "refused");
        assert_eq!(keys("certificate", "", side, None), "refused");
        assert_eq!(keys("certificate-key", "a.key", side, None), "certificate_key=a.key");
        assert_eq!(keys("trusted-ca", "ca.pem", side, None), "trusted_ca=ca.pem");
        assert_eq!(keys("trusted-ca", "a.pem,b.pem", side, None), "refused");
        assert_eq!(keys("tls-crl", "a.crl", side, None), "crl_files=a.crl");
        let thumbprint = "69 1d ac 7b 5e 0f 18 ad 20 23 47 4b 3e 70 ee 7c d6 d4 1c 38";
        assert_eq!(keys("certificate", thumbprint, side, None), "refused");
        assert_eq!(keys("provider", "pem", side, None), "");
        for provider in ["MSCAPI", "PKCS11", "JKS", "X"] {
            assert_eq!(keys("provider", provider, side, None), "refused");
        }
    }
}

#[test]
fn suites_by_name_or_not_at_all() {
    let list = keys("cipher-list", "ECDHE-RSA-AES256-GCM-SHA384", Downstream, None);
    assert_eq!(
        list,
        "ciphers=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_AES_256_GCM_SHA384,\
         TLS_AES_128_GCM_SHA256,TLS_CHACHA20_POLY1305_SHA256"
    );
    let list = keys("cipher-list", "TLS_AES_128_GCM_SHA256", Upstream, None);
    assert_eq!(list, "ciphers=TLS_AES_128_GCM_SHA256");
    let refusal = map("cipher-list", "AES128-SHA:ECDHE-RSA-AES256-GCM-SHA384:!RC4", Upstream, None);
    let refusal = refusal.expect_err("static RSA");
    assert!(refusal.message.ends_with("AES128-SHA, !RC4"), "{refusal:?}");
    assert!(refusal.hint.contains("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"), "{refusal:?}");
    assert_eq!(keys("cipher-list", "", Upstream, None), "refused");
}

#[test]
fn the_rest() {
    assert_eq!(keys("fips140-enabled", "0", Upstream, None), "");
    assert_eq!(keys("fips140-enabled", "1", Upstream, None), "refused");
    assert_eq!(keys("fips140-enabled", "true", Upstream, None), "refused");
    assert_eq!(keys("tls", "yes", Upstream, None), "");
    assert_eq!(keys("tls", " 1", Upstream, None), "refused");
    assert_eq!(keys("tls-version", "1.2", Upstream, None), "refused");
    assert_eq!(keys("upgrade", "1", Upstream, None), "refused");
    assert_eq!(keys("port", "7000", Upstream, None), "");
    for name in NAMES {
        let refusal = map(name, "x", Upstream, Some(Semantics::Floor)).err();
        let message = refusal.map(|one| one.message).unwrap_or_default();
        assert!(!message.contains("is not an option"), "{name} has no translation");
    }
}

#[test]
fn keys_are_those_that_options_become() {
    for (name, value) in [
        ("tls", "1"),
        ("tls-mutual", "1"),
        ("client-auth", "0"),
        ("sec-protocol", "TLSv12"),
        ("tls-target-name-check", "host"),
        ("tls-target-name", "a.b"),
        ("tls-crl", "a.crl"),
        ("certificate", "a.pem"),
        ("certificate-key", "a.key"),
        ("trusted-ca", "ca.pem"),
        ("provider", "PEM"),
        ("cipher-list", "TLS_AES_128_GCM_SHA256"),
        ("fips140-enabled", "0"),
        ("address", "10.0.0.1"),
        ("port", "2020"),
        ("backup-port", "2021"),
    ] {
        for side in [Downstream, Upstream] {
            let mapped = map(name, value, side, Some(Semantics::Floor)).expect("a good value");
            let keys_of: Vec<_> = mapped.settings.iter().map(|one| one.key).collect();
            assert_eq!(keys_of, super::keys(name, side), "{name} {side:?}");
        }
    }
}
