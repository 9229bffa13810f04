//! A component that reads the PROXY protocol by itself, and a client with a certificate.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::ca::{Files, ca};
use super::ports::{free_port, is_listened_on};
use super::process::Process;
use super::{SOON, wait_for, wait_until};

/// `proxy_decoder.py`, written from the specification's text: echoes what follows the header.
pub(crate) struct Decoder {
    process: Process,
    port: u16,
}

impl Decoder {
    /// With these files, what follows the header is TLS.
    pub(crate) fn start(tls: Option<&Files>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/proxy_decoder.py");
        let port = free_port();
        let mut command = Command::new("python3");
        command.arg(script).arg(port.to_string());
        if let Some(files) = tls {
            command.arg(&files.certificate).arg(&files.key);
        }
        let process = Process::start(&mut command);
        let decoder = Self { process, port };
        wait_until("the decoder listens", SOON, || is_listened_on(port));
        decoder
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The headers so far.
    pub(crate) fn headers(&self) -> Vec<Value> {
        let lines = self.process.stdout();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The header with this source, waited for.
    pub(crate) fn header_of(&self, source: SocketAddr) -> Value {
        let source = serde_json::json!([source.ip().to_string(), source.port()]);
        wait_for(&format!("a header from {source}"), SOON, || {
            self.headers().into_iter().find(|header| header["source"] == source)
        })
    }
}

/// Text that a header has in hexadecimal.
pub(crate) fn text(value: &Value) -> String {
    String::from_utf8(bytes(value)).expect("text")
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let hex = value.as_str().unwrap_or_else(|| panic!("no value: {value}"));
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A client that shows this certificate, and offers this protocol.
pub(crate) fn known_client(files: &Files, protocol: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("PEM of ours")];
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("PEM of ours");
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(ca().roots())
        .with_client_auth_cert(chain, key)
        .expect("they match");
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}
