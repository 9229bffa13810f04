//! What changes while connections are up: C8. Certificates, lists of revoked ones, and lists that
//! have expired.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tlsgate::catalogue::Mode;

use super::super::case::Case;
use super::super::component::Component;
use super::super::estate::{Bench, Served, component_of};
use super::super::pki::{Leaf, pki};
use super::super::report::Part;
use super::super::stream::{Stream, trusting};
use super::traffic::exchange;
use super::{Tried, set, usual_client, variant};
use crate::support::Engine;

/// Past and future years in which lists expire.
const EXPIRED: i32 = 2021;
const GOOD: i32 = 2099;

pub(crate) fn rotation(engine: Engine, report: &mut Part) {
    let identity = pki().leaf("battery client");
    let other = pki().leaf("another client");
    let cases = Case::representatives();
    let components: Vec<Component> = cases.iter().map(component_of).collect();
    let mut bench = Bench::new(engine);
    let list = bench.certificates().join("ca.crl");
    fs::write(&list, pki().crl(&[], GOOD)).expect("a writable directory");
    let mut routes = Vec::new();
    for (case, component) in cases.iter().zip(&components) {
        // Of a pair, the gateway beside the component takes the other's place.
        let demand = if case.combination.mode == Mode::Pair { "required" } else { "optional" };
        let route = bench.add(case, &variant(case, "rotates"), component.address(), |one| {
            set(one, "tls", "certificate", "certificates/rotates.pem");
            set(one, "tls", "certificate_key", "certificates/rotates.key");
            set(one, "tls", "client_cert", demand);
            set(one, "tls", "trusted_ca", "certificates/ca.pem");
            set(one, "tls", "crl_files", "certificates/ca.crl");
        });
        let place = route.exit.clone().unwrap_or((route.listener, route.entrance));
        routes.push((case, place));
    }
    let certificates = bench.certificates();
    let served = bench.start();
    let mut open: Vec<(Stream, Vec<u8>)> = routes
        .iter()
        .map(|(case, (_, address))| {
            let mut stream = connect(case, *address, &identity);
            exchange(&mut stream, b"before").expect("an echo");
            let shown = shown(&stream);
            (stream, shown)
        })
        .collect();
    renew(&served, &certificates);
    swap(&served, &list, &[&identity]);
    for ((case, (listener, address)), (stream, before)) in routes.iter().zip(&mut open) {
        exchange(stream, b"after").unwrap_or_else(|error| panic!("{case}: dropped: {error}"));
        let fresh = connect(case, *address, &other);
        assert_ne!(shown(&fresh), *before, "{case}: the old certificate");
        let tried = Tried::at(*address, Some(&trusting(Some(&identity))));
        let (peer, _) = tried.fails(&format!("{case}: revoked meanwhile"));
        let line = served.line(listener, peer);
        assert!(line.text("detail").starts_with("revoked"), "{line:?}");
        report.ran_on_combination(&case.combination, &["C8"]);
    }
    swap(&served, &list, &[]);
    for (case, (_, address)) in &routes {
        let tried = Tried::at(*address, Some(&trusting(Some(&identity))));
        tried.succeeds(&format!("{case}: not revoked any more"));
    }
}

fn connect(case: &Case, address: SocketAddr, shown: &Leaf) -> Stream {
    let stream = Stream::connect(address, Some(&trusting(Some(shown))));
    stream.unwrap_or_else(|error| panic!("{case}: {error}"))
}

/// The certificate that the gateway has shown.
fn shown(stream: &Stream) -> Vec<u8> {
    let Stream::Client(tls) = stream else { panic!("no TLS") };
    tls.conn.peer_certificates().expect("a server's certificate")[0].to_vec()
}

/// Another certificate for the same names.
fn renew(served: &Served, certificates: &Path) {
    pki().leaf("rotates").write(certificates, "rotates");
    assert!(served.gateway.reload(), "another certificate");
}

fn swap(served: &Served, list: &Path, revoked: &[&Leaf]) {
    fs::write(list, pki().crl(revoked, GOOD)).expect("a writable directory");
    assert!(served.gateway.reload(), "another list");
}

/// A list that has expired: refused or not, as the policy says, on either side.
pub(crate) fn expired_lists(engine: Engine, report: &mut Part) {
    let identity = pki().leaf("battery client");
    let cases = Case::representatives();
    let components: Vec<Component> = cases.iter().map(component_of).collect();
    let mut bench = Bench::new(engine);
    let list = bench.certificates().join("old.crl");
    fs::write(list, pki().crl(&[], EXPIRED)).expect("a writable directory");
    let mut routes = Vec::new();
    for (case, component) in cases.iter().zip(&components) {
        for side in ["tls", "upstream_tls"] {
            let has = match side {
                "tls" => case.combination.has_downstream_tls(),
                _ => case.combination.has_upstream_tls(),
            };
            if !has {
                continue;
            }
            let both = ["accept", "reject"].map(|word| {
                let name = variant(case, &format!("{side}.{word}"));
                bench.add(case, &name, component.address(), |one| {
                    if side == "tls" {
                        set(one, "tls", "client_cert", "optional");
                        set(one, "tls", "trusted_ca", "certificates/ca.pem");
                    }
                    set(one, side, "crl_files", "certificates/old.crl");
                    set(one, side, "crl_expired", word);
                })
            });
            routes.push((case, side, both));
        }
    }
    let served = bench.start();
    for (case, side, [accepts, rejects]) in &routes {
        let tls = match *side {
            "tls" => Some(trusting(Some(&identity))),
            _ => usual_client(&case.combination, &identity),
        };
        let place = format!("{case}: {side}");
        Tried::at(accepts.entrance, tls.as_ref()).succeeds(&place);
        let (peer, _) = Tried::at(rejects.entrance, tls.as_ref()).fails(&place);
        let line = served.line(&rejects.listener, peer);
        assert!(line.text("detail").starts_with("crl_expired"), "{line:?}");
        report.ran_on_combination(&case.combination, &["C8 expired list"]);
    }
}
