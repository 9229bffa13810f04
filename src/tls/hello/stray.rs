//! Recognises what is not TLS by its first bytes, so that the log can name the mistake.

use std::fmt;

use crate::tls::alert::alert_name;

/// Most bytes that are looked at.
pub(super) const LONGEST: usize = 8;

/// What came instead of a TLS handshake record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A plaintext HTTP request, HTTP/2 included.
    Http,
    /// An SSH version string.
    Ssh,
    /// A PROXY protocol header, version 1 or 2.
    ProxyProtocol,
    /// A TLS alert: the peer ended the connection before it began.
    Alert { level: u8, description: u8 },
    /// Other printable text, as of a client that speaks its protocol without TLS.
    Text,
    /// None of the above.
    Binary,
}

impl fmt::Display for Stray {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "plaintext HTTP",
            Self::Ssh => "SSH",
            Self::ProxyProtocol => "PROXY protocol",
            Self::Alert { description, .. } => {
                return write!(formatter, "alert {}", alert_name(*description));
            }
            Self::Text => "plaintext",
            Self::Binary => "unknown bytes",
        })
    }
}

/// First bytes, at most [`LONGEST`], and what they mean.
const BEGINNINGS: [(&[u8], Stray); 13] = [
    (b"GET ", Stray::Http),
    (b"PUT ", Stray::Http),
    (b"HEAD ", Stray::Http),
    (b"POST ", Stray::Http),
    (b"PRI * HT", Stray::Http),
    (b"PATCH ", Stray::Http),
    (b"TRACE ", Stray::Http),
    (b"DELETE ", Stray::Http),
    (b"CONNECT ", Stray::Http),
    (b"OPTIONS ", Stray::Http),
    (b"SSH-", Stray::Ssh),
    (b"PROXY ", Stray::ProxyProtocol),
    (b"\r\n\r\n\0\r\nQ", Stray::ProxyProtocol),
];

/// What a stream with these first bytes is. `None` for TLS handshake and alert records, and as
/// long as more bytes are needed to tell, which they are at most [`LONGEST`] times. What begins with
/// a set top bit is not asked about.
pub(super) fn recognise(start: &[u8]) -> Option<Stray> {
    match *start {
        [] | [21 | 22, ..] => None,
        _ => {
            if let Some((_, stray)) = BEGINNINGS.iter().find(|(text, _)| start.starts_with(text)) {
                Some(*stray)
            } else if BEGINNINGS.iter().any(|(text, _)| text.starts_with(start)) {
                None
            } else if start.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) {
                Some(Stray::Text)
            } else {
                Some(Stray::Binary)
            }
        }
    }
}
