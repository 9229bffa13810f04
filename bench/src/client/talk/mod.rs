//! What is said over a connection in place of an echo: requests of protocols, and readers that check
//! their answers. Bytes only.

mod echo;
mod frames;
mod http;
mod ldap;
mod sip;

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;

use super::failure::{ErrorKind, Failure};
use super::sizes::Sizes;
use crate::mix::pair;

/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// What is said in each operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Talk {
    /// In which protocol.
    pub protocol: Protocol,
    /// Requests that are sent together; the operation ends with the last of their answers. At least 1.
    pub at_once: u32,
    /// Makes other sizes.
    pub seed: u64,
}

/// A protocol, with what is asked in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Protocol {
    /// Nothing: the operation ends with the handshake.
    Nothing,
    /// Opaque bytes; the answer is the same again.
    Echo {
        /// Bytes of a request.
        request: Sizes,
    },
    /// Frames of opaque bytes, of any size either way; this crate's backend answers them
    /// ([`crate::frame`]).
    Frames {
        /// Bytes of a request's body.
        request: Sizes,
        /// Bytes of an answer's body.
        answer: Sizes,
    },
    /// `GET` in HTTP/1.1; the answer must be a 200 with a Content-Length.
    Http {
        /// The target, such as `/`.
        path: String,
        /// What the Host header says.
        host: String,
    },
    /// A request in SIP 2.0; the answer must be a 200 to this very request.
    Sip {
        /// Which.
        method: SipMethod,
        /// The domain that is asked.
        domain: String,
        /// Bytes of a request, as long as they suffice for what must be in it.
        request: Sizes,
    },
    /// A request in LDAP 3; its result must be success.
    Ldap(Ldap),
}

/// A method of SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SipMethod {
    /// `OPTIONS`: is it alive.
    Options,
    /// `REGISTER`, each connection's client for itself.
    Register,
}

/// An operation of LDAP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Ldap {
    /// An anonymous simple bind.
    Bind,
    /// A search for the entry with this name only, the root when it is empty, without attributes.
    Search(String),
}

impl Talk {
    /// The requests of operation `number` as they are sent, and the readers of their answers.
    pub(super) fn begin(&self, number: u64) -> (Vec<u8>, Vec<Box<dyn Reader>>) {
        let mut bytes = Vec::new();
        let each = u64::from(self.at_once);
        let readers = (0..each)
            .filter_map(|place| self.protocol.begin(self.seed, number * each + place, &mut bytes));
        let readers = readers.collect();
        (bytes, readers)
    }
}

impl Protocol {
    /// Adds a request; there is no reader where no answer comes.
    fn begin(&self, seed: u64, number: u64, out: &mut Vec<u8>) -> Option<Box<dyn Reader>> {
        Some(match self {
            Self::Nothing => return None,
            Self::Echo { request } => {
                Box::new(echo::begin(number, request.draw(seed, number), out))
            }
            Self::Frames { request, answer } => {
                let sizes = [request.draw(seed, number), answer.draw(!seed, number)];
                Box::new(frames::begin(number, sizes, out))
            }
            Self::Http { path, host } => Box::new(http::begin(path, host, out)),
            Self::Sip { method, domain, request } => {
                let size = request.draw(seed, number);
                Box::new(sip::begin(*method, domain, pair(seed, number), size, out))
            }
            Self::Ldap(operation) => Box::new(ldap::begin(operation, number, out)),
        })
    }
}

/// Reads and checks one answer.
pub(super) trait Reader: Debug + Send {
    /// Takes what came; returns how much of it belongs to the answer, which is all unless that is
    /// complete.
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure>;

    /// Whether the answer is complete.
    fn is_done(&self) -> bool;
}

/// The answer is not what the protocol wants, or says that the request failed.
fn wrong(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Protocol, detail)
}

/// The head of an answer as HTTP and SIP have it: lines up to an empty one.
#[derive(Debug, Default)]
struct Head {
    collected: Vec<u8>,
}

impl Head {
    /// Takes what came; returns the lines once they are there, and how much of `data` they are.
    fn take<'data>(
        &mut self,
        data: &'data [u8],
    ) -> Result<(usize, Option<Cow<'data, str>>), Failure> {
        const END: &[u8] = b"\r\n\r\n";
        let end_in = |bytes: &[u8]| {
            let place = bytes.windows(END.len()).position(|window| window == END);
            place.map(|place| place + END.len())
        };
        let beginning = &data[..data.len().min(MAX_HEAD)];
        if self.collected.is_empty()
            && let Some(end) = end_in(beginning)
        {
            // In one piece, as it mostly comes.
            return Ok((end, Some(String::from_utf8_lossy(&data[..end]))));
        }
        let before = self.collected.len();
        self.collected.extend_from_slice(beginning);
        let searched = before.saturating_sub(END.len() - 1);
        match end_in(&self.collected[searched..]) {
            Some(end) => {
                let end = searched + end;
                let text = String::from_utf8_lossy(&self.collected[..end]).into_owned();
                self.collected.clear();
                Ok((end - before, Some(Cow::Owned(text))))
            }
            None if self.collected.len() >= MAX_HEAD => {
                Err(wrong("the head of the answer is too long"))
            }
            None => Ok((data.len(), None)),
        }
    }
}

/// The value of a header.
fn header<'head>(head: &'head str, names: &[&str]) -> Option<&'head str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| names.iter().any(|wanted| name.trim().eq_ignore_ascii_case(wanted)))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `answer` to a request, given in pieces: whether it is complete, or why not.
    pub(super) fn read(
        mut reader: impl Reader,
        answer: &[u8],
        cut: usize,
    ) -> Result<(bool, usize), String> {
        let mut taken = 0;
        for piece in answer.chunks(cut) {
            let mut piece = piece;
            while !piece.is_empty() && !reader.is_done() {
                let count = reader.take(piece).map_err(|failure| failure.detail)?;
                taken += count;
                piece = &piece[count..];
            }
        }
        Ok((reader.is_done(), taken))
    }

    #[test]
    fn requests_that_are_sent_together_have_as_many_answers() {
        let protocol = Protocol::Http { path: "/".to_owned(), host: "a".to_owned() };
        let (bytes, readers) = Talk { protocol, at_once: 3, seed: 1 }.begin(5);
        assert_eq!(readers.len(), 3);
        assert_eq!(String::from_utf8(bytes).expect("text").matches("GET / HTTP/1.1").count(), 3);
    }
}
