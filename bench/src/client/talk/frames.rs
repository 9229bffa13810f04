//! Frames: what is sent either way is checked by what comes back.

use super::{Reader, wrong};
use crate::client::failure::{ErrorKind, Failure};
use crate::content;
use crate::frame::{Answer, Request};

/// A request with `number`, and the bytes of its body and of its answer's.
pub(super) fn begin(number: u64, [request, answer]: [u64; 2], out: &mut Vec<u8>) -> Frame {
    out.extend_from_slice(&Request { number, body: request, answer }.bytes());
    let mut offset = 0;
    while offset < request {
        let piece = content::at(offset, request - offset);
        out.extend_from_slice(piece);
        offset += piece.len() as u64;
    }
    let wanted = Answer { number, body: answer, checksum: content::checksum(request) };
    Frame { wanted, head: Vec::new(), seen: 0 }
}

/// A head, then as many bytes as were wanted.
#[derive(Debug)]
pub(super) struct Frame {
    wanted: Answer,
    head: Vec<u8>,
    seen: u64,
}

impl Reader for Frame {
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let missing = Answer::LENGTH - self.head.len();
        if missing > 0 {
            let taken = missing.min(data.len());
            self.head.extend_from_slice(&data[..taken]);
            if taken == missing && self.head != self.wanted.bytes() {
                let found = self.head.escape_ascii();
                let detail =
                    format!("the answer begins with {found}; wanted was {:?}", self.wanted);
                return Err(wrong(detail));
            }
            return Ok(taken);
        }
        let left = self.wanted.body - self.seen;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        if !content::matches(self.seen, &data[..taken]) {
            let detail = format!("wrong content behind byte {} of an answer", self.seen);
            return Err(Failure::new(ErrorKind::Content, detail));
        }
        self.seen += taken as u64;
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.head.len() == Answer::LENGTH && self.seen == self.wanted.body
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn an_answer_must_be_the_one_that_was_asked_for() {
        let reader = || begin(9, [100, 70_000], &mut Vec::new());
        let right = Answer { number: 9, body: 70_000, checksum: content::checksum(100) };
        let body = [content::at(0, 70_000), content::at(65_521, 70_000 - 65_521)].concat();
        let with = |answer: &Answer, body: &[u8]| [&answer.bytes()[..], body].concat();
        let good = with(&right, &body);
        for cut in [1, 30, 100_000] {
            assert_eq!(read(reader(), &good, cut), Ok((true, good.len())), "{cut}");
        }
        assert_eq!(read(reader(), &good[..good.len() - 1], 999).map(|(done, _)| done), Ok(false));
        for wrong in [
            with(&Answer { number: 8, ..right }, &body),
            with(&Answer { checksum: 1, ..right }, &body),
            with(&right, &body[1..]),
        ] {
            assert!(read(reader(), &wrong, 500).is_err());
        }
    }
}
