//! How the peers are set up: one thread, the same certificate, suites and group as the gateway is
//! measured with, everything else as the packages have it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::target::{Stage, find_program};

/// Where Debian's nginx has its stream module; other builds have it inside.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(crate) fn haproxy(stage: &Stage<'_>, address: SocketAddr) -> Result<Command, String> {
    let text = format!(
        "global
    nbthread 1
    maxconn 5000
    tune.ssl.cachesize 20000
    ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend tls
    bind {address} ssl crt {} curves X25519
    default_backend be
backend be
    server b {}
",
        stage.identity.combined.display(),
        stage.backend
    );
    let file = stage.scratch.write("haproxy.cfg", &text)?;
    let mut command = Command::new(program("haproxy")?);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

pub(crate) fn nginx(stage: &Stage<'_>, address: SocketAddr) -> Result<Command, String> {
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
worker_rlimit_nofile 20000;
pid {root}/nginx.pid;
error_log {root}/nginx.err error;
events {{ worker_connections 9000; }}
stream {{
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {};
    ssl_certificate_key {};
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519;
    ssl_session_cache shared:S:10m;
    ssl_session_tickets on;
    server {{ listen {address} ssl backlog=4096; proxy_pass {}; }}
}}
",
        stage.identity.certificate.display(),
        stage.identity.key.display(),
        stage.backend
    );
    let file = stage.scratch.write("nginx.conf", &text)?;
    let mut command = Command::new(program("nginx")?);
    command.arg("-e").arg(stage.scratch.path("nginx.err")).arg("-c").arg(file);
    Ok(command)
}

pub(crate) fn program(name: &str) -> Result<std::path::PathBuf, String> {
    find_program(name).ok_or_else(|| format!("{name} is not installed"))
}
