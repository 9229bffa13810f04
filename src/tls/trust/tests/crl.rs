use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};

use super::*;

fn pem(crl: &rcgen::CertificateRevocationList) -> String {
    crl.pem().expect("PEM")
}

fn with_rules(files: Vec<TrustFile>, change: impl FnOnce(&mut CrlRules)) -> CrlPolicy {
    let mut policy = crls(files);
    change(&mut policy.rules);
    policy
}

/// The only problem with these lists, for a root.
fn unusable(root: &Ca, content: &str) -> FileProblem {
    let store = Store::new();
    let settings = ClientTrustSettings {
        crls: crls(vec![store.put(content)]),
        ..ask(ClientCert::Required, store.cas(&[root]))
    };
    let mut problems = super::load(&settings).expect_err("cannot be used");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].key, problems[0].line), ("crl_files", 1));
    problems.remove(0)
}

/// Whom these lists, none of which is unusable, keep out; all else is as it should be.
fn verdict(trust: &ClientTrust, shown: &Arc<CertifiedKey>) -> Option<CertificateProblem> {
    problem(&connect(trust, Some(shown)))
}

#[test]
fn the_one_that_is_listed_is_refused() {
    let store = Store::new();
    let root = Ca::root("Root");
    let list = store.put(&pem(&root.crl(&[3, 300, 70_000, 7])));
    let trust = require(&store, &[&root], crls(vec![list.clone()]));
    assert!(trust.crls().expect("configured").of_others().is_empty());
    let facts = trust.crls().expect("configured").current().facts().to_vec();
    let expected = CrlFacts {
        file: list.path,
        issuer: "CN=Root,O=Example".to_owned(),
        this_update: NOW - 8 * DAY,
        next_update: NOW + DAY,
        revoked: 4,
    };
    assert_eq!(facts, [expected]);
    for number in [3, 7, 300, 70_000] {
        let found = refused(&trust, &identity(&root.leaf(serial(number)), &[]));
        assert_eq!(found.problem, CertificateProblem::Revoked, "{number}");
        assert!(found.text.contains("is revoked"), "{found}");
    }
    for number in [1, 8, 299, 301, 70_001, 1 << 40] {
        assert_eq!(verdict(&trust, &identity(&root.leaf(serial(number)), &[])), None, "{number}");
    }
}

#[test]
fn depth_decides_whether_intermediates_are_looked_up() {
    use CertificateProblem::{CrlMissing, Revoked};
    let store = Store::new();
    let root = Ca::root("Root");
    let issuing = root.intermediate("Issuing");
    let shown = identity(&issuing.leaf(serial(9)), &[&issuing]);
    let of_root = |revoked: bool| {
        let serials = revoked.then(|| issuing.serial.clone());
        store.put(&pem(&root.crl_until(NOW + DAY, serials)))
    };
    let of_issuing = |revoked: &[u64]| store.put(&pem(&issuing.crl(revoked)));
    for (files, at_chain, at_leaf, unknown_allowed) in [
        (vec![of_root(false), of_issuing(&[])], None, None, None),
        (vec![of_root(false), of_issuing(&[9])], Some(Revoked), Some(Revoked), Some(Revoked)),
        (vec![of_root(true), of_issuing(&[])], Some(Revoked), None, Some(Revoked)),
        (vec![of_root(false)], Some(CrlMissing), Some(CrlMissing), None),
        (vec![of_issuing(&[])], Some(CrlMissing), None, None),
    ] {
        for (expected, depth, unknown) in [
            (at_chain, CrlDepth::Chain, CrlUnknown::Deny),
            (at_leaf, CrlDepth::Leaf, CrlUnknown::Deny),
            (unknown_allowed, CrlDepth::Chain, CrlUnknown::Allow),
        ] {
            let policy = with_rules(files.clone(), |rules| {
                (rules.depth, rules.unknown) = (depth, unknown);
            });
            let trust = require(&store, &[&root], policy);
            assert_eq!(verdict(&trust, &shown), expected, "{files:?} {depth:?} {unknown:?}");
        }
    }
}

#[test]
fn a_list_of_one_of_two_cas_says_nothing_of_the_other() {
    let store = Store::new();
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let list = vec![store.put(&pem(&one.crl(&[])))];
    let (of_one, of_two) = (identity(&one.leaf(|_| {}), &[]), identity(&two.leaf(|_| {}), &[]));
    let strict = require(&store, &[&one, &two], crls(list.clone()));
    assert_eq!(verdict(&strict, &of_one), None);
    let why = refused(&strict, &of_two);
    assert_eq!(why.problem, CertificateProblem::CrlMissing);
    assert!(why.text.contains("issuer CN=Two,O=Example"), "{why}");
    let policy = with_rules(list, |rules| rules.unknown = CrlUnknown::Allow);
    let lenient = require(&store, &[&one, &two], policy);
    assert_eq!(verdict(&lenient, &of_two), None);
}

#[test]
fn an_old_list_counts_if_it_may_and_a_new_one_beside_it_is_enough() {
    let store = Store::new();
    let root = Ca::root("Root");
    let old = || store.put(&pem(&root.crl_until(NOW, [7.into()])));
    let new = || store.put(&pem(&root.crl(&[8])));
    let [innocent, seven, eight] =
        [1, 7, 8].map(|number| identity(&root.leaf(serial(number)), &[]));
    let accept = |rules: &mut CrlRules| rules.expired = CrlExpired::Accept;
    let [strict, lenient, both] = [
        require(&store, &[&root], crls(vec![old()])),
        require(&store, &[&root], with_rules(vec![old()], accept)),
        require(&store, &[&root], crls(vec![old(), new()])),
    ];
    let why = refused(&strict, &innocent);
    assert_eq!(why.problem, CertificateProblem::CrlExpired);
    assert!(why.text.contains("expired 0 s ago"), "{why}");
    assert_eq!(verdict(&lenient, &innocent), None);
    assert_eq!(verdict(&both, &innocent), None);
    for trust in [&strict, &lenient, &both] {
        assert_eq!(verdict(trust, &seven), Some(CertificateProblem::Revoked));
    }
    assert_eq!(verdict(&both, &eight), Some(CertificateProblem::Revoked));
}

#[test]
fn what_only_seems_to_be_signed_is_found_at_load_or_at_first_use() {
    let store = Store::new();
    let (root, twin) = (Ca::root("Root"), Ca::root("Root"));
    let found = unusable(&root, &pem(&twin.crl(&[])));
    assert!(found.found.contains("a CRL of CN=Root,O=Example that this CA did not sign"));

    // The name of an intermediate, whose key comes with the first peer.
    let issuing = root.intermediate("Issuing");
    let impostor = Ca::root("Issuing");
    let files = vec![store.put(&pem(&root.crl(&[]))), store.put(&pem(&impostor.crl(&[])))];
    for unknown in [CrlUnknown::Deny, CrlUnknown::Allow] {
        let policy = with_rules(files.clone(), |rules| rules.unknown = unknown);
        let trust = require(&store, &[&root], policy);
        let why = refused(&trust, &identity(&issuing.leaf(|_| {}), &[&issuing]));
        assert_eq!(why.problem, CertificateProblem::CrlUnusable);
        let others = trust.crls().expect("configured").of_others();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].issuer, "CN=Issuing,O=Example");
    }
    // While a CA changes its key, there are two lists in one name.
    let both = store.put(&format!("{}{}", pem(&impostor.crl(&[])), pem(&issuing.crl(&[5]))));
    let trust = require(&store, &[&root], crls(vec![files[0].clone(), both]));
    assert_eq!(verdict(&trust, &identity(&issuing.leaf(serial(4)), &[&issuing])), None);
    let why = refused(&trust, &identity(&issuing.leaf(serial(5)), &[&issuing]));
    assert_eq!(why.problem, CertificateProblem::Revoked);
}

#[test]
fn only_cas_that_may_sign_lists_do() {
    let store = Store::new();
    let signs_certificates = |params: &mut CertificateParams| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    let root = Ca::root_with("Root", signs_certificates);
    let handmade = Handmade::default();
    let found = unusable(&root, &handmade.pem(&root));
    assert!(found.found.contains("whose certificate does not allow it"), "{found:?}");

    let root = Ca::root("Root");
    let issuing = root.intermediate_with("Issuing", signs_certificates);
    let files = vec![store.put(&pem(&root.crl(&[]))), store.put(&handmade.pem(&issuing))];
    let trust = require(&store, &[&root], crls(files));
    let why = refused(&trust, &identity(&issuing.leaf(|_| {}), &[&issuing]));
    assert_eq!(why.problem, CertificateProblem::CrlUnusable);
    assert!(why.text.contains("may not sign CRLs"), "{why}");
}

#[test]
fn lists_for_some_certificates_only_say_nothing_of_others() {
    use CertificateProblem::{CrlMissing, Revoked};
    let store = Store::new();
    let root = Ca::root("Root");
    let [one, two] = ["http://crl.example/1", "http://crl.example/2"];
    let leaf = |points: &[&str]| {
        let leaf = root.leaf(|params| {
            serial(7)(params);
            let uris = points.iter().map(|uri| (*uri).to_owned()).collect();
            if !points.is_empty() {
                params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
            }
        });
        identity(&leaf, &[])
    };
    for (uri, scope, points, expected) in [
        (one, None, vec![], Some(Revoked)),
        (one, None, vec![one], Some(Revoked)),
        (one, None, vec![two], Some(CrlMissing)),
        (one, None, vec![two, one], Some(Revoked)),
        (one, Some(CrlScope::UserCertsOnly), vec![one], Some(Revoked)),
        (one, Some(CrlScope::CaCertsOnly), vec![one], Some(CrlMissing)),
    ] {
        let mut params = crl_params(NOW + DAY, [7.into()]);
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope,
        });
        let list = params.signed_by(&root.issuer).expect("signed");
        let trust = require(&store, &[&root], crls(vec![store.put(&pem(&list))]));
        assert_eq!(verdict(&trust, &leaf(&points)), expected, "{uri} {scope:?} {points:?}");
    }
}

#[test]
fn new_lists_take_effect_at_once_and_bad_ones_do_not() {
    let store = Store::new();
    let root = Ca::root("Root");
    let file = store.put(&pem(&root.crl(&[])));
    let settings = ClientTrustSettings {
        crls: crls(vec![file.clone()]),
        ..ask(ClientCert::Required, store.cas(&[&root]))
    };
    let mut loader = Loader::new(provider());
    let trust = loader.client(&settings).expect("good files");
    let shared: Vec<_> = loader.crls().cloned().collect();
    let [shared] = &shared[..] else { panic!("one file, one set") };
    assert_eq!(shared.files().collect::<Vec<_>>(), [&file.path]);
    let peers: Vec<_> = (1..=50)
        .map(|number| {
            let shown = identity(&root.leaf(serial(number)), &[]);
            let known = trust.judge(&shown.cert, now());
            (shown, known.peer.expect("good"))
        })
        .collect();
    let turned_away = || -> Vec<usize> {
        let bad = |(_, peer): &&(_, Arc<Peer>)| recheck(&trust, Some(peer), now()).is_err();
        peers.iter().enumerate().filter(|(_, known)| bad(known)).map(|(at, _)| at).collect()
    };
    let write = |content: &str| std::fs::write(&file.path, content).expect("written");
    assert!(!reloaded(shared), "nothing has changed");
    let epoch = shared.epoch().get();
    assert!(turned_away().is_empty());

    write(&pem(&root.crl(&[17])));
    assert!(turned_away().is_empty(), "not before the reload");
    assert!(reloaded(shared));
    assert_eq!(turned_away(), [16]);
    assert_eq!(verdict(&trust, &peers[16].0), Some(CertificateProblem::Revoked));
    assert_ne!(shared.epoch().get(), epoch);
    let epoch = shared.epoch().get();

    write(&pem(&Ca::root("Root").crl(&[])));
    let refused = || shared.reload().problems.remove(0);
    assert_eq!(
        (refused().key, refused().allowed),
        ("crl_files", "CRLs signed by a CA of `trusted_ca`")
    );
    write("");
    assert_eq!(refused().found, "no CRL");
    let mut older = crl_params(NOW + DAY, []);
    older.this_update = rcgen::date_time_ymd(2029, 12, 1);
    write(&pem(&older.signed_by(&root.issuer).expect("signed")));
    assert_eq!(refused().allowed, "CRLs as new or newer");
    assert_eq!((shared.epoch().get(), turned_away()), (epoch, vec![16]));
}

#[test]
fn a_revocation_does_not_wait_for_a_file_that_is_broken() {
    let store = Store::new();
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let files = [&root, &other].map(|ca| store.put(&pem(&ca.crl(&[]))));
    let trust = require(&store, &[&root, &other], crls(files.to_vec()));
    let shared = trust.crls().expect("configured");
    let [one, two] = [&root, &other].map(|ca| identity(&ca.leaf(serial(7)), &[]));
    std::fs::write(&files[0].path, "half a").expect("written");
    std::fs::write(&files[1].path, pem(&other.crl(&[7]))).expect("written");
    let CrlReload { changed, problems } = shared.reload();
    assert!(changed && problems.len() == 1, "{problems:?}");
    assert_eq!(problems[0].file, files[0].path);
    assert_eq!(verdict(&trust, &one), None, "the list from before counts");
    assert_eq!(verdict(&trust, &two), Some(CertificateProblem::Revoked));
}

#[test]
fn a_list_that_is_missing_from_its_file_goes_on_to_count() {
    let store = Store::new();
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let file = store.put(&[root.crl(&[7]), other.crl(&[])].map(|list| pem(&list)).concat());
    let trust = require(&store, &[&root, &other], crls(vec![file.clone()]));
    let shared = trust.crls().expect("configured");
    let [one, two] = [&root, &other].map(|ca| identity(&ca.leaf(serial(7)), &[]));
    std::fs::write(&file.path, pem(&other.crl(&[7]))).expect("written");
    assert!(reloaded(shared));
    for shown in [&one, &two] {
        assert_eq!(verdict(&trust, shown), Some(CertificateProblem::Revoked));
    }
}

/// Whether new lists were taken, with nothing wrong.
fn reloaded(shared: &SharedCrls) -> bool {
    let CrlReload { changed, problems } = shared.reload();
    assert!(problems.is_empty(), "{problems:?}");
    changed
}

#[test]
fn the_epoch_is_of_what_lists_say() {
    let store = Store::new();
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let (first, second) = (one.crl(&[1]), two.crl(&[2]));
    let der = store.put("");
    std::fs::write(&der.path, first.der()).expect("written");
    let (one_pem, two_pem) = (store.put(&pem(&first)), store.put(&pem(&second)));
    let both = store.put(&format!("text in front\n{}{}", pem(&second), pem(&first)));
    let epoch = |files: &[&TrustFile]| {
        let policy = crls(files.iter().map(|file| (*file).clone()).collect());
        let trust = require(&store, &[&one, &two], policy);
        trust.crls().expect("configured").epoch().get()
    };
    let all = epoch(&[&one_pem, &two_pem]);
    assert_eq!(all, epoch(&[&two_pem, &one_pem]));
    assert_eq!(all, epoch(&[&der, &two_pem]));
    assert_eq!(all, epoch(&[&both]));
    assert_eq!(all, epoch(&[&both, &der]));
    assert_ne!(all, epoch(&[&one_pem]));
    let other = store.put(&pem(&one.crl(&[2])));
    assert_ne!(epoch(&[&other]), epoch(&[&one_pem]));
}

#[test]
fn lists_of_every_version_and_none_that_means_something_else() {
    let root = Ca::root("Root");
    let store = Store::new();
    let old = Handmade { version: None, extensions: Vec::new(), ..Handmade::default() };
    let file = store.put(&old.pem(&root));
    let trust = require(&store, &[&root], crls(vec![file]));
    assert_eq!(trust.crls().expect("configured").current().facts()[0].revoked, 1);
    let listed = root.leaf(serial(0x80));
    assert_eq!(verdict(&trust, &identity(&listed, &[])), Some(CertificateProblem::Revoked));

    let extension = |id: u8, critical: bool, value: &[u8]| {
        let mut content = tlv(0x06, &[0x55, 0x1d, id]);
        if critical {
            content.extend(tlv(0x01, &[0xff]));
        }
        content.extend(tlv(0x04, value));
        tlv(0x30, &content)
    };
    let with = |extension: Vec<u8>| Handmade { extensions: extension, ..Handmade::default() };
    let point = |content: &[u8]| with(extension(28, true, &tlv(0x30, content)));
    for (list, found) in [
        (with(extension(27, true, &tlv(2, &[1]))), "a delta CRL"),
        (with(extension(99, true, &[])), "unknown critical extension"),
        (point(&tlv(0x84, &[0xff])), "an indirect CRL"),
        (point(&tlv(0x83, &[0, 1])), "for some reasons"),
        (point(&tlv(0x85, &[0xff])), "attribute certificates"),
        (point(&tlv(0xa0, &tlv(0xa1, &[]))), "relative to its issuer"),
        (point(&tlv(0x87, &[])), "cannot be read"),
        (Handmade { version: Some(2), ..Handmade::default() }, "version that does not exist"),
        (Handmade { next_update: false, ..Handmade::default() }, "without nextUpdate"),
        (Handmade { entry: extension(29, true, &[]), ..Handmade::default() }, "an indirect CRL"),
        (Handmade { entry: extension(99, true, &[]), ..Handmade::default() }, "unknown critical"),
    ] {
        let problem = unusable(&root, &list.pem(&root));
        assert!(problem.found.contains(found), "{found}: {problem:?}");
    }
    // Not critical, or of no consequence.
    for list in [
        with(extension(99, false, &[])),
        point(&[]),
        point(&tlv(0x84, &[0])),
        Handmade { entry: extension(21, true, &tlv(0x0a, &[1])), ..Handmade::default() },
    ] {
        require(&store, &[&root], crls(vec![store.put(&list.pem(&root))]));
    }
}

#[test]
fn files_that_are_no_lists_are_named() {
    let root = Ca::root("Root");
    for (content, found) in [
        ("", "no CRL"),
        (&root.pem(), "no CRL"),
        ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "a CRL that cannot be read"),
        ("-----BEGIN X509 CRL-----\nAAAA\n", "damaged PEM"),
        ("0", "a CRL that cannot be read"),
    ] {
        let problem = unusable(&root, content);
        assert!(problem.found.contains(found), "{content}: {problem:?}");
    }
    let store = Store::new();
    let missing = TrustFile { path: path("/nonexistent/a.crl"), line: 4 };
    let settings = ClientTrustSettings {
        client_cert: ClientCert::Required,
        trusted_ca: vec![TrustFile { path: path("/nonexistent/ca.pem"), line: 3 }],
        crls: crls(vec![missing, store.put("")]),
    };
    let problems = super::load(&settings).expect_err("nothing is there");
    let keys: Vec<_> = problems.iter().map(|problem| (problem.key, problem.line)).collect();
    assert_eq!(keys, [("trusted_ca", 3), ("crl_files", 4), ("crl_files", 1)]);
    let nothing = ask(ClientCert::Optional, Vec::new());
    assert_eq!(super::load(&nothing).expect_err("no CA")[0].key, "trusted_ca");
}

/// Whatever is wrong with a file is said, and never taken for an empty list.
#[test]
fn a_damaged_list_is_refused_or_not_signed() {
    let root = Ca::root("Root");
    let list = root.crl(&[1, 2, 3]);
    let der: &[u8] = list.der();
    let settings = |store: &Store, bytes: &[u8]| {
        let file = store.put("");
        std::fs::write(&file.path, bytes).expect("written");
        ClientTrustSettings {
            crls: crls(vec![file]),
            ..ask(ClientCert::Required, store.cas(&[&root]))
        }
    };
    let store = Store::new();
    super::load(&settings(&store, der)).expect("good");
    for end in 0..der.len() {
        assert!(super::load(&settings(&store, &der[..end])).is_err(), "{end}");
    }
    for at in 0..der.len() {
        let mut damaged = der.to_vec();
        damaged[at] ^= 0x01;
        // A list in another name is for an intermediate that may still come: it covers nobody.
        if let Ok(trust) = super::load(&settings(&store, &damaged)) {
            let shown = identity(&root.leaf(serial(9)), &[]);
            let verdict = trust.judge(&shown.cert, now()).verdict;
            assert!(matches!(verdict, ClientVerdict::Failed(_)), "{at}");
        }
    }
}

/// A list as nobody makes them. One entry, number 0x80 without the zero that it should have.
struct Handmade {
    version: Option<u8>,
    next_update: bool,
    entry: Vec<u8>,
    extensions: Vec<u8>,
}

impl Default for Handmade {
    fn default() -> Self {
        // A CRL number, 5.
        let number = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 20]), tlv(4, &[2, 1, 5])].concat());
        Self { version: Some(1), next_update: true, entry: Vec::new(), extensions: number }
    }
}

impl Handmade {
    fn pem(&self, ca: &Ca) -> String {
        let encoded = data_encoding::BASE64.encode(&self.der(ca));
        format!("-----BEGIN X509 CRL-----\n{encoded}\n-----END X509 CRL-----\n")
    }

    fn der(&self, ca: &Ca) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(ca.certificate.der()).expect("a certificate");
        let algorithm = ecdsa_with_sha256();
        let time = |text: &str| tlv(0x17, text.as_bytes());
        let mut entry = [tlv(2, &[0x80]), time("291231000000Z")].concat();
        if !self.entry.is_empty() {
            entry.extend(tlv(0x30, &self.entry));
        }
        let mut list = Vec::new();
        list.extend(self.version.into_iter().flat_map(|version| tlv(2, &[version])));
        list.extend_from_slice(&algorithm);
        list.extend_from_slice(parsed.subject().as_raw());
        list.extend(time("291231000000Z"));
        if self.next_update {
            list.extend(time("300201000000Z"));
        }
        list.extend(tlv(0x30, &tlv(0x30, &entry)));
        if !self.extensions.is_empty() {
            list.extend(tlv(0xa0, &tlv(0x30, &self.extensions)));
        }
        signed(&list, ca)
    }
}
