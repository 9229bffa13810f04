//! A small TLS echo server on blocking threads, to measure against.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tlsgate_bench::client::{TlsPlan, TlsVersion, Trust};

/// How the server lets clients resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    Stateful,
    Tickets,
    None,
}

/// Handshakes that the server saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) full: AtomicU64,
    pub(crate) resumed: AtomicU64,
    /// Connections that the client ended by close_notify.
    pub(crate) goodbyes: AtomicU64,
}

pub(crate) struct TlsEcho {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) seen: Arc<Seen>,
}

impl TlsEcho {
    /// Serves until the process ends.
    pub(crate) fn start(sessions: Sessions, alpn: &[&str]) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("key");
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("configuration");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        match sessions {
            Sessions::Stateful => {}
            Sessions::Tickets => config.ticketer = ring::Ticketer::new().expect("ticket keys"),
            Sessions::None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("address");
        let seen = Arc::new(Seen::default());
        let (counted, served) = (Arc::clone(&seen), Arc::clone(&config));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (config, seen) = (Arc::clone(&served), Arc::clone(&counted));
                let socket = socket.expect("accept");
                thread::spawn(move || echo(socket, config, &seen));
            }
        });
        Self { address, ca_pem: cert.pem(), config, seen }
    }

    pub(crate) fn plan(&self, version: TlsVersion) -> TlsPlan {
        TlsPlan {
            version,
            server_name: "localhost".to_owned(),
            trust: Trust::CaPem(self.ca_pem.clone()),
            shown: None,
            alpn: Vec::new(),
            suites: Vec::new(),
            groups: Vec::new(),
        }
    }
}

/// Echoes until the client ends; a client that breaks off is the client's business.
fn echo(mut socket: TcpStream, config: Arc<ServerConfig>, seen: &Seen) {
    let mut connection = ServerConnection::new(config).expect("configuration");
    let mut buffer = vec![0; 64 * 1024];
    let mut counted = false;
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => {
                seen.goodbyes.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Ok(count) => {
                if !counted {
                    counted = true;
                    match stream.conn.handshake_kind() {
                        Some(HandshakeKind::Resumed) => &seen.resumed,
                        _ => &seen.full,
                    }
                    .fetch_add(1, Ordering::SeqCst);
                }
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
