//! What a large CRL costs.
//!
//! `cargo test --release --lib trust::tests::figures -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use rcgen::SerialNumber;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::*;

/// Entries of a list of about a megabyte, with serial numbers of 16 bytes.
const ENTRIES: usize = 25_000;
const CLIENTS: usize = 9_000;

fn heap() -> u64 {
    crate::sys::heap::live_bytes().expect("glibc tells")
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[test]
#[ignore = "prints figures; run it in a release build"]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn large_lists() {
    let store = Store::new();
    let root = Ca::root("Root");
    let serials = (0..ENTRIES).map(|_| {
        let mut serial = new_serial().to_vec();
        serial.extend(new_serial());
        SerialNumber::from(serial)
    });
    let list = root.crl_until(NOW + DAY, serials);
    let file = store.put(&list.pem().expect("PEM"));
    println!("CRL: {} entries, {} bytes of DER", ENTRIES, list.der().len());

    let before = heap();
    let start = Instant::now();
    let trust = require(&store, &[&root], crls(vec![file.clone()]));
    println!("load, signature checked: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("memory: {} KiB", (heap() - before) / 1024);
    let without = require(&store, &[&root], CrlPolicy::default());

    let clients: Vec<_> = (0..CLIENTS).map(|_| identity(&root.leaf(|_| {}), &[])).collect();
    let each = |trust: &ClientTrust, count: usize| {
        let one = |client: &Arc<CertifiedKey>| {
            let start = Instant::now();
            let verdict = trust.judge(black_box(&client.cert), now()).verdict;
            let time = start.elapsed().as_secs_f64() * 1e6;
            assert!(matches!(verdict, ClientVerdict::Verified));
            time
        };
        median(clients[..count].iter().map(one).collect())
    };
    println!("chain without CRL, first time: {:.1} µs", each(&without, 1000));
    println!("chain with CRL, first time: {:.1} µs", each(&trust, 1000));
    println!("chain with CRL, known: {:.1} µs", each(&trust, 1000));

    let mut roots = RootCertStore::empty();
    roots.add(root.certificate.der().clone()).expect("a CA");
    let before = heap();
    let theirs = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls([list.der().clone()])
        .build()
        .expect("good files");
    println!("rustls' own, memory: {} KiB", (heap() - before) / 1024);
    let one = |client: &Arc<CertifiedKey>| {
        let start = Instant::now();
        theirs.verify_client_cert(black_box(&client.cert[0]), &[], now()).expect("good");
        start.elapsed().as_secs_f64() * 1e6
    };
    println!(
        "rustls' own, chain with CRL: {:.1} µs",
        median(clients[..200].iter().map(one).collect())
    );

    let peers: Vec<_> =
        clients.iter().map(|client| trust.judge(&client.cert, now()).peer.expect("good")).collect();
    let start = Instant::now();
    let good = peers.iter().filter(|peer| recheck(&trust, Some(peer), now()).is_ok()).count();
    let time = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(good, CLIENTS);
    println!("{CLIENTS} connections looked at again: {time:.1} ms");
    let before = heap();
    let paths: Vec<_> = clients[..1000].iter().map(|client| path(&trust, client)).collect();
    println!("a path: {} bytes", (heap() - before) / paths.len() as u64);
    let before = heap();
    let copies: Vec<_> = clients[..1000].iter().map(|c| Peer::new(&c.cert, None)).collect();
    println!("a peer without its path: {} bytes", (heap() - before) / copies.len() as u64);
}

/// What a connection keeps of how its client was found to be trusted.
fn path(trust: &ClientTrust, client: &Arc<CertifiedKey>) -> Option<Arc<TrustPath>> {
    let mut path = None;
    trust.recheck(&client.cert, &mut path, now()).expect("good");
    path
}
