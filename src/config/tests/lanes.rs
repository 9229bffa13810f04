//! Lanes reach the model, whatever level they are said at.

use std::path::PathBuf;

use super::*;
use crate::config::model::{Legacy, WEAK_SUITES, WeakSuite};

/// What goes with `lane = "compat12"`.
pub(super) const COMPAT12: &str = "compat12_ciphers = \"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384\"\n";
/// What goes with `lane = "legacy"`.
pub(super) const LEGACY: &str = "\
legacy_until = \"2099-12-31\"
allow_from = [\"10.1.2.0/28\", \"fd00::/8\"]
legacy_certificate = \"old.pem\"
legacy_certificate_key = \"old.key\"
";

fn suites(names: &[&str]) -> Vec<&'static WeakSuite> {
    names.iter().map(|name| WeakSuite::named(name).expect(name)).collect()
}

fn downstream(text: &str) -> DownstreamTls {
    valid(text).listeners[0].tls.clone().expect("TLS with peers")
}

#[test]
fn a_listener_without_a_word_about_lanes_has_the_modern_one() {
    let tls = downstream(LISTENER);
    assert_eq!((tls.compat12, tls.legacy), (None, None));
}

#[test]
fn compat12_has_its_list_and_perhaps_a_certificate() {
    let tls = downstream(&format!("{LISTENER}lane = \"compat12\"\n{COMPAT12}"));
    let compat12 = tls.compat12.expect("the lane");
    assert_eq!(compat12.suites, suites(&["TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"]));
    assert_eq!((compat12.certificate, tls.legacy), (None, None));
    assert_eq!(tls.min_version, TlsVersion::V1_2);
    let own = "lane = \"compat12\"\ncompat12_ciphers = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]\n\
               compat12_certificate = \"b.pem\"\ncompat12_certificate_key = \"b.key\"\n";
    let compat12 = downstream(&format!("{LISTENER}{own}")).compat12.expect("the lane");
    let files = compat12.certificate.expect("its own");
    assert_eq!(files.certificate_key, PathBuf::from("conf/b.key"));
}

#[test]
fn the_legacy_lane_begins_with_tls_1_0() {
    let text = format!("{LISTENER}lane = \"legacy\"\n{LEGACY}");
    let tls = downstream(&text);
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::V1_0, TlsVersion::V1_3));
    let Legacy { until, allow_from, suites: default, certificate } = tls.legacy.expect("the lane");
    assert_eq!(until.to_string(), "2099-12-31");
    assert_eq!(allow_from.len(), 2);
    assert_eq!(default.len(), 8, "{default:?}");
    assert!(default.iter().all(|suite| !suite.only_tls12));
    assert_eq!(certificate.expect("its own").certificate, PathBuf::from("conf/old.pem"));
    assert_eq!(tls.compat12, None);
    let exceptions = &valid(&text).listeners[0].exceptions;
    assert_eq!(exceptions.len(), 1);
    assert_eq!(exceptions[0].key, "listener[sip].tls.legacy_until");
    let both = downstream(&format!("{text}{COMPAT12}min_version = \"1.1\"\n"));
    assert!(both.compat12.is_some() && both.legacy.is_some());
    assert_eq!(both.min_version, TlsVersion::V1_1);
}

#[test]
fn without_tls_1_2_there_is_no_modern_certificate() {
    let bare = LISTENER.replace("certificate = \"sip.pem\"\ncertificate_key = \"sip.key\"\n", "");
    assert_ne!(bare, LISTENER);
    let tls = downstream(&format!("{bare}lane = \"legacy\"\n{LEGACY}max_version = \"1.1\"\n"));
    assert!(tls.certificates.is_empty());
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::V1_0, TlsVersion::V1_1));
}

#[test]
fn a_rule_has_a_lane_of_its_own_and_may_do_without_its_listeners() {
    let rule = "[[listener.rule]]\nname = \"old\"\nsource = \"10.1.2.0/28\"\n[listener.rule.tls]\n";
    let config = valid(&format!("{LISTENER}{rule}lane = \"legacy\"\n{LEGACY}"));
    let listener = &config.listeners[0];
    assert_eq!(listener.tls.as_ref().expect("TLS").legacy, None);
    let tls = listener.rules[0].tls.as_ref().expect("TLS of its own");
    assert!(tls.legacy.is_some());
    assert_eq!(tls.min_version, TlsVersion::V1_0);
    assert_eq!(tls.certificates.len(), 1);
    let text = format!("{LISTENER}lane = \"legacy\"\n{LEGACY}{rule}lane = \"modern\"\n");
    let tls = valid(&text).listeners[0].rules[0].tls.clone().expect("TLS of its own");
    assert_eq!((tls.legacy, tls.min_version), (None, TlsVersion::V1_2));
}

#[test]
fn a_component_is_spoken_to_in_a_lane() {
    let text = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream = \"10.0.0.7:993\"\n\
                mode = \"originate\"\n[listener.upstream_tls]\ntrusted_ca = \"ca.pem\"\n\
                lane = \"legacy\"\nlegacy_until = 2099-12-31\nallow_from = \"127.0.0.1\"\n\
                compat12_ciphers = \"TLS_RSA_WITH_AES_128_GCM_SHA256\"\n";
    let tls = valid(text).listeners[0].upstream_tls.clone().expect("TLS with the component");
    let compat12 = tls.compat12.expect("the lane");
    assert_eq!(compat12.suites, suites(&["TLS_RSA_WITH_AES_128_GCM_SHA256"]));
    let legacy = tls.legacy.expect("the lane");
    assert_eq!((legacy.certificate, compat12.certificate), (None, None));
    assert_eq!(tls.min_version, TlsVersion::V1_0);
}

#[test]
fn every_weak_suite_may_be_listed() {
    let names: Vec<String> = WEAK_SUITES.iter().map(|suite| format!("{:?}", suite.name)).collect();
    let list = names.join(", ");
    let text = format!("{LISTENER}lane = \"legacy\"\n{LEGACY}legacy_ciphers = [{list}]\n");
    let legacy = downstream(&text).legacy.expect("the lane");
    assert!(legacy.suites.iter().copied().eq(&WEAK_SUITES));
}
