//! nginx's stream module.

use std::path::Path;
use std::process::Command;

use super::{Relay, Role, write};
use crate::support::ca::Files;

/// Where Debian's nginx has the module; other builds have it inside.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// One process, so that nothing is left when it is killed.
pub(super) fn command(directory: &Path, config: &str) -> Command {
    let module = match Path::new(MODULE).exists() {
        true => format!("load_module {MODULE};\n"),
        false => String::new(),
    };
    let text = format!(
        "{module}daemon off;
master_process off;
pid {}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
stream {{
{config}}}
",
        directory.display()
    );
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(write(directory, "nginx.conf", &text));
    command
}

pub(super) fn relay(relay: &Relay<'_>) -> String {
    let Relay { listen, to, version, ca, role } = relay;
    let (version, ca) = (version.name(), ca.display());
    match role {
        Role::Client { name, identity } => {
            let identity =
                identity.map_or_else(String::new, |files| certificate("proxy_ssl", files));
            format!(
                "server {{
    listen 127.0.0.1:{listen};
    proxy_pass {to};
    proxy_half_close on;
    proxy_ssl on;
    proxy_ssl_protocols {version};
    proxy_ssl_trusted_certificate {ca};
    proxy_ssl_verify on;
    proxy_ssl_name {name};
    proxy_ssl_server_name on;
    {identity}
}}
"
            )
        }
        Role::Server { identity } => format!(
            "server {{
    listen 127.0.0.1:{listen} ssl;
    proxy_pass {to};
    proxy_half_close on;
    ssl_protocols {version};
    ssl_client_certificate {ca};
    ssl_verify_client on;
    ssl_session_cache shared:sessions:1m;
    {}
}}
",
            certificate("ssl", identity)
        ),
    }
}

fn certificate(prefix: &str, files: &Files) -> String {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    format!("{prefix}_certificate {certificate}; {prefix}_certificate_key {key};")
}
