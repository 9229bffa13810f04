//! Envoy's TCP proxy.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Relay, Role, write};
use crate::support::ca::Files;
use crate::support::client::Version;

pub(super) fn command(directory: &Path, config: &str) -> Command {
    let text = format!("{{\"static_resources\": {config}}}");
    let mut command = Command::new("envoy");
    // Hot restart wants shared memory under a number that others may use.
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"]);
    command.arg(write(directory, "envoy.json", &text));
    command
}

pub(super) fn relay(relay: &Relay<'_>) -> String {
    let Relay { listen, to, version, ca, role } = relay;
    let mut chain = json!({ "filters": [tcp_proxy()] });
    let mut cluster = cluster(*to);
    let parameters = match version {
        Version::V12 => "TLSv1_2",
        Version::V13 => "TLSv1_3",
    };
    let parameters = json!({
        "tls_minimum_protocol_version": parameters,
        "tls_maximum_protocol_version": parameters,
    });
    let trusted = json!({ "filename": ca });
    match role {
        Role::Client { name, identity } => {
            let exact = json!({ "san_type": "DNS", "matcher": { "exact": name } });
            let trusted =
                json!({ "trusted_ca": trusted, "match_typed_subject_alt_names": [exact] });
            let certificates: Vec<Value> = identity.map(certificate).into_iter().collect();
            cluster["transport_socket"] = socket(
                "Upstream",
                json!({ "sni": name, "common_tls_context": {
                    "tls_params": parameters,
                    "tls_certificates": certificates,
                    "validation_context": trusted,
                } }),
            );
        }
        Role::Server { identity } => {
            chain["transport_socket"] = socket(
                "Downstream",
                json!({ "require_client_certificate": true, "common_tls_context": {
                    "tls_params": parameters,
                    "tls_certificates": [certificate(identity)],
                    "validation_context": { "trusted_ca": trusted },
                } }),
            );
        }
    }
    let listener = json!({ "address": address("127.0.0.1", *listen), "filter_chains": [chain] });
    json!({ "listeners": [listener], "clusters": [cluster] }).to_string()
}

fn tcp_proxy() -> Value {
    json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "relay",
        "cluster": "to",
    } })
}

fn cluster(to: std::net::SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(&to.ip().to_string(), to.port()) } });
    json!({ "name": "to", "load_assignment": {
        "cluster_name": "to",
        "endpoints": [{ "lb_endpoints": [endpoint] }],
    } })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn socket(side: &str, mut context: Value) -> Value {
    let kind = format!("{side}TlsContext");
    let package = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    context["@type"] = format!("{package}.{kind}").into();
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

fn certificate(files: &Files) -> Value {
    json!({
        "certificate_chain": { "filename": files.certificate },
        "private_key": { "filename": files.key },
    })
}
