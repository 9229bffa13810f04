//! LDAP 3 (RFC 4511): an anonymous bind, a search for one entry, and their results. BER with the
//! restrictions of RFC 4511 §5.1.

use super::{Ldap, Reader, wrong};
use crate::client::failure::Failure;

/// Longest message of an answer.
const MAX_MESSAGE: usize = 1 << 20;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const BIND: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;

pub(super) fn begin(operation: &Ldap, number: u64, out: &mut Vec<u8>) -> Answers {
    // 1 to 2^31 - 1; 0 is for what nobody asked for (RFC 4511 §4.4).
    let id = u32::try_from(number % 0x7fff_ffff).unwrap_or_default() + 1;
    let (request, ends_with) = match operation {
        Ldap::Bind => {
            // Version 3, no name, simple authentication without a password.
            let parts = [element(INTEGER, &[3]), element(OCTETS, &[]), element(0x80, &[])];
            (element(BIND, &parts.concat()), BIND_RESPONSE)
        }
        Ldap::Search(base) => {
            let parts = [
                element(OCTETS, base.as_bytes()),
                // The entry itself, aliases as they are, no limits, with values.
                element(ENUMERATED, &[0]),
                element(ENUMERATED, &[0]),
                element(INTEGER, &[0]),
                element(INTEGER, &[0]),
                element(0x01, &[0]),
                element(0x87, b"objectClass"),
                // RFC 4511 §4.5.1.8: "1.1" asks for no attribute.
                element(SEQUENCE, &element(OCTETS, b"1.1")),
            ];
            (element(SEARCH, &parts.concat()), SEARCH_DONE)
        }
    };
    let message = [element(INTEGER, shortest(&id.to_be_bytes())), request].concat();
    out.extend_from_slice(&element(SEQUENCE, &message));
    Answers { id, ends_with, message: Vec::new(), ended: false }
}

/// A number from 0 to 2³¹ − 1 without octets that say nothing (X.690 §8.3.2).
fn shortest(bytes: &[u8]) -> &[u8] {
    let is_idle = |pair: &[u8]| pair[0] == 0 && pair[1] < 0x80;
    &bytes[bytes.windows(2).take_while(|pair| is_idle(pair)).count()..]
}

/// A tag, a length and content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => bytes.push(length),
        _ => {
            let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
            bytes.push(0x84);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Messages up to the one with the result.
#[derive(Debug)]
pub(super) struct Answers {
    id: u32,
    /// The tag of the message with the result.
    ends_with: u8,
    /// What there is of the current message.
    message: Vec<u8>,
    ended: bool,
}

impl Reader for Answers {
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let before = self.message.len();
        self.message.extend_from_slice(data);
        let Some((tag, head, length)) = header(&self.message)? else { return Ok(data.len()) };
        if tag != SEQUENCE || length > MAX_MESSAGE {
            return Err(wrong("this is not LDAP, or too long"));
        }
        let end = head + length;
        if self.message.len() < end {
            return Ok(data.len());
        }
        let mut rest = &self.message[head..end];
        let (kind, id) = split(&mut rest)?;
        if kind != INTEGER || number(id) != Some(u64::from(self.id)) {
            return Err(wrong(format!("message ID {:?} instead of {}", number(id), self.id)));
        }
        let (tag, mut content) = split(&mut rest)?;
        match tag {
            SEARCH_ENTRY | SEARCH_REFERENCE if self.ends_with == SEARCH_DONE => {}
            tag if tag == self.ends_with => {
                let (kind, code) = split(&mut content)?;
                if kind != ENUMERATED || number(code) != Some(0) {
                    return Err(wrong(format!("result code {:?}", number(code))));
                }
                self.ended = true;
            }
            tag => return Err(wrong(format!("an answer with tag {tag:#04x}"))),
        }
        self.message.clear();
        Ok(end - before)
    }

    fn is_done(&self) -> bool {
        self.ended
    }
}

/// Tag, length of tag and length, and length of the content; none while that is not all there.
fn header(data: &[u8]) -> Result<Option<(u8, usize, usize)>, Failure> {
    let [tag, first, more @ ..] = data else { return Ok(None) };
    match first {
        0..=0x7f => Ok(Some((*tag, 2, usize::from(*first)))),
        0x81..=0x84 => {
            let count = usize::from(first - 0x80);
            let length = more.get(..count).map(|bytes| {
                bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte))
            });
            Ok(length.map(|length| (*tag, 2 + count, length)))
        }
        // RFC 4511 §5.1: only the definite form.
        _ => Err(wrong(format!("a length that begins with {first:#04x}"))),
    }
}

/// The first element: its tag and its content. What is behind it stays.
fn split<'data>(data: &mut &'data [u8]) -> Result<(u8, &'data [u8]), Failure> {
    let (tag, head, length) = header(data)?.ok_or_else(|| wrong("an element is cut off"))?;
    let content = data.get(head..head + length).ok_or_else(|| wrong("an element is cut off"))?;
    *data = &data[head + length..];
    Ok((tag, content))
}

/// A number that is not below zero; none when it is longer than any of ours.
fn number(content: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&content.len());
    fits.then(|| content.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn requests_are_what_other_clients_send() {
        let mut out = Vec::new();
        begin(&Ldap::Bind, 0, &mut out);
        let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
        assert_eq!(out, bind);
        for (number, octets) in [
            (0, &[0][..]),
            (0x7f, &[0x7f]),
            (0x80, &[0, 0x80]),
            (0x1234_5678, &[0x12, 0x34, 0x56, 0x78]),
        ] {
            assert_eq!(shortest(&u32::to_be_bytes(number)), octets);
        }
    }

    fn message(id: u8, operation: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[element(INTEGER, &[id]), operation.to_vec()].concat())
    }

    fn result(tag: u8, code: u8) -> Vec<u8> {
        let parts = [element(ENUMERATED, &[code]), element(OCTETS, &[]), element(OCTETS, b"said")];
        element(tag, &parts.concat())
    }

    fn answer(operation: &Ldap, answer: &[u8], cut: usize) -> Result<(bool, usize), String> {
        read(begin(operation, 6, &mut Vec::new()), answer, cut)
    }

    #[test]
    fn results_are_read_however_they_come() {
        let bound = message(7, &result(BIND_RESPONSE, 0));
        let entry = message(7, &element(SEARCH_ENTRY, &[0x55; 300]));
        let found = [entry.clone(), message(7, &result(SEARCH_DONE, 0))].concat();
        let root = Ldap::Search(String::new());
        for cut in [1, 2, 7, 1000] {
            assert_eq!(answer(&Ldap::Bind, &bound, cut), Ok((true, bound.len())), "{cut}");
            assert_eq!(answer(&root, &found, cut), Ok((true, found.len())), "{cut}");
            assert_eq!(answer(&root, &entry, cut), Ok((false, entry.len())), "{cut}");
        }
        for (wrong, part) in [
            (message(7, &result(BIND_RESPONSE, 49)), "result code Some(49)"),
            (message(8, &result(BIND_RESPONSE, 0)), "message ID Some(8)"),
            (message(7, &result(SEARCH_DONE, 0)), "tag 0x65"),
            (b"HTTP/1.1 200".to_vec(), "not LDAP"),
            (vec![SEQUENCE, 0x80, 0, 0], "0x80"),
            (vec![SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], "too long"),
        ] {
            let said = answer(&Ldap::Bind, &wrong, 3).expect_err("wrong");
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
