//! A reader of DER, for files that the operator gives and that no crate we have reads completely:
//! CRLs with tens of thousands of entries, and OCSP responses.

use std::ops::Range;

use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Context-specific tag `number`, of a primitive value.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Context-specific tag `number`, of a constructed value.
pub(super) const fn context_of(number: u8) -> u8 {
    0xa0 | number
}

/// The bytes do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is left to read of a value; positions are those in the whole file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Der<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, at: 0, end: file.len() }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.file[self.at..self.end]
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.at..self.end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The tag of the next value.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes().first().copied()
    }

    /// The content of the next value, which has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<Self, Malformed> {
        let rest = self.bytes();
        let [found, length, ..] = rest else { return Err(Malformed) };
        if *found != tag {
            return Err(Malformed);
        }
        let (header, length) = match length {
            0..=0x7f => (2, usize::from(*length)),
            // Four bytes of length are as much as a file can have.
            0x81..=0x84 => {
                let bytes = usize::from(length & 0x7f);
                let value = rest.get(2..2 + bytes).ok_or(Malformed)?;
                (2 + bytes, value.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
            }
            _ => return Err(Malformed),
        };
        let at = self.at + header;
        let end = at.checked_add(length).filter(|end| *end <= self.end).ok_or(Malformed)?;
        self.at = end;
        Ok(Self { file: self.file, at, end })
    }

    /// As [`take`](Self::take), with tag and length.
    pub(super) fn take_whole(&mut self, tag: u8) -> Result<Self, Malformed> {
        let at = self.at;
        let content = self.take(tag)?;
        Ok(Self { file: self.file, at, end: content.end })
    }

    /// As [`take`](Self::take), if the next value has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Self>, Malformed> {
        (self.peek() == Some(tag)).then(|| self.take(tag)).transpose()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// Unix time in seconds, from UTCTime or GeneralizedTime.
    pub(super) fn time(&mut self) -> Result<i64, Malformed> {
        let tag = self.peek().filter(|tag| [UTC_TIME, GENERALIZED_TIME].contains(tag));
        let whole = self.take_whole(tag.ok_or(Malformed)?)?;
        let (_, time) = ASN1Time::from_der(whole.bytes()).map_err(|_| Malformed)?;
        Ok(time.timestamp())
    }

    /// The bytes of a BIT STRING without unused bits.
    pub(super) fn bits(&mut self) -> Result<Self, Malformed> {
        let mut content = self.take(BIT_STRING)?;
        if content.peek() != Some(0) {
            return Err(Malformed);
        }
        content.at += 1;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_order_and_to_their_ends() {
        let bytes = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0xff];
        let mut outer = Der::new(&bytes);
        let mut inner = outer.take(SEQUENCE).expect("a sequence");
        assert_eq!(outer.end(), Ok(()));
        assert_eq!(inner.end(), Err(Malformed));
        assert!(inner.optional(OCTET_STRING).expect("well-formed").is_none());
        let number = inner.take(INTEGER).expect("a number");
        assert_eq!((number.bytes(), number.range()), (&[5][..], 4..5));
        assert_eq!(inner.take_whole(OCTET_STRING).expect("bytes").bytes(), [4, 1, 0xff]);
        assert_eq!(inner.end(), Ok(()));
        assert!(inner.take(OCTET_STRING).is_err());
    }

    #[test]
    fn lengths_beyond_the_value_are_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x01],
            &[0x30, 0x81],
            &[0x30, 0x82, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(Der::new(bytes).take(SEQUENCE).is_err(), "{bytes:02x?}");
        }
        assert_eq!(Der::new(&[0x30, 0x81, 1, 7]).take(SEQUENCE).expect("long form").bytes(), [7]);
    }

    #[test]
    fn times_and_bits() {
        let utc = b"\x17\x0d700101000001Z";
        let general = b"\x18\x0f20500101000000Z";
        assert_eq!(Der::new(utc).time(), Ok(1));
        assert_eq!(Der::new(general).time(), Ok(2_524_608_000));
        assert!(Der::new(&[0x17, 1, b'x']).time().is_err());
        assert!(Der::new(&[INTEGER, 1, 1]).time().is_err());
        assert_eq!(Der::new(&[BIT_STRING, 2, 0, 9]).bits().expect("bits").bytes(), [9]);
        assert!(Der::new(&[BIT_STRING, 2, 1, 9]).bits().is_err());
        assert!(Der::new(&[BIT_STRING, 0]).bits().is_err());
    }
}
