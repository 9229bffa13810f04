//! What must agree: what is said of a connected peer with what a new handshake of it would meet,
//! and our verdict with that of rustls' own verifier.

use std::cell::Cell;

use proptest::prelude::*;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};

use super::*;

/// Everything that may happen is among this.
struct World {
    store: Store,
    cas: [TrustFile; 2],
    roots: [Ca; 2],
    lists: Vec<(TrustFile, CertificateRevocationListDer<'static>)>,
    peers: Vec<Arc<CertifiedKey>>,
}

#[derive(Clone, Debug)]
struct Case {
    peer: usize,
    /// Which CAs are trusted, which lists are there: one bit each.
    before: (u8, u8),
    after: (u8, u8),
    rules: CrlRules,
    days: i64,
    version: usize,
}

const LISTS: u32 = 7;

impl World {
    fn new() -> Self {
        let store = Store::new();
        let (one, two) = (Ca::root("One"), Ca::root("Two"));
        let until = |params: &mut CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2029, 12, 1);
            params.not_after = rcgen::date_time_ymd(2030, 2, 1);
        };
        let issuing = one.intermediate("Issuing");
        // The same intermediate, key and all, signed by the other root.
        let crossed = {
            let params = ca_params("Issuing");
            let certificate = params.signed_by(issuing.issuer.key(), &two.issuer).expect("signed");
            certificate.der().clone()
        };
        let leaf = |ca: &Ca, number| ca.leaf(|params| (serial(number)(params), until(params)).1);
        let mut peers = vec![
            identity(&leaf(&one, 1), &[]),
            identity(&leaf(&two, 2), &[]),
            identity(&leaf(&issuing, 3), &[&issuing]),
            identity(&leaf(&issuing, 3), &[]),
        ];
        let mut both = (*identity(&leaf(&issuing, 4), &[&issuing])).clone();
        both.cert.push(crossed);
        peers.push(Arc::new(both));
        let crls = [
            one.crl(&[]),
            one.crl(&[1]),
            one.crl_until(NOW + DAY, [issuing.serial.clone()]),
            one.crl_until(NOW - DAY, [9.into()]),
            two.crl(&[]),
            issuing.crl(&[3]),
            issuing.crl(&[]),
        ];
        assert_eq!(crls.len(), LISTS as usize);
        let lists = crls.map(|crl| (store.put(&crl.pem().expect("PEM")), crl.der().clone()));
        let cas = [store.put(&one.pem()), store.put(&two.pem())];
        Self { store, cas, roots: [one, two], lists: lists.into(), peers }
    }

    fn trust(&self, (cas, lists): (u8, u8), rules: CrlRules) -> ClientTrust {
        let chosen = |bits: u8, at: usize| bits >> at & 1 == 1;
        let trusted_ca =
            (0..2).filter(|at| chosen(cas, *at)).map(|at| self.cas[at].clone()).collect();
        let files = (0..self.lists.len())
            .filter(|at| chosen(lists, *at))
            .map(|at| self.lists[at].0.clone())
            .collect();
        let crls = CrlPolicy { files, rules };
        super::load(&ClientTrustSettings { client_cert: ClientCert::Required, trusted_ca, crls })
            .expect("good files")
    }

    /// rustls' own, with the same CAs, rules, and lists.
    fn theirs(&self, (cas, lists): (u8, u8), rules: CrlRules) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        for (at, root) in self.roots.iter().enumerate() {
            if cas >> at & 1 == 1 {
                roots.add(root.certificate.der().clone()).expect("a CA");
            }
        }
        let chosen = self.lists.iter().enumerate().filter(|(at, _)| lists >> at & 1 == 1);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(chosen.map(|(_, (_, der))| der.clone()));
        if rules.unknown == CrlUnknown::Allow {
            builder = builder.allow_unknown_revocation_status();
        }
        if rules.expired == CrlExpired::Reject {
            builder = builder.enforce_revocation_expiration();
        }
        if rules.depth == CrlDepth::Leaf {
            builder = builder.only_check_end_entity_revocation();
        }
        builder.build().expect("CAs and lists that it can read")
    }
}

fn rules() -> impl Strategy<Value = CrlRules> {
    let unknown = prop_oneof![Just(CrlUnknown::Deny), Just(CrlUnknown::Allow)];
    let expired = prop_oneof![Just(CrlExpired::Reject), Just(CrlExpired::Accept)];
    let depth = prop_oneof![Just(CrlDepth::Chain), Just(CrlDepth::Leaf)];
    (unknown, expired, depth).prop_map(|(unknown, expired, depth)| CrlRules {
        unknown,
        expired,
        depth,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let trust = || (1..4_u8, 0..1_u8 << LISTS);
    let days = prop_oneof![4 => Just(0), 1 => Just(-60), 1 => Just(60), 1 => Just(2)];
    (0..5_usize, trust(), trust(), rules(), days, 0..2_usize).prop_map(
        |(peer, before, after, rules, days, version)| Case {
            peer,
            before,
            after,
            rules,
            days,
            version,
        },
    )
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    proptest::test_runner::TestRunner::new(config)
}

#[test]
fn a_connected_peer_is_judged_as_a_new_handshake_would_be() {
    let world = World::new();
    let [stays, goes] = [0, 0].map(Cell::new);
    let agrees = |case: Case| {
        let shown = &world.peers[case.peer];
        // Let in, if it was, at a time when all was well.
        let known = world.trust(case.before, case.rules).judge(&shown.cert, now());
        let trust = world.trust(case.after, case.rules);
        let time = at(NOW + case.days * DAY);
        let fresh = connect_with(&trust, Some(shown), VERSIONS[case.version], time)
            .map_err(|error| Rejection::take(&error).expect("about the certificate").problem);
        let peer = known.peer.expect("can be read");
        let again = recheck(&trust, Some(&peer), time).map_err(|why| why.problem);
        prop_assert_eq!(fresh.map(|_| ()), again);
        Ok(())
    };
    runner(400)
        .run(&case(), |case| {
            let trust = world.trust(case.after, case.rules);
            let time = at(NOW + case.days * DAY);
            let good = trust.judge(&world.peers[case.peer].cert, time);
            match good.verdict {
                ClientVerdict::Verified => stays.set(stays.get() + 1),
                _ => goes.set(goes.get() + 1),
            }
            agrees(case)
        })
        .expect("they agree");
    let (stays, goes) = (stays.get(), goes.get());
    assert!(stays > 40 && goes > 40, "{stays} stay, {goes} go");
    drop(world.store);
}

#[test]
fn rustls_own_verifier_says_the_same() {
    let world = World::new();
    let [good, bad] = [0, 0].map(Cell::new);
    runner(1500)
        .run(&case(), |case| {
            // It takes the first list of an issuer, and no other.
            let (cas, lists) = case.after;
            let first_of_each = [0b0000_1111, 0b0001_0000, 0b0110_0000_u8]
                .map(|issuer| lists & issuer & (lists & issuer).wrapping_neg());
            let lists = first_of_each.iter().sum();
            let shown = &world.peers[case.peer];
            let (leaf, others) = shown.cert.split_first().expect("a chain");
            let time = at(NOW + case.days * DAY);
            let theirs =
                world.theirs((cas, lists), case.rules).verify_client_cert(leaf, others, time);
            let ours = world.trust((cas, lists), case.rules).judge(&shown.cert, time);
            let ours = match ours.verdict {
                ClientVerdict::Failed(why) => Some(why.error),
                _ => None,
            };
            // The error decides the alert. Whom an expired list names is revoked, to us.
            let revoked = Some(Error::from(CertificateError::Revoked));
            let old = CertificateProblem::CrlExpired;
            let is_old = |error| Rejection::of(error).is_some_and(|why| why.problem == old);
            if !(ours == revoked && theirs.as_ref().is_err_and(is_old)) {
                prop_assert_eq!(theirs.as_ref().err(), ours.as_ref());
            }
            let theirs = theirs.is_ok();
            let counted = if theirs { &good } else { &bad };
            counted.set(counted.get() + 1);
            Ok(())
        })
        .expect("they agree");
    let (good, bad) = (good.get(), bad.get());
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
