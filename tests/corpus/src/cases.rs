//! The cases: a good hello, broken in one named way each, and what the gateway does about it.
//!
//! The expectation is for a listener as by default (TLS 1.2 and 1.3, no ALPN, no strict SNI) and a
//! peer that sends the bytes and then its FIN.

mod fields;
mod streams;

use crate::hello::Hello;
use crate::{Case, Outcome};

/// The hello was taken and answered; then the peer left.
const ANSWERED: Outcome = Outcome::new("handshake_eof", "-");
/// The peer left before its hello was complete.
const UNFINISHED: Outcome = Outcome::new("hello_eof", "-");
const UNDECODABLE: Outcome = Outcome::new("hello_malformed", "decode_error");
const UNEXPECTED: Outcome = Outcome::new("hello_malformed", "unexpected_message");
const ILLEGAL: Outcome = Outcome::new("hello_malformed", "illegal_parameter");
const OVERFLOW: Outcome = Outcome::new("hello_malformed", "record_overflow");
const SSL2: Outcome = Outcome::new("ssl2", "-");
const SSL3: Outcome = Outcome::new("ssl3", "handshake_failure");
/// TLS in the format of SSL 2, where no lane takes it.
const SSLV2_FORMAT: Outcome = Outcome::new("sslv2_format", "protocol_version");
const NOT_TLS: Outcome = Outcome::new("hello_malformed", "-");
const TOO_LARGE: Outcome = Outcome::new("hello_too_large", "decode_error");
const WRONG_VERSION: Outcome = Outcome::new("version_mismatch", "protocol_version");
/// Taken by the peek, refused by the TLS library.
const NOT_DECODED: Outcome = Outcome::new("protocol_violation", "decode_error");
const VIOLATION: Outcome = Outcome::new("protocol_violation", "illegal_parameter");
const NOTHING_SHARED: Outcome = Outcome::new("no_shared_parameters", "handshake_failure");
const BAD_RECORD: Outcome = Outcome::new("bad_record", "bad_record_mac");
const EXTENSION_MISSING: Outcome = Outcome::new("protocol_violation", "missing_extension");
const NO_NULL: Outcome = Outcome::new("no_shared_parameters", "illegal_parameter");

/// Cases in the making.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn stream(&mut self, name: impl Into<String>, outcome: Outcome, stream: Vec<u8>) {
        self.0.push(Case { name: name.into(), outcome, stream });
    }

    /// A hello for TLS 1.3, broken by `change`.
    fn hello(
        &mut self,
        name: impl Into<String>,
        outcome: Outcome,
        change: impl FnOnce(&mut Hello),
    ) {
        let mut hello = Hello::tls13();
        change(&mut hello);
        self.stream(name, outcome, hello.stream());
    }

    /// The same for TLS 1.2.
    fn hello12(
        &mut self,
        name: impl Into<String>,
        outcome: Outcome,
        change: impl FnOnce(&mut Hello),
    ) {
        let mut hello = Hello::tls12();
        change(&mut hello);
        self.stream(name, outcome, hello.stream());
    }

    /// A hello whose extension of type `kind` has this content.
    fn with(&mut self, name: impl Into<String>, outcome: Outcome, kind: u16, content: &[u8]) {
        self.hello(name, outcome, |hello| hello.set(kind, content));
    }
}

/// Every case, by group.
pub fn generate() -> Vec<Case> {
    let mut cases = Cases::default();
    streams::add(&mut cases);
    fields::add(&mut cases);
    cases.0
}
