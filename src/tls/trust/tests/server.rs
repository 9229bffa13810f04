use rcgen::{ExtendedKeyUsagePurpose as Eku, SanType};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;

use super::*;

/// A client with `trust` connects to a server that shows this and is called `wanted`; the SNI is
/// [`NAME`] all the time.
fn reach(
    trust: &ServerTrust,
    wanted: &ServerName<'static>,
    shown: &Arc<CertifiedKey>,
) -> Result<ServerVerification, Rejection> {
    let [one, two] = VERSIONS.map(|version| {
        let resolver = Arc::new(SingleCertAndKey::from((**shown).clone()));
        let server_config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let client_config = client_config(trust.verifier(wanted.clone()), None, &[version], now());
        let mut client = testing::client(&Arc::new(client_config));
        let mut server = testing::server(&Arc::new(server_config));
        let result = testing::handshake(&mut client, &mut server)
            .map_err(|error| Rejection::take(&error).expect("about the certificate"));
        result.and_then(|()| {
            trust.judge(client.peer_certificates().unwrap_or_default(), wanted, now())
        })
    });
    assert_eq!(
        one.as_ref().map(|_| ()).map_err(|why| why.problem),
        two.as_ref().map(|_| ()).map_err(|why| why.problem)
    );
    if let Ok(known) = &two {
        recheck_component(trust, known.peer.as_deref(), wanted).expect("as good as before");
    }
    two
}

/// What a connection with `peer` does to be sure of it.
fn recheck_component(
    trust: &ServerTrust,
    peer: Option<&Peer>,
    wanted: &ServerName<'_>,
) -> Result<(), Rejection> {
    let chain = peer.map_or(&[][..], Peer::chain);
    trust.recheck(chain, &mut peer.and_then(Peer::path).cloned(), wanted, now())
}

fn load(settings: &ServerTrustSettings) -> ServerTrust {
    Loader::new(provider()).server(settings).expect("good files")
}

fn cause(found: Result<ServerVerification, Rejection>) -> Option<CertificateProblem> {
    found.err().map(|why| why.problem)
}

fn named(san: Vec<SanType>, cn: &str) -> impl FnOnce(&mut CertificateParams) {
    let cn = cn.to_owned();
    move |params| {
        params.subject_alt_names = san;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a DNS name"))
}

#[test]
fn each_way_to_verify_takes_what_it_should() {
    use CertificateProblem::{UnknownCa, WrongName, WrongPin};
    let store = Store::new();
    let (root, foreign) = (Ca::root("Root"), Ca::root("Foreign"));
    let good = root.leaf(|_| {});
    let misnamed = root.leaf(named(vec![dns("other.example")], "x"));
    let unknown = foreign.leaf(|_| {});
    let pin = PeerIdentity::of(unknown.certificate.der()).expect("can be read").spki;
    let [good, misnamed, unknown] = [(&good, &root), (&misnamed, &root), (&unknown, &foreign)]
        .map(|(leaf, ca)| identity(leaf, &[ca]));
    for (verify, expected) in [
        (Verify::Full, [None, Some(WrongName), Some(UnknownCa)]),
        (Verify::Chain, [None, None, Some(UnknownCa)]),
        (Verify::Pin, [Some(WrongPin), Some(WrongPin), None]),
        (Verify::None, [None, None, None]),
    ] {
        let mut settings = server_settings(verify, store.cas(&[&root]));
        settings.pins = vec![[0; 32], pin];
        let trust = load(&settings);
        for (shown, expected) in [&good, &misnamed, &unknown].into_iter().zip(expected) {
            let found = reach(&trust, &name(NAME), shown);
            if let Ok(known) = &found {
                assert_eq!(known.is_authenticated(), verify != Verify::None);
                assert_eq!(known.verified, verify);
                assert!(known.shown().is_some());
            }
            assert_eq!(cause(found), expected, "{verify:?}");
        }
        assert_eq!(trust.is_authenticated(), verify != Verify::None);
    }
}

#[test]
fn no_way_to_verify_lets_a_forged_handshake_pass() {
    let store = Store::new();
    let root = Ca::root("Root");
    let (victim, thief) = (root.leaf(|_| {}), root.leaf(|_| {}));
    let pin = PeerIdentity::of(victim.certificate.der()).expect("can be read").spki;
    let forged = identity_with_key(&victim, &[], &thief);
    for verify in [Verify::Full, Verify::Chain, Verify::Pin, Verify::None] {
        let mut settings = server_settings(verify, store.cas(&[&root]));
        settings.pins = vec![pin];
        let trust = load(&settings);
        assert_eq!(cause(reach(&trust, &name(NAME), &identity(&victim, &[]))), None);
        let found = cause(reach(&trust, &name(NAME), &forged));
        assert_eq!(found, Some(CertificateProblem::BadSignature), "{verify:?}");
    }
}

/// `openssl x509 -req` made them for decades.
#[test]
fn certificates_of_version_1_serve_where_nothing_or_a_pin_counts() {
    let store = Store::new();
    let root = Ca::root("Root");
    let old = version_1(&root);
    let mut forged = (*old).clone();
    forged.key = identity(&root.leaf(|_| {}), &[]).key.clone();
    let forged = Arc::new(forged);
    let pin = PeerIdentity::of(&old.cert[0]).expect("can be read").spki;
    for (verify, expected) in [
        (Verify::Full, Some(CertificateProblem::Unreadable)),
        (Verify::Chain, Some(CertificateProblem::Unreadable)),
        (Verify::Pin, None),
        (Verify::None, None),
    ] {
        let mut settings = server_settings(verify, store.cas(&[&root]));
        settings.pins = vec![pin];
        let trust = load(&settings);
        assert_eq!(cause(reach(&trust, &name(NAME), &old)), expected, "{verify:?}");
        let found = cause(reach(&trust, &name(NAME), &forged));
        let expected = expected.unwrap_or(CertificateProblem::BadSignature);
        assert_eq!(found, Some(expected), "{verify:?}");
    }
}

#[test]
fn the_name_that_is_checked_is_not_the_one_that_is_sent() {
    let store = Store::new();
    let root = Ca::root("Root");
    let trust = load(&server_settings(Verify::Full, store.cas(&[&root])));
    let ip = |text: &str| SanType::IpAddress(text.parse().expect("an address"));
    let several = identity(
        &root.leaf(named(
            vec![dns("a.example"), dns("*.b.example"), ip("10.0.0.1"), ip("::1")],
            "c.example",
        )),
        &[],
    );
    for (wanted, good) in [
        ("a.example", true),
        ("A.Example", true),
        ("x.b.example", true),
        ("b.example", false),
        ("y.x.b.example", false),
        ("c.example", false),
        (NAME, false),
        ("10.0.0.1", true),
        ("::1", true),
        ("10.0.0.2", false),
    ] {
        let found = reach(&trust, &name(wanted), &several);
        if let Err(why) = &found {
            assert!(why.text.contains("a.example"), "{why}");
            assert!(why.text.contains(wanted), "{why}");
        }
        assert_eq!(cause(found), (!good).then_some(CertificateProblem::WrongName), "{wanted}");
    }
}

#[test]
fn the_common_name_stands_in_for_dns_names_that_are_not_there() {
    let store = Store::new();
    let root = Ca::root("Root");
    let ip = SanType::IpAddress("10.0.0.1".parse().expect("an address"));
    let [plain, wild, with_ip, with_dns, address] = [
        named(vec![], "Host.example"),
        named(vec![], "*.wild.example"),
        named(vec![ip], "host.example"),
        named(vec![dns("other.example")], "host.example"),
        named(vec![], "10.0.0.1"),
    ]
    .map(|change| identity(&root.leaf(change), &[]));
    let mut settings = server_settings(Verify::Full, store.cas(&[&root]));
    let san = load(&settings);
    settings.name_match = NameMatch::SanOrCn;
    let san_or_cn = load(&settings);
    for (shown, wanted, good) in [
        (&plain, "host.example", true),
        (&plain, "other.example", false),
        (&wild, "a.wild.example", true),
        (&wild, "wild.example", false),
        (&wild, "b.a.wild.example", false),
        (&with_ip, "host.example", true),
        (&with_ip, "10.0.0.1", true),
        (&with_dns, "host.example", false),
        (&with_dns, "other.example", true),
        (&address, "10.0.0.1", false),
    ] {
        let expected = (!good).then_some(CertificateProblem::WrongName);
        assert_eq!(cause(reach(&san_or_cn, &name(wanted), shown)), expected, "{wanted}");
        let in_san = good && (wanted == "other.example" || wanted == "10.0.0.1");
        assert_eq!(reach(&san, &name(wanted), shown).is_ok(), in_san, "{wanted}");
    }
}

#[test]
fn servers_need_the_usage_of_servers() {
    let store = Store::new();
    let root = Ca::root("Root");
    let trust = load(&server_settings(Verify::Full, store.cas(&[&root])));
    for (usages, good) in [
        (vec![], true),
        (vec![Eku::ServerAuth], true),
        (vec![Eku::ClientAuth, Eku::ServerAuth], true),
        (vec![Eku::ClientAuth], false),
    ] {
        let leaf = root.leaf(|params| params.extended_key_usages = usages.clone());
        let found = cause(reach(&trust, &name(NAME), &identity(&leaf, &[])));
        assert_eq!(found, (!good).then_some(CertificateProblem::WrongUsage), "{usages:?}");
    }
}

#[test]
fn dates_and_crls_count_with_a_chain_and_before_the_name() {
    use CertificateProblem as P;
    let store = Store::new();
    let root = Ca::root("Root");
    let crl = store.put(&root.crl(&[7]).pem().expect("PEM"));
    for verify in [Verify::Full, Verify::Chain] {
        let mut settings = server_settings(verify, store.cas(&[&root]));
        settings.crls = crls(vec![crl.clone()]);
        let trust = load(&settings);
        let revoked = root.leaf(|params| {
            serial(7)(params);
            named(vec![dns("other.example")], "x")(params);
        });
        let old = root.leaf(|params| params.not_after = rcgen::date_time_ymd(2029, 12, 1));
        for (leaf, expected) in
            [(revoked, Some(P::Revoked)), (old, Some(P::Expired)), (root.leaf(|_| {}), None)]
        {
            let found = cause(reach(&trust, &name(NAME), &identity(&leaf, &[])));
            assert_eq!(found, expected, "{verify:?}");
        }
    }
}

#[test]
fn a_component_that_is_up_is_judged_anew() {
    let store = Store::new();
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let trust = load(&server_settings(Verify::Full, store.cas(&[&root])));
    let known = reach(&trust, &name(NAME), &identity(&root.leaf(|_| {}), &[])).expect("good");
    let peer = known.peer.as_deref();
    let cause = |trust: &ServerTrust, wanted: &str| {
        recheck_component(trust, peer, &name(wanted)).err().map(|why| why.problem)
    };
    assert_eq!(cause(&trust, "other.example"), Some(CertificateProblem::WrongName));
    let elsewhere = load(&server_settings(Verify::Full, store.cas(&[&other])));
    assert_eq!(cause(&elsewhere, NAME), Some(CertificateProblem::MissingIntermediate));
    let pinned = load(&server_settings(Verify::Pin, Vec::new()));
    assert_eq!(cause(&pinned, NAME), Some(CertificateProblem::WrongPin));
    let anybody = load(&server_settings(Verify::None, Vec::new()));
    assert_eq!(cause(&anybody, "other.example"), None);
}

#[test]
fn a_component_that_comes_back_with_a_session_is_judged_anew() {
    let store = Store::new();
    let root = Ca::root("Root");
    let list = store.put(&root.crl(&[]).pem().expect("PEM"));
    let mut settings = server_settings(Verify::Full, store.cas(&[&root]));
    settings.crls = crls(vec![list.clone()]);
    let trust = load(&settings);
    let shown = identity(&root.leaf(serial(7)), &[]);
    let resolver = Arc::new(SingleCertAndKey::from((*shown).clone()));
    let server_config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let server_config = Arc::new(server_config);
    let client_config =
        Arc::new(client_config(trust.verifier(name(NAME)), None, rustls::ALL_VERSIONS, now()));
    let reach = || {
        let mut client = testing::client(&client_config);
        testing::handshake(&mut client, &mut testing::server(&server_config)).expect("they agree");
        let chain = client.peer_certificates().unwrap_or_default();
        (client.handshake_kind(), cause(trust.judge(chain, &name(NAME), now())))
    };
    assert_eq!(reach(), (Some(HandshakeKind::Full), None));
    assert_eq!(reach(), (Some(HandshakeKind::Resumed), None));
    std::fs::write(&list.path, root.crl(&[7]).pem().expect("PEM")).expect("written");
    assert!(trust.crls().expect("configured").reload().changed);
    assert_eq!(reach(), (Some(HandshakeKind::Resumed), Some(CertificateProblem::Revoked)));
}
