//! The PROXY protocol towards components: read by HAProxy, Envoy, nginx, and a decoder that was
//! written from the specification alone.

use std::io::Read;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, local, try_connect,
};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::log::Line;
use crate::support::peers::{Peer, Program};
use crate::support::proxy::{Decoder, bytes, known_client, text};
use crate::support::{Engine, SOON, engines, has_tool, wait_for, wait_until};

/// Everything that version 2 can have, for a client with a certificate.
const EVERYTHING: &str =
    "proxy_out = \"v2\"\nproxy_out_client_cert = true\nproxy_out_checksum = true";

/// A gateway that asks for certificates and tells its component everything.
fn tells(engine: Engine, component: SocketAddr) -> Setup {
    let setup = Setup::new(engine, component).listener(EVERYTHING);
    setup.tls("client_cert = \"optional\"\ntrusted_ca = \"ca.pem\"\nalpn = [\"sip/2\"]")
}

fn phone(directory: &TempDir) -> Files {
    ca().issue(directory.path(), "phone-7", KeyKind::Ecdsa, &["phone-7.test"])
}

/// An echo over TLS with a certificate; the client's address and the line of the log.
fn shown(gateway: &Gateway, phone: &Files) -> (SocketAddr, Line) {
    let stream = try_connect(gateway.address(), &known_client(phone, "sip/2"), NAME);
    talk(gateway, stream.expect("a handshake"))
}

fn talk(gateway: &Gateway, mut stream: TlsStream) -> (SocketAddr, Line) {
    assert_echo(&mut stream, b"behind the header");
    let from = local(&stream);
    close(stream);
    let line = gateway.line_of(from);
    line.assert_ended("finished", "downstream", "relay");
    (from, line)
}

fn pair(address: SocketAddr) -> Value {
    json!([address.ip().to_string(), address.port()])
}

#[test]
#[ignore = "run by tests/run"]
fn proxy_out_by_an_independent_decoder() {
    if !has_tool("python3") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let phone = phone(&directory);
    let server = ca().issue(directory.path(), "component", KeyKind::Ecdsa, &[NAME, "127.0.0.1"]);
    let plain = Decoder::start(None);
    let secure = Decoder::start(Some(&server));
    for engine in engines() {
        for decoder in [&plain, &secure] {
            let mut setup = tells(engine, decoder.address());
            if std::ptr::eq(decoder, &secure) {
                let bridge = setup.listener("mode = \"bridge\"");
                setup = bridge.upstream_tls("trusted_ca = \"ca.pem\"");
            }
            let gateway = setup.start();
            let (from, line) = shown(&gateway, &phone);
            let header = decoder.header_of(from);
            assert_eq!((&header["version"], &header["command"]), (&json!(2), &json!("PROXY")));
            assert_eq!(header["destination"], pair(gateway.address()));
            assert_eq!(text(&header["alpn"]), "sip/2");
            assert_eq!(text(&header["authority"]), NAME);
            assert_eq!(text(&header["unique_id"]), line.text("unique_id"));
            assert_eq!(bytes(&header["crc32c"]).len(), 4, "and it was right");
            let tls = &header["ssl"];
            assert_eq!((&tls["client"], &tls["verify"]), (&json!(7), &json!(0)));
            assert_eq!(text(&tls["version"]), line.text("tls_version"));
            assert_eq!(text(&tls["cipher"]), line.text("cipher_suite"));
            assert_eq!(text(&tls["cn"]), "phone-7");
            assert_eq!(bytes(&tls["client_cert"]), phone.der);
            // Nobody in particular, in TLS 1.2.
            let stream = connect(gateway.address(), &config(Version::V12));
            let (from, _) = talk(&gateway, stream);
            let header = decoder.header_of(from);
            let tls = &header["ssl"];
            assert_eq!((&tls["client"], &tls["verify"]), (&json!(1), &json!(1)));
            assert_eq!(text(&tls["cipher"]), "ECDHE-ECDSA-AES256-GCM-SHA384");
            assert!(tls["cn"].is_null() && header["alpn"].is_null(), "{header}");
        }
    }
    assert!(plain.headers().iter().chain(&secure.headers()).all(|one| one["error"].is_null()));
}

/// HAProxy with `accept-proxy` on the first port: what it read, it logs and answers nothing else.
fn haproxy(component: SocketAddr) -> Peer {
    let port = free_port();
    let config = format!(
        "listen main
    bind 127.0.0.1:{port} accept-proxy
    log-format told,%ci,%cp,%[dst_port],%[fc_pp_authority],%[fc_pp_unique_id]
    server to {component}
"
    );
    Program::Haproxy.start(&config, &[port])
}

#[test]
#[ignore = "run by tests/run"]
fn proxy_out_is_read_by_haproxy() {
    if !Program::Haproxy.is_installed() {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let phone = phone(&directory);
    for engine in engines() {
        for version in ["v1", "v2"] {
            let haproxy = haproxy(backend.address());
            let setup = match version {
                "v1" => {
                    let setup = Setup::new(engine, haproxy.address());
                    let setup = setup.listener("proxy_out = \"v1\"");
                    setup.tls("client_cert = \"optional\"\ntrusted_ca = \"ca.pem\"")
                }
                _ => tells(engine, haproxy.address()),
            };
            let gateway = setup.timeouts("[listener.checks]\ninterval = \"100ms\"").start();
            let (from, line) = shown_if(version == "v2", &gateway, &phone);
            let said = wait_for("what HAProxy has read", SOON, || {
                let line = haproxy.line_with(&format!("told,127.0.0.1,{}", from.port()))?;
                Some(line[line.find("told")?..].to_owned())
            });
            let told: Vec<&str> = said.split(',').collect();
            assert_eq!(told[3], gateway.port().to_string(), "{said}");
            match version {
                "v1" => assert_eq!(told[4..], ["-", "-"], "{said}"),
                _ => assert_eq!(told[4..], [NAME, line.text("unique_id")], "{said}"),
            }
            // Checks say that they are none of a client's, and HAProxy finds nothing wrong.
            wait_until("checks pass", SOON, || {
                let passed = [("result", "passed")];
                gateway.metrics().count("tlsgate_upstream_checks_total", &passed) >= 3
            });
            let failed = [("result", "failed")];
            assert_eq!(gateway.metrics().count("tlsgate_upstream_checks_total", &failed), 0);
            assert!(!haproxy.said().contains("PROXY"), "{}", haproxy.said());
        }
    }
}

/// With a certificate, or without one.
fn shown_if(shows: bool, gateway: &Gateway, phone: &Files) -> (SocketAddr, Line) {
    if shows {
        return shown(gateway, phone);
    }
    talk(gateway, connect(gateway.address(), &config(Version::V13)))
}

/// Envoy's listener filter keeps these values, and its access log prints them.
fn envoy(component: SocketAddr) -> Peer {
    let port = free_port();
    let kinds = [(1, "alpn"), (2, "authority"), (5, "unique_id"), (32, "ssl"), (3, "checksum")];
    let rules: Vec<Value> = kinds
        .iter()
        .map(|(kind, key)| json!({ "tlv_type": kind, "on_tlv_present": { "key": key } }))
        .collect();
    let extensions = "type.googleapis.com/envoy.extensions";
    let space = "envoy.filters.listener.proxy_protocol";
    let key = |key: &str| format!("%DYNAMIC_METADATA({space}:{key})%");
    // Bytes of the last two may be any, a line's end or a bar among them.
    let told = ["alpn", "authority", "unique_id", "ssl"].map(key).join(" | ");
    let from = "%DOWNSTREAM_REMOTE_ADDRESS%";
    let format = format!("told|{from}| | {told}\nchecksum|{from}| | {}\n", key("checksum"));
    let config = json!({
        "listeners": [{
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
            "listener_filters": [{ "name": space, "typed_config": {
                "@type": format!("{extensions}.filters.listener.proxy_protocol.v3.ProxyProtocol"),
                "rules": rules,
            } }],
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": format!("{extensions}.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "told",
                    "cluster": "to",
                    "access_log": [{ "name": "envoy.access_loggers.stdout", "typed_config": {
                        "@type": format!("{extensions}.access_loggers.stream.v3.StdoutAccessLog"),
                        "log_format": { "text_format_source": { "inline_string": format } },
                    } }],
                },
            }] }],
        }],
        "clusters": [{ "name": "to", "load_assignment": { "cluster_name": "to", "endpoints": [{
            "lb_endpoints": [{ "endpoint": { "address": { "socket_address": {
                "address": "127.0.0.1", "port_value": component.port(),
            } } } }],
        }] } }],
    });
    Program::Envoy.start(&config.to_string(), &[port])
}

#[test]
#[ignore = "run by tests/run"]
fn proxy_out_is_read_by_envoy() {
    if !Program::Envoy.is_installed() {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let phone = phone(&directory);
    let envoy = envoy(backend.address());
    for engine in engines() {
        let gateway = tells(engine, envoy.address()).start();
        let (from, line) = shown(&gateway, &phone);
        let said =
            wait_for("what Envoy has read", SOON, || envoy.line_with(&format!("told|{from}|")));
        let told: Vec<&str> = said.splitn(5, " | ").collect();
        assert_eq!(told[1].trim_matches('"'), "sip/2", "{said}");
        assert_eq!(told[2].trim_matches('"'), NAME, "{said}");
        assert_eq!(told[3].trim_matches('"'), line.text("unique_id"), "{said}");
        for part in [line.text("tls_version"), line.text("cipher_suite"), "phone-7"] {
            assert!(told[4].contains(part), "{part}: {said}");
        }
        let said = wait_for("the checksum", SOON, || envoy.line_with(&format!("checksum|{from}|")));
        assert!(!said.ends_with(" | -"), "the checksum: {said}");
    }
}

/// nginx answers with what it read: version 1, since until 1.23 it reads no more than 107 bytes.
#[test]
#[ignore = "run by tests/run"]
fn proxy_out_v1_is_read_by_nginx() {
    if !Program::Nginx.is_installed() {
        return;
    }
    let port = free_port();
    let config = format!(
        "server {{
    listen 127.0.0.1:{port} proxy_protocol;
    return \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port\";
}}"
    );
    let nginx = Program::Nginx.start(&config, &[port]);
    for engine in engines() {
        let setup = Setup::new(engine, nginx.address());
        let gateway = setup.listener("proxy_out = \"v1\"").start();
        let mut stream = connect(gateway.address(), &self::config(Version::V13));
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an answer");
        assert_eq!(said, format!("{} {}", local(&stream), gateway.port()));
    }
}
