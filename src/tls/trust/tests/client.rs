use rcgen::{ExtendedKeyUsagePurpose as Eku, IsCa};

use super::*;

#[test]
fn a_good_chain_is_known_by_name_and_one_without_a_root_is_not() {
    let store = Store::new();
    let root = Ca::root("Root");
    let issuing = root.intermediate("Issuing");
    let trust = require(&store, &[&root], CrlPolicy::default());
    let leaf = issuing.leaf(|_| {});
    let known = connect(&trust, Some(&identity(&leaf, &[&issuing]))).expect("good");
    let who = known.authorized().expect("verified");
    assert_eq!((who.subject.as_str(), who.issuer.as_str()), ("CN=peer", "CN=Issuing,O=Example"));
    assert_eq!(who.dns, [NAME]);
    assert_eq!(trust.trusted().len(), 1);

    let missing = refused(&trust, &identity(&leaf, &[]));
    assert_eq!(missing.problem, CertificateProblem::MissingIntermediate, "{missing}");
    assert!(missing.text.contains("CN=Issuing,O=Example is not in `trusted_ca`"), "{missing}");
    assert!(missing.text.contains("the peer must send it"), "{missing}");
}

#[test]
fn every_cause_has_its_name_and_alert() {
    use CertificateProblem as P;
    let store = Store::new();
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let other = Ca::root_with("Foreign", |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Foreign");
        drop(other);
    });
    let twin = Ca::root("Root");
    let closed = root.intermediate_with("Closed", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let below = closed.intermediate("Below");
    let self_signed = {
        let key = new_key();
        let certificate = leaf_params(|_| {}).self_signed(&key).expect("signed");
        Issued { certificate, key }
    };
    let expired = root.leaf(|params| params.not_after = rcgen::date_time_ymd(2029, 12, 1));
    let future = root.leaf(|params| params.not_before = rcgen::date_time_ymd(2031, 1, 1));
    let server_only = root.leaf(|params| params.extended_key_usages = vec![Eku::ServerAuth]);
    let ca_as_leaf = root.leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let trust = require(&store, &[&root], CrlPolicy::default());
    for (shown, problem, words) in [
        (identity(&other.leaf(|_| {}), &[]), P::UnknownCa, "CN=Foreign is not in `trusted_ca`"),
        (identity(&other.leaf(|_| {}), &[&other]), P::UnknownCa, "the chain ends at CN=Foreign"),
        (identity(&self_signed, &[]), P::SelfSigned, "CN=peer: signed by itself"),
        (identity(&twin.leaf(|_| {}), &[]), P::BadSignature, "did not sign it"),
        (identity(&expired, &[]), P::Expired, "expired 31 days ago"),
        (identity(&future, &[]), P::NotYetValid, "becomes valid in 365 days"),
        (identity(&server_only, &[]), P::WrongUsage, "extended key usage"),
        (identity(&ca_as_leaf, &[]), P::Constraint, "CaUsedAsEndEntity"),
        (identity(&below.leaf(|_| {}), &[&below, &closed]), P::Constraint, "PathLen"),
    ] {
        let found = refused(&trust, &shown);
        assert_eq!(found.problem, problem, "{found}");
        assert!(found.text.contains(words), "{found}");
    }
}

#[test]
fn usages_count_where_there_are_any() {
    let store = Store::new();
    let root = Ca::root("Root");
    let trust = require(&store, &[&root], CrlPolicy::default());
    for (usages, good) in [
        (vec![], true),
        (vec![Eku::ClientAuth], true),
        (vec![Eku::ServerAuth, Eku::ClientAuth], true),
        (vec![Eku::ServerAuth], false),
        (vec![Eku::CodeSigning], false),
    ] {
        let leaf = root.leaf(|params| params.extended_key_usages = usages.clone());
        let found = connect(&trust, Some(&identity(&leaf, &[])));
        let expected = (!good).then_some(CertificateProblem::WrongUsage);
        assert_eq!(problem(&found), expected, "{usages:?}");
    }
}

#[test]
fn how_each_mode_takes_none_and_a_bad_one() {
    let store = Store::new();
    let (ours, theirs) = (Ca::root("Root"), Ca::root("Other"));
    let good = identity(&ours.leaf(|_| {}), &[]);
    let bad = identity(&theirs.leaf(|_| {}), &[]);
    for (mode, expected) in [
        (ClientCert::None, [true, true, true]),
        (ClientCert::Optional, [true, true, false]),
        (ClientCert::Required, [false, true, false]),
        (ClientCert::Report, [true, true, true]),
    ] {
        let trust = load(&ask(mode, store.cas(&[&ours]))).expect("good files");
        for (shown, expected) in [None, Some(&good), Some(&bad)].into_iter().zip(expected) {
            let found = connect(&trust, shown);
            assert_eq!(found.is_ok(), expected, "{mode:?} {found:?}");
        }
    }
    let trust = load(&ask(ClientCert::Required, store.cas(&[&ours]))).expect("good files");
    assert_eq!(problem(&connect(&trust, None)), Some(CertificateProblem::Missing));
    let came_back = trust.judge(&[], now());
    let why = came_back.refusal().expect("a certificate is required");
    assert_eq!(why.problem, CertificateProblem::Missing);
}

#[test]
fn a_report_says_what_would_fail_and_authorizes_nobody() {
    let store = Store::new();
    let (ours, theirs) = (Ca::root("Root"), Ca::root("Other"));
    let trust = load(&ask(ClientCert::Report, store.cas(&[&ours]))).expect("good files");

    let good = connect(&trust, Some(&identity(&ours.leaf(|_| {}), &[]))).expect("accepted");
    assert!(matches!(good.verdict, ClientVerdict::Verified));
    assert!(good.shown().is_some() && good.authorized().is_none());

    let bad = connect(&trust, Some(&identity(&theirs.leaf(|_| {}), &[&theirs]))).expect("accepted");
    let ClientVerdict::Failed(why) = &bad.verdict else { panic!("{bad:?}") };
    assert_eq!(why.problem, CertificateProblem::UnknownCa);
    assert_eq!(bad.shown().expect("can be read").issuer, "CN=Other,O=Example");
    assert!(bad.authorized().is_none() && bad.refusal().is_none());
    assert!(recheck(&trust, bad.peer.as_deref(), now()).is_ok(), "it was let in for nothing");

    let none = connect(&trust, None).expect("accepted");
    assert!(matches!(none.verdict, ClientVerdict::Anonymous) && none.peer.is_none());
}

#[test]
fn nobody_passes_with_a_certificate_whose_key_is_another() {
    let store = Store::new();
    let root = Ca::root("Root");
    let (victim, thief) = (root.leaf(|_| {}), root.leaf(|_| {}));
    let forged = identity_with_key(&victim, &[], &thief);
    for mode in [ClientCert::Optional, ClientCert::Required, ClientCert::Report] {
        let trust = load(&ask(mode, store.cas(&[&root]))).expect("good files");
        let found = connect(&trust, Some(&forged)).expect_err("refused");
        assert_eq!(found.problem, CertificateProblem::BadSignature, "{mode:?}");
    }
}

#[test]
fn of_two_cas_either_will_do_and_one_removed_is_noticed() {
    let store = Store::new();
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let both = require(&store, &[&one, &two], CrlPolicy::default());
    let known = [&one, &two].map(|ca| {
        let shown = identity(&ca.leaf(|_| {}), &[]);
        connect(&both, Some(&shown)).expect("good").peer.expect("shown")
    });
    let only_two = require(&store, &[&two], CrlPolicy::default());
    let found = known.each_ref().map(|peer| recheck(&only_two, Some(peer), now()).err());
    assert_eq!(
        found.map(|why| why.map(|why| why.problem)),
        [Some(CertificateProblem::MissingIntermediate), None]
    );
    assert_eq!(
        recheck(&only_two, None, now()).expect_err("required").problem,
        CertificateProblem::Missing
    );
    let after = at(NOW + 70 * 365 * DAY);
    assert!(recheck(&only_two, Some(&known[1]), after).is_ok(), "valid until 4096");
}

#[test]
fn peers_that_come_back_are_remembered_and_not_without_end() {
    let store = Store::new();
    let root = Ca::root("Root");
    let settings = ask(ClientCert::Required, store.cas(&[&root]));
    let mut loader = Loader::new(provider());
    let (trust, same) = (
        loader.client(&settings).expect("good files"),
        loader.client(&settings).expect("good files"),
    );
    let leaf = root.leaf(|_| {});
    let judge = |others: &[Vec<u8>]| {
        let mut chain = vec![leaf.certificate.der().clone()];
        chain.extend(others.iter().map(|der| CertificateDer::from(der.clone())));
        trust.judge(&chain, now()).peer.expect("good")
    };
    let remembered = || trust.authority().remembered();
    assert!(Arc::ptr_eq(&judge(&[]), &judge(&[])));
    assert!(Arc::ptr_eq(
        &judge(&[]),
        &same.judge(&[leaf.certificate.der().clone()], now()).peer.expect("good")
    ));
    assert_eq!(remembered(), 1);
    // Whatever else is sent makes it another chain; a long one is not kept.
    judge(&[vec![0x30; 9000]]);
    assert_eq!(remembered(), 1);
    for number in 0..9000_u32 {
        judge(&[number.to_be_bytes().to_vec()]);
    }
    let all = remembered();
    assert!((8000..=8192).contains(&all), "{all}");
}

#[test]
fn a_certificate_with_any_byte_changed_is_refused() {
    let store = Store::new();
    let root = Ca::root("Root");
    let issuing = root.intermediate("Issuing");
    let list = store.put(&root.crl(&[]).pem().expect("PEM"));
    let mut policy = crls(vec![list]);
    policy.rules.unknown = CrlUnknown::Allow;
    let trust = require(&store, &[&root], policy);
    let leaf = issuing.leaf(|params| {
        params
            .subject_alt_names
            .push(rcgen::SanType::URI("spiffe://x/y".try_into().expect("a URI")));
    });
    let good = [leaf.certificate.der().clone(), issuing.certificate.der().clone()];
    let verdict = |chain: &[CertificateDer<'_>]| trust.judge(chain, now()).verdict;
    assert!(matches!(verdict(&good), ClientVerdict::Verified));
    for which in 0..2 {
        for at in 0..good[which].len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut chain = good.clone();
                let mut damaged = chain[which].to_vec();
                damaged[at] ^= mask;
                chain[which] = damaged.into();
                let found = verdict(&chain);
                let ClientVerdict::Failed(why) = found else { panic!("{which} {at} {mask:02x}") };
                assert!(!why.text.is_empty());
            }
        }
    }
}

#[test]
fn certificates_of_version_1_are_refused_with_the_reason_and_reported() {
    let store = Store::new();
    let root = Ca::root("Root");
    let old = version_1(&root);
    let trust = require(&store, &[&root], CrlPolicy::default());
    let why = refused(&trust, &old);
    assert_eq!(why.problem, CertificateProblem::Unreadable);
    assert!(why.text.contains("CN=old: X.509 version 1"), "{why}");

    let trust = load(&ask(ClientCert::Report, store.cas(&[&root]))).expect("good files");
    let known = connect(&trust, Some(&old)).expect("accepted");
    let ClientVerdict::Failed(why) = &known.verdict else { panic!("{known:?}") };
    assert_eq!(why.problem, CertificateProblem::Unreadable);
    assert_eq!(known.shown().expect("can be read").subject, "CN=old");
    let thief = root.leaf(|_| {});
    let forged = (*old).clone();
    let key = identity(&thief, &[]).key.clone();
    let forged = Arc::new(CertifiedKey::new(forged.cert, key));
    let found = connect(&trust, Some(&forged)).expect_err("refused");
    assert_eq!(found.problem, CertificateProblem::BadSignature);
}

#[test]
fn more_cas_than_a_handshake_can_name_are_not_named() {
    let store = Store::new();
    let many: Vec<Ca> = (0..600).map(|number| Ca::root(&format!("Root {number}"))).collect();
    let file = store.put(&many.iter().map(Ca::pem).collect::<String>());
    let shown = identity(&many[599].leaf(|_| {}), &[]);
    let trust = load(&ask(ClientCert::Required, vec![file])).expect("good files");
    assert_eq!(trust.trusted().len(), 600);
    assert!(trust.verifier().root_hint_subjects().is_empty());
    connect(&trust, Some(&shown)).expect("good");
    let few = require(&store, &[&many[0], &many[1]], CrlPolicy::default());
    assert_eq!(few.verifier().root_hint_subjects().len(), 2);
}
