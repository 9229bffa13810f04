//! How the peers are set up: one thread, and the certificates, suites, group, number of tickets and
//! lifetime of sessions that the gateway has; everything else as their packages have it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::target::{Identities, Ports, Stage};
use super::test::Role;
use crate::measure::identity::{Identity, SERVER_NAME};
use crate::measure::process::program;

/// Where Debian's nginx has its stream module; other builds have it inside.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
const SUITES: &str = "TLS_AES_128_GCM_SHA256";
const GROUP: &str = "X25519";
/// The gateway's default lifetime of sessions, in seconds.
const LIFETIME: u32 = 6 * 60 * 60;
/// Sessions in a cache.
const SESSIONS: u32 = 20_000;
/// Connections: twice as many descriptors are what a user may have on Debian, or nearly.
const CONNECTIONS: u32 = 9_800;

/// One ticket for each full handshake, as the gateway has it: no program of these has an option for
/// that, but OpenSSL asks its own configuration whatever the program is. The rest of it is Debian's.
fn openssl(stage: &Stage<'_>, name: &str) -> Result<Command, String> {
    let text = "openssl_conf = init\n[init]\nssl_conf = modules\n[modules]\nsystem_default = all\n\
                [all]\nMinProtocol = TLSv1.2\nCipherString = DEFAULT@SECLEVEL=2\nNumTickets = 1\n";
    let mut command = Command::new(program(name)?);
    command.env("OPENSSL_CONF", stage.scratch.write("openssl.cnf", text)?);
    Ok(command)
}

pub(crate) fn haproxy(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let listen = |name: &str, role: Role, tls: &str, to: &str| {
        format!("listen {name}\n    bind {} {tls}\n    server next {to}\n", ports.of(role))
    };
    let show =
        |identity: &Identity| format!("ssl crt {} curves {GROUP}", identity.combined.display());
    let wants = format!("{} ca-file {} verify required", show(ecdsa), client.ca.display());
    let speaks = |to: String| {
        format!(
            "{to} ssl verify required ca-file {} sni str({SERVER_NAME}) no-ssl-reuse \
             ssl-min-ver TLSv1.3",
            ecdsa.ca.display()
        )
    };
    let backend = stage.backend.to_string();
    let exit = speaks(ports.of(Role::PairExit).to_string());
    let exit = format!("{exit} crt {}", client.combined.display());
    let listeners = [
        listen("server", Role::Server, &show(ecdsa), &backend),
        listen("rsa", Role::Rsa, &show(rsa), &backend),
        listen("mutual", Role::Mutual, &wants, &backend),
        listen("originate", Role::Originate, "", &speaks(stage.front.to_string())),
        listen("entry", Role::PairEntry, "", &exit),
        listen("exit", Role::PairExit, &wants, &backend),
    ];
    start_haproxy(stage, "haproxy", &listeners.concat())
}

/// What is in front of the backend where the server that is measured begins TLS: HAProxy, too.
pub(crate) fn front(stage: &Stage<'_>) -> Result<Command, String> {
    let listener = format!(
        "listen front\n    bind {} ssl crt {} curves {GROUP}\n    server next {}\n",
        stage.front,
        stage.identities.ecdsa.combined.display(),
        stage.backend
    );
    start_haproxy(stage, "front", &listener)
}

/// HAProxy in the foreground with these sections behind the settings that all of them have.
///
/// # Errors
/// When it is not installed, or its file could not be written.
pub(crate) fn start_haproxy(
    stage: &Stage<'_>,
    name: &str,
    listeners: &str,
) -> Result<Command, String> {
    let text = format!(
        "global
    nbthread 1
    maxconn {CONNECTIONS}
    tune.ssl.cachesize {SESSIONS}
    tune.ssl.lifetime {LIFETIME}
    ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3
    ssl-default-bind-ciphers {CIPHERS}
    ssl-default-bind-ciphersuites {SUITES}
    ssl-default-server-ciphersuites {SUITES}
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
{listeners}"
    );
    let mut command = openssl(stage, "haproxy")?;
    command.arg("-db").arg("-f").arg(stage.scratch.write(&format!("{name}.cfg"), &text)?);
    Ok(command)
}

pub(crate) fn nginx(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let server = |role: Role, identity: &Identity, more: &str| {
        format!(
            "    server {{ listen {} ssl backlog=4096; ssl_certificate {}; \
             ssl_certificate_key {}; {more}proxy_pass {}; }}\n",
            ports.of(role),
            identity.certificate.display(),
            identity.key.display(),
            stage.backend
        )
    };
    let wants = format!("ssl_verify_client on; ssl_client_certificate {}; ", client.ca.display());
    let servers = [
        server(Role::Server, ecdsa, ""),
        server(Role::Rsa, rsa, ""),
        server(Role::Mutual, ecdsa, &wants),
    ];
    start_nginx(stage, "", &servers.concat())
}

/// nginx in the foreground with `main` at its top and `streams` in its stream block, beside the settings
/// that all of them have.
///
/// # Errors
/// When it is not installed, or its file could not be written.
pub(crate) fn start_nginx(stage: &Stage<'_>, main: &str, streams: &str) -> Result<Command, String> {
    let root = stage.scratch.root().display();
    // The worker must be able to read the run's directory; for others than root it is their own.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let module = if Path::new(NGINX_STREAM).exists() {
        format!("load_module {NGINX_STREAM};\n")
    } else {
        String::new()
    };
    let text = format!(
        "{module}daemon off;
master_process on;
{user}worker_processes 1;
worker_rlimit_nofile {};
pid {root}/nginx.pid;
error_log {root}/nginx.err error;
{main}events {{ worker_connections {}; }}
stream {{
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {CIPHERS};
    ssl_conf_command Ciphersuites {SUITES};
    ssl_ecdh_curve {GROUP};
    ssl_session_cache shared:S:10m;
    ssl_session_timeout {LIFETIME}s;
    ssl_session_tickets on;
{streams}}}
",
        2 * CONNECTIONS,
        2 * CONNECTIONS,
    );
    let file = stage.scratch.write("nginx.conf", &text)?;
    let mut command = openssl(stage, "nginx")?;
    command.arg("-e").arg(stage.scratch.path("nginx.err")).arg("-c").arg(file);
    Ok(command)
}

pub(crate) fn hitch(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let frontend = |role: Role, identity: &Identity, more: &str| {
        let (host, port) = (ports.of(role).ip(), ports.of(role).port());
        let pem = identity.combined.display();
        format!(
            "frontend = {{\n  host = \"{host}\"\n  port = \"{port}\"\n  \
             pem-file = \"{pem}\"\n{more}}}\n"
        )
    };
    let wants =
        format!("  client-verify = required\n  client-verify-ca = \"{}\"\n", client.ca.display());
    // It does not run as root.
    let user = if rustix::process::geteuid().is_root() {
        "user = \"nobody\"\ngroup = \"nogroup\"\n"
    } else {
        ""
    };
    let text = format!(
        "{}{}{}backend = \"[{}]:{}\"
tls-protos = TLSv1.2 TLSv1.3
ciphers = \"{CIPHERS}\"
ciphersuites = \"{SUITES}\"
ecdh-curve = \"{GROUP}\"
workers = 1
backlog = 4096
daemon = off
{user}log-level = 0
",
        frontend(Role::Server, ecdsa, ""),
        frontend(Role::Rsa, rsa, ""),
        frontend(Role::Mutual, ecdsa, &wants),
        stage.backend.ip(),
        stage.backend.port(),
    );
    let file = stage.scratch.write("hitch.conf", &text)?;
    let mut command = openssl(stage, "hitch")?;
    command.arg(format!("--config={}", file.display()));
    Ok(command)
}

pub(crate) fn stunnel(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let service = |role: Role, to: String, more: String| {
        let accept = ports.of(role);
        format!("[{role:?}]\naccept = {accept}\nconnect = {to}\n{more}")
    };
    let show = |identity: &Identity| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("cert = {certificate}\nkey = {key}\n")
    };
    let wants = format!("{}CAfile = {}\nverifyChain = yes\n", show(ecdsa), client.ca.display());
    let speaks = format!(
        "client = yes\nCAfile = {}\nverifyChain = yes\ncheckHost = {SERVER_NAME}\n\
         sni = {SERVER_NAME}\nsessionResume = no\nsslVersionMin = TLSv1.3\n",
        ecdsa.ca.display()
    );
    let backend = || stage.backend.to_string();
    let services = [
        service(Role::Server, backend(), show(ecdsa)),
        service(Role::Rsa, backend(), show(rsa)),
        service(Role::Mutual, backend(), wants.clone()),
        service(Role::Originate, stage.front.to_string(), speaks.clone()),
        service(
            Role::PairEntry,
            ports.of(Role::PairExit).to_string(),
            format!("{speaks}{}", show(client)),
        ),
        service(Role::PairExit, backend(), wants),
    ];
    let text = format!(
        "foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
sslVersionMin = TLSv1.2
sslVersionMax = TLSv1.3
ciphers = {CIPHERS}
ciphersuites = {SUITES}
curves = {GROUP}
sessionCacheSize = {SESSIONS}
sessionCacheTimeout = {LIFETIME}
TIMEOUTclose = 0
{}",
        services.concat()
    );
    let mut command = openssl(stage, "stunnel")?;
    command.arg(stage.scratch.write("stunnel.conf", &text)?);
    Ok(command)
}

/// BoringSSL sends two tickets in TLS 1.3, which nothing changes.
pub(crate) fn envoy(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let endpoint = json!({ "endpoint": { "address": envoy_address(stage.backend) } });
    let config = json!({ "static_resources": {
        "listeners": [
            envoy_listener(ports.of(Role::Server), ecdsa, None),
            envoy_listener(ports.of(Role::Rsa), rsa, None),
            envoy_listener(ports.of(Role::Mutual), ecdsa, Some(client)),
        ],
        "clusters": [{
            "name": "backend",
            "connect_timeout": "5s",
            "circuit_breakers": { "thresholds": [{
                "max_connections": 2 * CONNECTIONS,
                "max_pending_requests": 2 * CONNECTIONS,
            }] },
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{ "lb_endpoints": [endpoint] }],
            },
        }],
    } });
    let file = stage.scratch.write("envoy.json", &config.to_string())?;
    let mut command = Command::new(program("envoy")?);
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart"]);
    command.args(["--log-level", "error"]);
    Ok(command)
}

fn envoy_address(address: SocketAddr) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

fn envoy_listener(address: SocketAddr, shown: &Identity, trusted: Option<&Identity>) -> Value {
    let types = "type.googleapis.com/envoy.extensions";
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "cipher_suites": CIPHERS.split(':').collect::<Vec<_>>(),
            "ecdh_curves": [GROUP, "X25519MLKEM768"],
        },
        "tls_certificates": [{
            "certificate_chain": { "filename": shown.certificate },
            "private_key": { "filename": shown.key },
        }],
    });
    if let Some(trusted) = trusted {
        common["validation_context"] = json!({ "trusted_ca": { "filename": trusted.ca } });
    }
    json!({
        "address": envoy_address(address),
        "tcp_backlog_size": 4096,
        "filter_chains": [{
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": format!("{types}.transport_sockets.tls.v3.DownstreamTlsContext"),
                    "common_tls_context": common,
                    "require_client_certificate": trusted.is_some(),
                    "session_timeout": format!("{LIFETIME}s"),
                },
            },
            "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": format!("{types}.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "bench",
                    "cluster": "backend",
                },
            }],
        }],
    })
}
