//! Frames of opaque bytes: a protocol of our own that lets a request say how long its answer is to be,
//! and lets either side check what it got.
//!
//! A request is a head and a body, which are the first bytes of [`crate::content`]; its answer is, too.
//! Numbers are big-endian.

/// How a request begins; an answer begins the same way.
pub const MAGIC: [u8; 4] = *b"FRM1";

/// Head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What its answer is to say.
    pub number: u64,
    /// Bytes behind this head.
    pub body: u64,
    /// Bytes that the answer is to have behind its head.
    pub answer: u64,
}

/// Head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// That of the request.
    pub number: u64,
    /// Bytes behind this head.
    pub body: u64,
    /// [`crate::content::Checksum`] of the request's body.
    pub checksum: u64,
}

impl Request {
    /// Of a head.
    pub const LENGTH: usize = LENGTH;

    /// As it is sent.
    pub fn bytes(&self) -> [u8; LENGTH] {
        joined([self.number, self.body, self.answer])
    }

    /// What was received; none when that is no frame.
    pub fn parse(bytes: [u8; LENGTH]) -> Option<Self> {
        parted(bytes).map(|[number, body, answer]| Self { number, body, answer })
    }
}

impl Answer {
    /// Of a head.
    pub const LENGTH: usize = LENGTH;

    /// As it is sent.
    pub fn bytes(&self) -> [u8; LENGTH] {
        joined([self.number, self.body, self.checksum])
    }
}

const LENGTH: usize = MAGIC.len() + 3 * size_of::<u64>();

fn joined(numbers: [u64; 3]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    let (places, _) = bytes[MAGIC.len()..].as_chunks_mut();
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = number.to_be_bytes();
    }
    bytes
}

fn parted(bytes: [u8; LENGTH]) -> Option<[u64; 3]> {
    let numbers = bytes.strip_prefix(&MAGIC)?;
    let (places, _) = numbers.as_chunks();
    let number = |place: usize| places.get(place).map(|bytes| u64::from_be_bytes(*bytes));
    Some([number(0)?, number(1)?, number(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_were_written() {
        let request = Request { number: 1, body: 1 << 40, answer: u64::MAX };
        assert_eq!(Request::parse(request.bytes()), Some(request));
        let mut other = request.bytes();
        other[3] = b'2';
        assert_eq!(Request::parse(other), None);
    }
}
