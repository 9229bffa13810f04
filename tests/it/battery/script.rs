//! What components say to each other, word for word: both ends have the same script, so each knows
//! every byte that it has to get. Protocols whose format is not public are opaque bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::pki::pki;
use super::stream::{VERSIONS, client, inner_name, server};
use super::wrapping::Wrapping;

/// A protocol, in its smallest recognizable form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    OpaqueClientFirst,
    OpaqueServerFirst,
    Http,
    Sip,
    Mrcp,
    Ldap,
    Imap,
    Smtp,
    /// The CONNECT and ACCEPT packets of Oracle Net.
    Tns,
    /// PostgreSQL's SSLRequest, and TLS of the two ends behind it.
    PostgresTls,
    /// The PRELOGIN of TDS 7, and TLS inside of its packets.
    TdsTls,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

type Lines = Vec<(End, Vec<u8>)>;

impl Speech {
    /// Says one's own lines and listens to the other's.
    ///
    /// # Errors
    /// The connection's; [`io::ErrorKind::InvalidData`] when the other end says something else.
    pub(super) fn speak(self, stream: &mut (impl Read + Write), me: End) -> io::Result<()> {
        match self {
            Self::OpaqueClientFirst => say(stream, me, &opaque(End::Client)),
            Self::OpaqueServerFirst => say(stream, me, &opaque(End::Server)),
            Self::Http => say(stream, me, &http()),
            Self::Sip => say(stream, me, &sip()),
            Self::Mrcp => say(stream, me, &mrcp()),
            Self::Ldap => say(stream, me, &ldap()),
            Self::Imap => say(stream, me, &imap()),
            Self::Smtp => say(stream, me, &smtp()),
            Self::Tns => say(stream, me, &tns()),
            Self::PostgresTls => {
                let request = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
                say(stream, me, &text(&[(End::Client, &request), (End::Server, b"S")]))?;
                inside(stream, me, 1, &postgres())
            }
            Self::TdsTls => {
                say(stream, me, &prelogin())?;
                let mut wrapping = Wrapping::new(stream);
                // TLS 1.2: 1.3 would send tickets when the wrapping has ended already.
                inside(&mut wrapping, me, 0, &opaque(End::Client))
            }
        }
    }
}

fn say(stream: &mut (impl Read + Write), me: End, lines: &Lines) -> io::Result<()> {
    for (end, line) in lines {
        if *end == me {
            stream.write_all(line)?;
            stream.flush()?;
            continue;
        }
        let mut heard = vec![0; line.len()];
        stream.read_exact(&mut heard)?;
        if heard != *line {
            let heard = String::from_utf8_lossy(&heard).into_owned();
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("heard {heard:?}")));
        }
    }
    Ok(())
}

/// The two ends' own TLS, which the gateways carry unread.
fn inside<S: Read + Write>(stream: S, me: End, version: usize, lines: &Lines) -> io::Result<()> {
    let versions = &VERSIONS[version..=version];
    match me {
        End::Client => {
            let config = client(pki().roots(), None, versions, None);
            let tls = ClientConnection::new(config, inner_name()).map_err(io::Error::other)?;
            say(&mut StreamOwned::new(tls, stream), me, lines)
        }
        End::Server => {
            let config = server(&pki().leaf("database"), false, versions);
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            say(&mut StreamOwned::new(tls, stream), me, lines)
        }
    }
}

fn text(lines: &[(End, &[u8])]) -> Lines {
    lines.iter().map(|(end, line)| (*end, line.to_vec())).collect()
}

fn both(lines: &[(End, &str)]) -> Lines {
    lines.iter().map(|(end, line)| (*end, line.as_bytes().to_vec())).collect()
}

/// Bytes of no known format, small and large, none of which repeat.
fn opaque(first: End) -> Lines {
    let (one, other) = match first {
        End::Client => (End::Client, End::Server),
        End::Server => (End::Server, End::Client),
    };
    let sizes = [1, 2, 200, 1_500, 40_000];
    sizes.iter().flat_map(|&size| [(one, noise(size, 1)), (other, noise(size + 7, 2))]).collect()
}

/// The same bytes each time (xorshift, Marsaglia 2003).
pub(super) fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut bytes = Vec::with_capacity(size + 4);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Two requests over one connection, the second answered in chunks (RFC 9112).
fn http() -> Lines {
    both(&[
        (End::Client, "GET /status HTTP/1.1\r\nHost: component.test\r\n\r\n"),
        (End::Server, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n"),
        (
            End::Client,
            "POST /api HTTP/1.1\r\nHost: component.test\r\nContent-Length: 4\r\n\r\nping",
        ),
        (
            End::Server,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n",
        ),
    ])
}

fn sip_request(method: &str, number: u32, from: &str) -> String {
    format!(
        "{method} sip:server.test SIP/2.0\r\nVia: SIP/2.0/TLS {from};branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:7001@{from}>;tag=1\r\nTo: <sip:7001@server.test>\r\n\
         Call-ID: battery@{from}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn sip_answer(status: &str, method: &str, number: u32) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: SIP/2.0/TLS client.test;branch=z9hG4bK{number}\r\n\
         From: <sip:7001@client.test>;tag=1\r\nTo: <sip:7001@server.test>;tag=2\r\n\
         Call-ID: battery@client.test\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// REGISTER, OPTIONS, a call, the keep-alive (RFC 5626 section 4.4.1), and a re-INVITE of the server
/// over the client's connection.
fn sip() -> Lines {
    let request = |method, number| sip_request(method, number, "client.test");
    let back = |method, number| sip_request(method, number, "server.test");
    let lines = [
        (End::Client, request("REGISTER", 1)),
        (End::Server, sip_answer("200 OK", "REGISTER", 1)),
        (End::Client, request("OPTIONS", 2)),
        (End::Server, sip_answer("200 OK", "OPTIONS", 2)),
        (End::Client, request("INVITE", 3)),
        (End::Server, sip_answer("180 Ringing", "INVITE", 3)),
        (End::Server, sip_answer("200 OK", "INVITE", 3)),
        (End::Client, request("ACK", 3)),
        (End::Client, "\r\n\r\n".to_owned()),
        (End::Server, "\r\n".to_owned()),
        (End::Server, back("INVITE", 4)),
        (End::Client, sip_answer("200 OK", "INVITE", 4)),
        (End::Server, back("ACK", 4)),
        (End::Client, request("BYE", 5)),
        (End::Server, sip_answer("200 OK", "BYE", 5)),
    ];
    lines.into_iter().map(|(end, line)| (end, line.into_bytes())).collect()
}

/// SPEAK and its events (RFC 6787).
fn mrcp() -> Lines {
    both(&[
        (
            End::Client,
            "MRCP/2.0 115 SPEAK 543257\r\nChannel-Identifier: 32AECB23433802@speechsynth\r\n\
             Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
        ),
        (
            End::Server,
            "MRCP/2.0 83 543257 200 IN-PROGRESS\r\n\
             Channel-Identifier: 32AECB23433802@speechsynth\r\n\r\n",
        ),
        (
            End::Server,
            "MRCP/2.0 119 SPEAK-COMPLETE 543257 COMPLETE\r\n\
             Channel-Identifier: 32AECB23433802@speechsynth\r\nCompletion-Cause: 000 normal\r\n\r\n",
        ),
    ])
}

/// Bind, a search for an entry, unbind (RFC 4511, BER).
fn ldap() -> Lines {
    let search = b"\x30\x25\x02\x01\x02\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\
        \x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00";
    text(&[
        (End::Client, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
        (End::Server, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
        (End::Client, search),
        (End::Server, b"\x30\x09\x02\x01\x02\x64\x04\x04\x00\x30\x00"),
        (End::Server, b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        (End::Client, b"\x30\x05\x02\x01\x03\x42\x00"),
    ])
}

/// RFC 9051.
fn imap() -> Lines {
    both(&[
        (End::Server, "* OK IMAP4rev2 ready\r\n"),
        (End::Client, "a1 LOGIN agent secret\r\n"),
        (End::Server, "a1 OK LOGIN completed\r\n"),
        (End::Client, "a2 SELECT INBOX\r\n"),
        (End::Server, "* 1 EXISTS\r\na2 OK [READ-WRITE] SELECT completed\r\n"),
        (End::Client, "a3 LOGOUT\r\n"),
        (End::Server, "* BYE\r\na3 OK LOGOUT completed\r\n"),
    ])
}

/// RFC 5321.
fn smtp() -> Lines {
    both(&[
        (End::Server, "220 exchange.test ESMTP\r\n"),
        (End::Client, "EHLO socialminer.test\r\n"),
        (End::Server, "250-exchange.test\r\n250 SIZE 20000000\r\n"),
        (End::Client, "MAIL FROM:<a@socialminer.test>\r\n"),
        (End::Server, "250 ok\r\n"),
        (End::Client, "RCPT TO:<b@exchange.test>\r\n"),
        (End::Server, "250 ok\r\n"),
        (End::Client, "DATA\r\n"),
        (End::Server, "354 go on\r\n"),
        (End::Client, "Subject: battery\r\n\r\nhello\r\n.\r\n"),
        (End::Server, "250 queued\r\n"),
        (End::Client, "QUIT\r\n"),
        (End::Server, "221 bye\r\n"),
    ])
}

/// A startup message and the answers to it (PostgreSQL, chapter "Message Formats").
fn postgres() -> Lines {
    text(&[
        (End::Client, b"\x00\x00\x00\x12\x00\x03\x00\x00user\x00icon\x00\x00"),
        (End::Server, b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"),
        (End::Client, b"Q\x00\x00\x00\x0dSELECT 1\x00"),
        (End::Server, b"C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"),
        (End::Client, b"X\x00\x00\x00\x04"),
    ])
}

fn tns() -> Lines {
    let connect = b"\x00\x25\x00\x00\x01\x00\x00\x00(DESCRIPTION=(PROTOCOL=TCPS))";
    text(&[
        (End::Client, connect),
        (End::Server, b"\x00\x08\x00\x00\x02\x00\x00\x00"),
        (End::Client, b"\x00\x0e\x00\x00\x06\x00\x00\x00SELECT"),
        (End::Server, b"\x00\x0b\x00\x00\x06\x00\x00\x00row"),
    ])
}

/// PRELOGIN with one option, ENCRYPTION = ON, and its answer (MS-TDS 2.2.6.5).
fn prelogin() -> Lines {
    let packet = |kind: u8| vec![kind, 1, 0, 15, 0, 0, 1, 0, 1, 0, 6, 0, 1, 0xff, 1];
    vec![(End::Client, packet(0x12)), (End::Server, packet(0x04))]
}
