use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use openssl::pkey::PKey;
use openssl::x509::X509;
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls::ClientConfig;

use super::*;
use crate::config::model::{CertificateFiles, ClientCert, DownstreamTls};
use crate::tls::file::FileProblem;
use crate::tls::openssl::tests as old;
use crate::tls::provider::provider;
use crate::tls::testing::{self, Ca, Files, Issued, NAME, tls};

fn problems(tls: &DownstreamTls) -> Vec<FileProblem> {
    load(tls, &provider()).expect_err("has problems")
}

/// The only problem of a configuration with this certificate.
fn problem(files: CertificateFiles) -> FileProblem {
    let mut found = problems(&tls(vec![files]));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn good() -> Issued {
    Ca::new().issue(&PKCS_ECDSA_P256_SHA256)
}

#[test]
fn reads_names_subject_serial_and_dates() {
    let files = Files::new();
    let mut params =
        CertificateParams::new(vec!["One.example".to_owned(), "*.b.example".to_owned()])
            .expect("DNS names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ignored.example");
    params.serial_number = Some(vec![1, 0xab].into());
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let issued = Ca::new().issue_with(&params, &PKCS_ED25519);
    let identities = load(&tls(vec![files.issued("a", &issued)]), &provider()).expect("good");
    let identity = &identities.list[0];
    assert_eq!(identity.names, ["one.example", "*.b.example"]);
    assert_eq!(identity.subject, "CN=ignored.example");
    assert_eq!(identity.serial, "01:ab");
    assert_eq!(identity.schemes, [SignatureScheme::ED25519]);
    assert_eq!((identity.line, identity.not_before), (7, 1_577_836_800));
    let expiry = identity.not_after;
    assert_eq!(expiry, 1_893_456_000);
    assert!(!identities.resolver.covers("ignored.example"));

    let day = 24 * 3600;
    let kind = |now| warnings(&identities.list, now).first().map(|warning| warning.kind);
    assert_eq!(kind(expiry - 31 * day), None);
    assert_eq!(kind(expiry - 30 * day), Some(WarningKind::ExpiresSoon { expires_in: 30 * day }));
    assert_eq!(kind(expiry), Some(WarningKind::ExpiresSoon { expires_in: 0 }));
    assert_eq!(kind(expiry + day), Some(WarningKind::Expired { since: day }));
    assert_eq!(kind(1_577_836_800 - 1), Some(WarningKind::NotYetValid { starts_in: 1 }));
}

#[test]
fn the_common_name_counts_without_alternative_names_only() {
    let files = Files::new();
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Old.example");
    let issued = Ca::new().issue_with(&params, &PKCS_ECDSA_P256_SHA256);
    let identities = load(&tls(vec![files.issued("a", &issued)]), &provider()).expect("good");
    assert_eq!(identities.list[0].names, ["old.example"]);
    assert!(identities.resolver.covers("OLD.example."));

    params.subject_alt_names =
        vec![rcgen::SanType::IpAddress("10.0.0.1".parse().expect("an address"))];
    let issued = Ca::new().issue_with(&params, &PKCS_ECDSA_P256_SHA256);
    let identities = load(&tls(vec![files.issued("b", &issued)]), &provider()).expect("good");
    assert!(identities.list[0].names.is_empty());
}

#[test]
fn all_problems_are_reported_at_once() {
    let files = Files::new();
    let one = files.issued("a", &good());
    let mut two = one.clone();
    two.certificate = PathBuf::from("/nonexistent/two.pem");
    two.certificate_line = 20;
    two.certificate_key = files.write("empty.key", "", 0o600);
    let mut tls = tls(vec![one, two]);
    tls.key_group = Some("no:such:group".to_owned());
    tls.client_cert = ClientCert::Required;
    tls.trusted_ca = files.trusted("nothing");
    let found = problems(&tls);
    let keys: Vec<(&str, usize)> =
        found.iter().map(|problem| (problem.key, problem.line)).collect();
    assert_eq!(
        keys,
        [("key_group", 0), ("certificate", 20), ("certificate_key", 8), ("trusted_ca", 0)]
    );
    assert_eq!(found[1].file, Path::new("/nonexistent/two.pem"));
    assert!(found[1].found.contains("No such file"), "{:?}", found[1]);
    assert_eq!(found[3].found, "no certificate");
}

#[test]
fn unusable_files_are_named() {
    let files = Files::new();
    let good = files.issued("good", &good());

    let mut case = good.clone();
    case.certificate = files.write("text.pem", "not a certificate", 0o644);
    assert_eq!(problem(case).found, "no certificate");

    let mut case = good.clone();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    case.certificate = files.write("garbage.pem", garbage, 0o644);
    assert!(problem(case).found.starts_with("a certificate that cannot be read"));

    let mut case = good.clone();
    case.certificate = files.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", 0o644);
    assert!(problem(case).found.starts_with("damaged PEM"));

    let mut case = good.clone();
    case.certificate = files.write("long.pem", &"x".repeat((1 << 20) + 1), 0o644);
    assert_eq!(problem(case).found, "over 1 MiB");

    let mut case = good.clone();
    case.certificate = files.path().to_owned();
    assert!(problem(case).found.contains("directory"));

    let mut case = good.clone();
    case.certificate_key = good.certificate.clone();
    fs::set_permissions(&good.certificate, Permissions::from_mode(0o600)).expect("mode set");
    assert_eq!(problem(case).found, "no private key");

    let mut case = good.clone();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    case.certificate_key = files.write("encrypted.key", encrypted, 0o600);
    let found = problem(case);
    assert_eq!(found.found, "an encrypted private key");
    assert!(found.hint.contains("openssl pkey"));

    let mut case = good.clone();
    let unknown = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    case.certificate_key = files.write("unknown.key", unknown, 0o600);
    assert_eq!(problem(case).found, "a key of a type or size that is not supported");

    let mut case = good;
    case.certificate_key = files.issued("other", &self::good()).certificate_key;
    let found = problem(case);
    assert!(found.found.starts_with("the key of another certificate"), "{found:?}");
    assert_eq!((found.key, found.line), ("certificate_key", 8));
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let files = Files::new();
    let case = files.issued("a", &good());
    let set = |mode| {
        fs::set_permissions(&case.certificate_key, Permissions::from_mode(mode)).expect("mode set");
    };
    for mode in [0o644, 0o604, 0o602, 0o640, 0o620] {
        set(mode);
        let found = problem(case.clone());
        assert!(found.found.starts_with(&format!("mode {mode:04o}")), "{found:?}");
        assert!(found.hint.contains("chmod 600"));
    }
    for mode in [0o600, 0o400] {
        set(mode);
        load(&tls(vec![case.clone()]), &provider()).expect("private");
    }

    // With the group that the file belongs to, if that group has a name here.
    let gid = fs::metadata(&case.certificate_key).expect("exists").gid();
    let groups = fs::read_to_string("/etc/group").expect("groups");
    let name = groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&gid.to_string().as_str())).then(|| fields[0].to_owned())
    });
    let mut with_group = tls(vec![case.clone()]);
    with_group.key_group = Some(name.expect("the group of this process has a name"));
    for (mode, good) in [(0o640, true), (0o440, true), (0o660, false), (0o644, false)] {
        set(mode);
        assert_eq!(load(&with_group, &provider()).is_ok(), good, "{mode:o}");
    }
    set(0o640);
    with_group.key_group = Some(if gid == 0 { "daemon" } else { "root" }.to_owned());
    assert_eq!(problems(&with_group).len(), 1);
}

#[test]
fn groups_are_found_by_whole_name() {
    let text = "root:x:0:\n# comment\ntls:x:118:alice,bob\n\nbad:x:many:\nshort\ntlsgate:x:990:\n";
    assert_eq!(super::load::account_number(text, "tls"), Some(118));
    assert_eq!(super::load::account_number(text, "tlsgate"), Some(990));
    for missing in ["tl", "alice", "bad", "short", "", "x"] {
        assert_eq!(super::load::account_number(text, missing), None, "{missing}");
    }
}

#[test]
fn peers_without_a_trusted_certificate_are_refused() {
    let files = Files::new();
    let (ours, theirs) = (Ca::new(), Ca::new());
    let component = ours.issue(&PKCS_ECDSA_P256_SHA256);
    let mut tls = tls(vec![files.issued("a", &component)]);
    tls.trusted_ca = files.trusted(&ours.certificate.pem());
    // A client with no certificate, a good one, and one of another CA.
    for (mode, expected) in [
        (ClientCert::None, [true, true, true]),
        (ClientCert::Optional, [true, true, false]),
        (ClientCert::Required, [false, true, false]),
    ] {
        tls.client_cert = mode;
        let identities = load(&tls, &provider()).expect("good");
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_client_cert_verifier(identities.trust.verifier())
            .with_cert_resolver(identities.resolver);
        let server_config = Arc::new(config);
        for (issuer, expected) in [None, Some(&ours), Some(&theirs)].into_iter().zip(expected) {
            let client_config = Arc::new(client_with_certificate(&ours, issuer));
            let (mut client, mut server) =
                (testing::client(&client_config), testing::server(&server_config));
            let result = testing::handshake(&mut client, &mut server);
            assert_eq!(result.is_ok(), expected, "{mode:?}: {result:?}");
        }
    }
}

fn client_with_certificate(root: &Ca, issuer: Option<&Ca>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(root.roots());
    let Some(issuer) = issuer else {
        return builder.with_no_client_auth();
    };
    let params = CertificateParams::new(vec!["peer.example".to_owned()]).expect("a DNS name");
    let issued = issuer.issue_with(&params, &PKCS_ED25519);
    builder
        .with_client_auth_cert(issued.chain(), issued.private_key())
        .expect("key and certificate match")
}

#[test]
fn rsa_keys_load_and_serve() {
    let files = Files::new();
    let ca = Ca::new();
    let identities =
        load(&tls(vec![files.issued("rsa", &ca.issue_rsa())]), &provider()).expect("good");
    assert!(identities.resolver.covers(NAME));
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_no_client_auth()
        .with_cert_resolver(identities.resolver);
    let client_config = Arc::new(ca.client((*provider()).clone()));
    let (mut client, mut server) =
        (testing::client(&client_config), testing::server(&Arc::new(config)));
    testing::handshake(&mut client, &mut server).expect("they agree");
}

#[test]
fn weak_lanes_take_what_rustls_does_not() {
    let old = old::Ca::old();
    let issued = [old.issue(NAME), old.issue(NAME)];
    let pems = issued.map(|issued| {
        let certificate = X509::from_der(&issued.chain[0]).and_then(|leaf| leaf.to_pem());
        let key = PKey::private_key_from_der(&issued.key);
        let key = key.and_then(|key| key.private_key_to_pem_pkcs8());
        let text = |pem: Vec<u8>| String::from_utf8(pem).expect("PEM is text");
        (text(certificate.expect("PEM")), text(key.expect("PEM")))
    });
    let files = Files::new();
    let named = |certificate: &str, key: &str| CertificateFiles {
        certificate: files.write("old.pem", certificate, 0o644),
        certificate_key: files.write("old.key", key, 0o600),
        certificate_line: 7,
        certificate_key_line: 8,
        ocsp_file: None,
        ocsp_file_line: 0,
    };
    let keys = ("legacy_certificate", "legacy_certificate_key");
    let good = named(&pems[0].0, &pems[0].1);
    assert!(load(&tls(vec![good.clone()]), &provider()).is_err(), "1,024 bits");
    let (identity, told) = load_weak(&good, keys, (None, 0)).expect("good files");
    assert_eq!((identity.names, told.names), (vec![NAME.to_owned()], vec![NAME.to_owned()]));
    assert_eq!(told.subject, format!("CN={NAME}"));
    let mixed = named(&pems[0].0, &pems[1].1);
    let problems = load_weak(&mixed, keys, (None, 0)).expect_err("another's key");
    assert_eq!((problems[0].key, problems[0].line), ("legacy_certificate_key", 8));
    assert_eq!(problems[0].found, "the key of another certificate");
}
