//! Answers frames ([`crate::frame`]), in order, pipelined or not.

use super::output::Output;
use crate::content::Checksum;
use crate::frame::{Answer, Request};

/// Server side of one connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Input that waits: part of a head, or what is behind an answer that is not sent yet.
    pending: Vec<u8>,
    /// The request whose body is on its way in, how much of that is missing, and the sum of the rest.
    current: Option<(Request, u64, Checksum)>,
    /// This is no frame: nothing is answered any more.
    is_broken: bool,
}

impl Frames {
    /// The peer broke the protocol: the connection closes.
    pub(super) fn is_closing(&self) -> bool {
        self.is_broken
    }

    /// Takes input and answers every complete request, until an answer has to be sent first.
    pub(super) fn input(&mut self, data: &[u8], output: &mut Output) {
        let mut pending = std::mem::take(&mut self.pending);
        let mut rest = if pending.is_empty() {
            data
        } else {
            pending.extend_from_slice(data);
            &pending[..]
        };
        while output.has_room() && !self.is_broken {
            match &mut self.current {
                None => {
                    let Some((head, behind)) = rest.split_first_chunk::<{ Request::LENGTH }>()
                    else {
                        break;
                    };
                    rest = behind;
                    match Request::parse(*head) {
                        Some(request) => {
                            self.current = Some((request, request.body, Checksum::new()));
                        }
                        None => self.is_broken = true,
                    }
                }
                Some((_, left, sum)) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    let (body, behind) = rest.split_at(taken);
                    sum.update(body);
                    *left -= taken as u64;
                    rest = behind;
                }
            }
            match self.current.take_if(|(_, left, _)| *left == 0) {
                Some((Request { number, answer, .. }, _, sum)) => {
                    let head = Answer { number, body: answer, checksum: sum.finish() };
                    output.store(&head.bytes());
                    output.generate(answer);
                }
                None if rest.is_empty() => break,
                None => {}
            }
        }
        self.pending = rest.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;

    fn sent(output: &mut Output) -> Vec<u8> {
        let mut sent = Vec::new();
        while !output.is_empty() {
            let piece = output.next().to_vec();
            output.advance(piece.len());
            sent.extend_from_slice(&piece);
        }
        sent
    }

    #[test]
    fn every_request_has_its_answer_however_the_bytes_come() {
        let request = |number, body, answer| {
            let head = Request { number, body, answer }.bytes();
            [&head[..], content::at(0, body)].concat()
        };
        let answer = |number, body, of| {
            let head = Answer { number, body, checksum: content::checksum(of) };
            [&head.bytes()[..], content::at(0, body)].concat()
        };
        let input = [request(1, 300, 5), request(2, 0, 0), request(3, 7, 40_000)].concat();
        let expected = [answer(1, 5, 300), answer(2, 0, 0), answer(3, 40_000, 7)].concat();
        for cut in [1, 29, 100_000] {
            let (mut frames, mut output) = (Frames::default(), Output::default());
            let mut found = Vec::new();
            for piece in input.chunks(cut) {
                frames.input(piece, &mut output);
                found.extend(sent(&mut output));
                frames.input(&[], &mut output);
                found.extend(sent(&mut output));
            }
            // What waits behind an answer comes when that is sent.
            frames.input(&[], &mut output);
            found.extend(sent(&mut output));
            assert!(found == expected, "cut {cut}: {} of {}", found.len(), expected.len());
        }
        let (mut frames, mut output) = (Frames::default(), Output::default());
        frames.input(&[b'x'; 100], &mut output);
        assert!(frames.is_closing() && output.is_empty());
    }
}
