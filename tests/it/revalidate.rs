//! What new lists of revoked certificates, removed CAs and stricter policies mean for connections
//! that are up: for the right ones, and no other.

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::support::backend::Backend;
use crate::support::ca::{Ca, Client, NAME, ca};
use crate::support::client::{
    TlsStream, Version, assert_echo, config, connect, local, showing, try_connect,
};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::descriptor_limit;
use crate::support::{Engine, SOON, engines, sized, wait_until};

/// How long a revocation may take.
const LIMIT: Duration = Duration::from_secs(1);

/// A client that is connected, with a certificate of its own.
struct Connected {
    who: Client,
    stream: TlsStream,
}

impl Connected {
    fn new(address: SocketAddr, who: Client, version: Version) -> Self {
        let mut stream = connect(address, &showing(version, &who));
        assert_echo(&mut stream, b"here");
        Self { who, stream }
    }

    fn is_up(&mut self) -> bool {
        let mut answer = [0; 5];
        let result = self.stream.write_all(b"still").and_then(|()| self.stream.flush());
        result.and_then(|()| self.stream.read_exact(&mut answer)).is_ok()
    }

    /// How it ends, and how long that takes.
    fn end(&mut self, since: Instant) -> (io::Result<usize>, Duration) {
        let ended = self.stream.read(&mut [0; 16]);
        (ended, since.elapsed())
    }
}

/// Replaces a file as tools do that fetch lists.
fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("a writable directory");
    fs::rename(new, file).expect("replaced");
}

fn mutual(engine: Engine, upstream: SocketAddr, revalidate: &str) -> Setup {
    let setup = Setup::new(engine, upstream).tls("client_cert = \"required\"");
    let setup = setup.tls("trusted_ca = \"ca.pem\"").tls(&format!("revalidate = \"{revalidate}\""));
    fs::write(setup.directory().join("ca.crl"), ca().crl(&[])).expect("a writable directory");
    setup.tls("crl_files = \"ca.crl\"")
}

fn stale(gateway: &Gateway, labels: &[(&str, &str)]) -> u64 {
    gateway.metrics().count("tlsgate_connections_stale_total", labels)
}

#[test]
#[ignore = "run by tests/run"]
fn revoking_one_of_many_closes_that_one() {
    let limit = descriptor_limit().unwrap_or(u64::MAX);
    let wanted = sized(9_000, 600);
    // Two descriptors each in the gateway, one each here and in the component.
    let count = wanted.min(limit.saturating_sub(512) / 2);
    println!("{count} clients: {wanted} wanted, {limit} descriptors allow that");
    let clients: Vec<Client> = (0..count).map(|_| ca().client("phone")).collect();
    for engine in engines() {
        let component = Component::start();
        let setup = mutual(engine, component.address(), "close").workers(2);
        let gateway = setup.tls("resumption = \"off\"").start();
        let heap = |gateway: &Gateway| gateway.metrics().count("tlsgate_heap_live_bytes", &[]);
        let before = heap(&gateway);
        let connect = |who: &Client| Connected::new(gateway.address(), who.clone(), Version::V13);
        let mut all: Vec<Connected> = clients.iter().map(connect).collect();
        println!("{engine:?}: {} bytes each", (heap(&gateway) - before) / count);
        let unlucky = all.len() / 3;
        let mut victim = all.swap_remove(unlucky);
        let list = gateway.directory().join("ca.crl");
        let begin = Instant::now();
        replace(&list, &ca().crl_of(&[&victim.who.der]));
        let (ended, after) = victim.end(begin);
        println!("{engine:?}: one of {count} was closed after {after:?}: {ended:?}");
        let error = ended.expect_err("it was revoked").to_string();
        assert!(error.contains("CertificateRevoked"), "{engine:?}: {error}");
        assert!(after < LIMIT, "{engine:?}: {after:?}");
        let line = gateway.line_of(local(&victim.stream));
        assert_eq!(line.text("reason"), "no_longer_admitted");
        assert_eq!(
            (line.text("stale"), line.text("alert_sent")),
            ("revoked", "certificate_revoked")
        );
        let lost = all.iter_mut().map(Connected::is_up).filter(|is_up| !is_up).count();
        assert_eq!(lost, 0, "{engine:?}: the others go on");
        assert_eq!(gateway.open_connections(), count - 1, "{engine:?}");
        assert_eq!(stale(&gateway, &[]), 1, "{engine:?}");
        assert_eq!(gateway.metrics().count("tlsgate_connections_stale", &[]), 0);
        drop(all);
        gateway.wait_until_idle();
    }
}

/// Also for those that came in on a session.
#[test]
#[ignore = "run by tests/run"]
fn removed_ca_closes_the_right_ones() {
    let backend = Backend::echo();
    let other = Ca::named("another authority");
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).tls("client_cert = \"optional\"");
        let setup = setup.tls("trusted_ca = [\"ca.pem\", \"other.pem\"]\nrevalidate = \"close\"");
        fs::write(setup.directory().join("other.pem"), other.pem()).expect("a writable directory");
        let gateway = setup.start();
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for version in Version::BOTH {
            ours.push(Connected::new(gateway.address(), ca().client("ours"), version));
            let (who, config) = resuming(&other, version);
            for _ in 0..2 {
                let mut stream = connect(gateway.address(), &config);
                assert_echo(&mut stream, b"here");
                theirs.push(Connected { who: who.clone(), stream });
            }
        }
        let resumed = [("kind", "resumed")];
        assert_eq!(gateway.metrics().count("tlsgate_handshakes_total", &resumed), 2, "{engine:?}");
        let begin = Instant::now();
        gateway.rewrite(|text| text.replace(", \"other.pem\"]", "]"));
        assert!(gateway.reload());
        for one in &mut theirs {
            let (ended, after) = one.end(begin);
            let error = ended.expect_err("its CA is gone").to_string();
            assert!(error.contains("UnknownCA"), "{engine:?}: {error}");
            assert!(after < 2 * LIMIT, "{engine:?}: {after:?}, the reload included");
        }
        assert!(ours.iter_mut().all(Connected::is_up), "{engine:?}: theirs is trusted");
        let counted = stale(&gateway, &[("side", "downstream"), ("revalidate", "close")]);
        assert_eq!(counted, 4, "{engine:?}");
    }
}

fn resuming(of: &Ca, version: Version) -> (Client, Arc<ClientConfig>) {
    let who = of.client("theirs");
    let mut config = (*showing(version, &who)).clone();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    (who, Arc::new(config))
}

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn revalidate_keeps_drains_closes() {
    let backend = Backend::echo();
    for engine in engines() {
        for (revalidate, version) in [
            ("keep", Version::V13),
            ("drain", Version::V13),
            ("close", Version::V12),
            ("drain", Version::V12),
        ] {
            let gateway = mutual(engine, backend.address(), revalidate).start();
            let [mut good, mut bad] = ["good", "bad"]
                .map(|name| Connected::new(gateway.address(), ca().client(name), version));
            let begin = Instant::now();
            replace(&gateway.directory().join("ca.crl"), &ca().crl_of(&[&bad.who.der]));
            let what = format!("{engine:?} {revalidate} {version:?}");
            if revalidate == "keep" {
                wait_until("it is found", SOON, || stale(&gateway, &[("cause", "revoked")]) == 1);
                assert!(bad.is_up(), "{what}");
                let open = gateway.metrics().count("tlsgate_connections_stale", &[]);
                assert_eq!(open, 1, "{what}");
                // What has become good again is stale no longer.
                replace(&gateway.directory().join("ca.crl"), &ca().crl_of(&[]));
                wait_until("it is good again", SOON, || {
                    gateway.metrics().count("tlsgate_connections_stale", &[]) == 0
                });
            } else {
                let (ended, after) = bad.end(begin);
                assert!(after < LIMIT, "{what}: {after:?}");
                match (revalidate, ended) {
                    // close_notify: rustls tells truncation as an error.
                    ("drain", ended) => assert_eq!(ended.expect("in order"), 0, "{what}"),
                    (_, ended) => {
                        let error = ended.expect_err("at once").to_string();
                        assert!(error.contains("CertificateRevoked"), "{what}: {error}");
                    }
                }
                let line = gateway.line_of(local(&bad.stream));
                assert_eq!(line.text("reason"), "no_longer_admitted", "{what}");
            }
            assert!(good.is_up(), "{what}");
            let again = try_connect(gateway.address(), &showing(version, &bad.who), NAME);
            let is_admitted = again.is_ok_and(|mut stream| {
                stream.conn.is_handshaking() || {
                    stream.write_all(b"x").is_ok()
                        && stream.read(&mut [0]).is_ok_and(|read| read == 1)
                }
            });
            assert_eq!(is_admitted, revalidate == "keep", "{what}: the list in use counts");
        }
    }
}

/// One after the other, so that those who come back do not come all at once.
#[test]
#[ignore = "run by tests/run"]
fn drained_connections_end_one_after_the_other() {
    const COUNT: u32 = 40;
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = mutual(engine, backend.address(), "drain").start();
        let connect = |_| Connected::new(gateway.address(), ca().client("phone"), Version::V13);
        let mut all: Vec<Connected> = (0..COUNT).map(connect).collect();
        let revoked: Vec<&[u8]> = all.iter().map(|one| one.who.der.as_slice()).collect();
        let list = ca().crl_of(&revoked);
        let begin = Instant::now();
        replace(&gateway.directory().join("ca.crl"), &list);
        let first = all[0].end(begin).1;
        for one in &mut all[1..] {
            assert_eq!(one.end(begin).0.expect("close_notify"), 0, "{engine:?}");
        }
        let last = begin.elapsed();
        println!("{engine:?}: the first of {COUNT} after {first:?}, the last after {last:?}");
        // Those between the first and the last, 10 ms each.
        assert!(last - first >= Duration::from_millis(10) * (COUNT - 5), "{engine:?}");
        assert!(first < LIMIT, "{engine:?}: {first:?}");
    }
}

/// What else may become stricter.
#[test]
#[ignore = "run by tests/run"]
fn tightened_policy_closes_the_right_ones() {
    const DENY: &str = "[[listener.rule]]\nname = \"strangers\"\nclient = \"cn:stranger\"\naction = \"deny\"\n[listener.timeouts]";
    let backend = Backend::echo();
    for engine in engines() {
        for (change, cause) in [
            (("\"optional\"", "\"required\""), "missing"),
            (("revalidate", "min_version = \"1.3\"\nrevalidate"), "version"),
            (("[listener.timeouts]", DENY), "policy_denied"),
        ] {
            let setup = Setup::new(engine, backend.address()).tls("client_cert = \"optional\"");
            let gateway = setup.tls("trusted_ca = \"ca.pem\"\nrevalidate = \"close\"").start();
            let known =
                |name: &str, version| Connected::new(gateway.address(), ca().client(name), version);
            let mut good = known("friend", Version::V13);
            let mut bad = match cause {
                "missing" => {
                    let mut stream = connect(gateway.address(), &config(Version::V13));
                    assert_echo(&mut stream, b"here");
                    Connected { who: ca().client("nobody"), stream }
                }
                "version" => known("old", Version::V12),
                _ => known("stranger", Version::V13),
            };
            gateway.rewrite(|text| text.replacen(change.0, change.1, 1));
            assert!(gateway.reload(), "{}", gateway.stderr());
            let (ended, after) = bad.end(Instant::now());
            assert!(ended.is_err() && after < LIMIT, "{engine:?} {cause}: {ended:?} {after:?}");
            assert_eq!(gateway.line_of(local(&bad.stream)).text("stale"), cause, "{engine:?}");
            assert!(good.is_up(), "{engine:?} {cause}");
        }
    }
}

/// The component's certificate is revoked, or expires, while peers are connected to it.
#[test]
#[ignore = "run by tests/run"]
fn revoked_component_ends_its_connections() {
    let backend = Backend::echo();
    for engine in engines() {
        for revalidate in ["keep", "drain", "close"] {
            let component = Setup::new(engine, backend.address()).start();
            let setup = Setup::new(engine, component.address());
            fs::write(setup.directory().join("ca.crl"), ca().crl(&[])).expect("writable");
            let setup = setup.upstream_tls("trusted_ca = \"ca.pem\"\nserver_name = \"localhost\"");
            let setup = setup.upstream_tls(&format!("revalidate = \"{revalidate}\""));
            let gateway =
                setup.listener("mode = \"bridge\"").upstream_tls("crl_files = \"ca.crl\"").start();
            let mut one = Connected::new(gateway.address(), ca().client("x"), Version::V13);
            let begin = Instant::now();
            let revoked = component.certificates()[0].to_vec();
            replace(&gateway.directory().join("ca.crl"), &ca().crl_of(&[&revoked]));
            let what = format!("{engine:?} {revalidate}");
            if revalidate == "keep" {
                let labels = [("side", "upstream"), ("cause", "revoked")];
                wait_until("it is found", SOON, || stale(&gateway, &labels) == 1);
                assert!(one.is_up(), "{what}");
                continue;
            }
            let (ended, after) = one.end(begin);
            assert!(after < LIMIT, "{what}: {after:?}");
            assert_eq!(ended.is_ok(), revalidate == "drain", "{what}: {ended:?}");
            let line = gateway.line_of(local(&one.stream));
            assert_eq!(line.text("reason"), "upstream_no_longer_trusted", "{what}");
            if revalidate == "close" {
                assert_eq!(line.text("upstream_alert_sent"), "certificate_revoked", "{what}");
                wait_until("the component was told", SOON, || {
                    let seen = component.lines();
                    seen.iter().any(|line| line.value("alert_received") == "certificate_revoked")
                });
            }
            // And nobody reaches it any more, neither in full nor by the session that there is.
            let who = config(Version::V13);
            assert!(try_connect(gateway.address(), &who, NAME).is_err(), "{what}");
            let refused = [("reason", "upstream_certificate_invalid")];
            wait_until("it is refused", SOON, || {
                gateway.metrics().count("tlsgate_upstream_failures_total", &refused) > 0
            });
        }
    }
}

/// A list that cannot be used, or is older, changes nothing and is told.
#[test]
#[ignore = "run by tests/run"]
fn bad_crl_files_change_nothing() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = mutual(engine, backend.address(), "close").start();
        let mut one = Connected::new(gateway.address(), ca().client("one"), Version::V13);
        let list = gateway.directory().join("ca.crl");
        let count =
            |result| gateway.metrics().count("tlsgate_crl_swaps_total", &[("result", result)]);
        let other = Ca::named("tlsgate checks").crl_of(&[&one.who.der]);
        for (number, content) in ["-----BEGIN X509 CRL-----\nAAAA", "", &other].iter().enumerate() {
            replace(&list, content);
            wait_until("it is refused", SOON, || count("refused") == number as u64 + 1);
        }
        assert!(one.is_up(), "{engine:?}");
        replace(&list, &ca().crl_of(&[&one.who.der]));
        let (ended, after) = one.end(Instant::now());
        assert!(ended.is_err() && after < LIMIT, "{engine:?}: {ended:?} {after:?}");
        assert_eq!(count("taken"), 1, "{engine:?}");
    }
}

/// A certificate that ends while its client is connected.
#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn expired_certificate_closes_its_connection() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = mutual(engine, backend.address(), "close").start();
        let good_for = Duration::from_secs(4);
        let begin = Instant::now();
        let mut short = Connected::new(gateway.address(), ca().client_for(good_for), Version::V13);
        let mut long = Connected::new(gateway.address(), ca().client("long"), Version::V13);
        let (ended, after) = short.end(begin);
        println!("{engine:?}: {after:?} for {good_for:?}");
        assert!(ended.is_err(), "{ended:?}");
        assert!(after > good_for - LIMIT && after < good_for + 3 * LIMIT, "{engine:?}: {after:?}");
        assert_eq!(gateway.line_of(local(&short.stream)).text("stale"), "expired", "{engine:?}");
        assert!(long.is_up(), "{engine:?}");
    }
}
