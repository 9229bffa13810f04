//! Peers that speak exactly the versions of TLS that somebody says they do: OpenSSL over a blocking
//! socket, at security level 0, where TLS 1.0 and 1.1 are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use openssl::ssl::{
    SslAcceptor, SslConnector, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslVersion,
};
use tlsgate::catalogue::uccx::Version;

use crate::support::backend::Backend;
use crate::support::ca::{Files, NAME};

/// What old and new peers have; never ALL, which has NULL and anonymous ones at this level.
const SUITES: &str = "ECDHE+AESGCM:ECDHE+AES:AES128-SHA:AES256-SHA:@SECLEVEL=0";
/// Longest time for any step.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that echoes.
pub(super) fn server(versions: &[Version], identity: &Files) -> Backend {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("OpenSSL");
    restrict(&mut builder, versions);
    builder.set_certificate_chain_file(&identity.certificate).expect("a certificate");
    builder.set_private_key_file(&identity.key, SslFiletype::PEM).expect("its key");
    let acceptor = builder.build();
    Backend::start(move |tcp| {
        let Ok(mut stream) = acceptor.accept(tcp) else { return };
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
        // The gateway may have gone.
        let _closed = stream.shutdown();
    })
}

/// A client that has sent something and got it back. The version that was spoken, or what OpenSSL
/// says; and where it came from.
pub(super) fn echo(
    versions: &[Version],
    to: SocketAddr,
    ca: &Path,
) -> (SocketAddr, Result<String, String>) {
    let tcp = TcpStream::connect(to).expect("it listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("not zero");
    tcp.set_write_timeout(Some(PATIENCE)).expect("not zero");
    let from = tcp.local_addr().expect("connected");
    (from, talk(versions, tcp, ca))
}

fn talk(versions: &[Version], tcp: TcpStream, ca: &Path) -> Result<String, String> {
    let mut builder = SslConnector::builder(SslMethod::tls()).expect("OpenSSL");
    restrict(&mut builder, versions);
    builder.set_ca_file(ca).expect("a certificate");
    let mut stream =
        builder.build().connect(NAME, tcp).map_err(|error| format!("handshake: {error}"))?;
    let words = format!("who speaks {}?", stream.ssl().version_str());
    let mut answer = vec![0; words.len()];
    let io = |error: std::io::Error| format!("data: {error}");
    stream.write_all(words.as_bytes()).map_err(io)?;
    stream.read_exact(&mut answer).map_err(io)?;
    assert_eq!(answer, words.as_bytes(), "data must arrive as it was sent");
    let spoken = stream.ssl().version_str().to_owned();
    // The other end follows; nobody here waits for it.
    let _closed = stream.shutdown();
    Ok(spoken)
}

/// Versions of the matrix are next to each other: from the oldest to the newest is all of them.
fn restrict(builder: &mut SslContextBuilder, versions: &[Version]) {
    let number = |version: Option<&Version>| match version.expect("somebody speaks something") {
        Version::V1_0 => SslVersion::TLS1,
        Version::V1_1 => SslVersion::TLS1_1,
        Version::V1_2 => SslVersion::TLS1_2,
        Version::V1_3 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(Some(number(versions.iter().min()))).expect("a version");
    builder.set_max_proto_version(Some(number(versions.iter().max()))).expect("a version");
    builder.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
    builder.set_cipher_list(SUITES).expect("suites of OpenSSL");
}
