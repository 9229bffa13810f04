//! One request and its answer, as bytes: what to send, what must come back. No input or output.

use std::collections::VecDeque;

use super::failure::{ErrorKind, Failure};
use super::plan::Workload;
use super::talk::{Reader, Talk};
use crate::content;

/// Bytes of the echo that ends a handshake or idle operation.
const SMALL_ECHO: u64 = 100;

/// Longest HTTP answer head.
const MAX_HEAD: usize = 4096;

/// What all exchanges of a flow have in common, worked out once.
#[derive(Clone, Debug)]
pub(super) enum Template {
    Fixed { head: Vec<u8>, body: u64, expected: Expected },
    Talk(Talk),
}

impl Template {
    /// Of a workload whose echoes are to be `talk`, if there is any.
    pub(super) fn new(workload: &Workload, talk: Option<&Talk>) -> Self {
        let echo = |body| match talk {
            Some(talk) => Self::Talk(talk.clone()),
            None => Self::Fixed { head: Vec::new(), body, expected: Expected::Echo },
        };
        match *workload {
            Workload::Handshakes { .. } | Workload::Reconnect { .. } | Workload::Idle { .. } => {
                echo(SMALL_ECHO)
            }
            Workload::Messages { size, .. } => echo(size),
            Workload::BulkDown { bytes } => Self::Fixed {
                head: format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes(),
                body: 0,
                expected: Expected::Content { head: Some(Vec::new()), bytes, seen: 0 },
            },
            Workload::BulkUp { bytes } => Self::Fixed {
                head: format!(
                    "POST /sink HTTP/1.1\r\nHost: bench\r\nContent-Length: {bytes}\r\n\r\n"
                )
                .into_bytes(),
                body: bytes,
                expected: Expected::Text {
                    head: Some(Vec::new()),
                    text: format!("{bytes} {:016x}\n", content::checksum(bytes)),
                    seen: Vec::new(),
                },
            },
        }
    }

    /// The exchange of one operation. `number` makes echoes differ, so that bytes which end up on
    /// another connection or in another operation do not go unnoticed.
    pub(super) fn exchange(&self, number: u64) -> Exchange {
        let mut answers = VecDeque::new();
        let (offset, head, body, expected) = match self {
            Self::Fixed { head, body, expected } => {
                let offset = match expected {
                    Expected::Echo => number.wrapping_mul(7919) % content::PERIOD as u64,
                    _ => 0,
                };
                (offset, head.clone(), *body, expected.clone())
            }
            Self::Talk(talk) => {
                let (head, readers) = talk.begin(number);
                answers = readers.into();
                (0, head, 0, Expected::Answers)
            }
        };
        Exchange { head, head_sent: 0, offset, body, body_sent: 0, received: 0, expected, answers }
    }
}

/// A request that is being sent while its answer is checked.
#[derive(Debug)]
pub(super) struct Exchange {
    head: Vec<u8>,
    head_sent: usize,
    /// Where in the content stream the body starts.
    offset: u64,
    body: u64,
    body_sent: u64,
    received: u64,
    expected: Expected,
    /// Readers of the answers that are still to come.
    answers: VecDeque<Box<dyn Reader>>,
}

/// The answer that is right. `head` collects the head of an HTTP answer, and is gone behind it.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// The request's body again.
    Echo,
    /// An HTTP answer with `bytes` bytes of content.
    Content { head: Option<Vec<u8>>, bytes: u64, seen: u64 },
    /// An HTTP answer with `text` as its body.
    Text { head: Option<Vec<u8>>, text: String, seen: Vec<u8> },
    /// Those that the exchange's readers read.
    Answers,
}

impl Exchange {
    /// The next bytes to send; empty when everything is sent.
    pub(super) fn output(&self) -> &[u8] {
        if self.head_sent < self.head.len() {
            &self.head[self.head_sent..]
        } else {
            content::at(self.offset.wrapping_add(self.body_sent), self.body - self.body_sent)
        }
    }

    /// Tells that `count` bytes of [`Self::output`] were sent.
    pub(super) fn advance(&mut self, count: usize) {
        if self.head_sent < self.head.len() {
            self.head_sent += count;
        } else {
            self.body_sent += count as u64;
        }
    }

    /// Bytes sent and received so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.head_sent as u64 + self.body_sent, self.received)
    }

    /// Whether request and answer are complete.
    pub(super) fn is_done(&self) -> bool {
        let answered = match &self.expected {
            Expected::Echo => self.received == self.body,
            Expected::Content { head, bytes, seen } => head.is_none() && bytes == seen,
            Expected::Text { head, text, seen } => head.is_none() && text.len() == seen.len(),
            Expected::Answers => self.answers.is_empty(),
        };
        answered && self.output().is_empty()
    }

    /// Takes bytes of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Content`], [`ErrorKind::Http`] or [`ErrorKind::Protocol`] when they are not what
    /// they should be.
    pub(super) fn input(&mut self, data: &[u8]) -> Result<(), Failure> {
        let position = self.received;
        self.received += data.len() as u64;
        match &mut self.expected {
            Expected::Echo => {
                // An echo cannot come before what it echoes, nor be longer.
                let possible = self.received <= self.body_sent;
                if !possible || !content::matches(self.offset.wrapping_add(position), data) {
                    return Err(wrong_content(position));
                }
            }
            Expected::Content { head, bytes, seen } => {
                let body = after_head(head, data, |length| length == *bytes)?;
                let position = *seen;
                *seen += body.len() as u64;
                if *seen > *bytes || !content::matches(position, body) {
                    return Err(wrong_content(position));
                }
            }
            Expected::Text { head, text, seen } => {
                let body = after_head(head, data, |length| length == text.len() as u64)?;
                seen.extend_from_slice(body);
                if !text.as_bytes().starts_with(seen) {
                    let detail = format!(
                        "the backend received '{}', sent was '{}'",
                        seen[..seen.len().min(MAX_HEAD)].escape_ascii(),
                        text.trim_end()
                    );
                    return Err(Failure::new(ErrorKind::Content, detail));
                }
            }
            Expected::Answers => return self.answer(data),
        }
        Ok(())
    }

    fn answer(&mut self, data: &[u8]) -> Result<(), Failure> {
        let mut rest = data;
        while !rest.is_empty() {
            let Some(reader) = self.answers.front_mut() else {
                let detail = format!("{} bytes behind the answer", rest.len());
                return Err(Failure::new(ErrorKind::Protocol, detail));
            };
            let taken = reader.take(rest)?;
            rest = &rest[taken..];
            if reader.is_done() {
                self.answers.pop_front();
            }
        }
        Ok(())
    }
}

fn wrong_content(position: u64) -> Failure {
    let detail = format!("wrong content within the piece at byte {position} of the answer");
    Failure::new(ErrorKind::Content, detail)
}

/// Collects the head of an HTTP answer and checks it once it is complete; returns what of `data`
/// is behind it.
fn after_head<'data>(
    head: &mut Option<Vec<u8>>,
    data: &'data [u8],
    is_right_length: impl Fn(u64) -> bool,
) -> Result<&'data [u8], Failure> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(collected) = head else { return Ok(data) };
    let before = collected.len();
    collected.extend_from_slice(&data[..data.len().min(MAX_HEAD)]);
    let Some(end) = collected.windows(END.len()).position(|window| window == END) else {
        if collected.len() >= MAX_HEAD {
            return Err(Failure::new(ErrorKind::Http, "the head of the answer is too long"));
        }
        return Ok(&[]);
    };
    let text = String::from_utf8_lossy(&collected[..end]);
    let right =
        text.starts_with("HTTP/1.1 200 ") && content_length(&text).is_some_and(is_right_length);
    if !right {
        let line = text.lines().next().unwrap_or_default();
        let detail = format!("'{line}' with a body of {:?} bytes", content_length(&text));
        return Err(Failure::new(ErrorKind::Http, detail));
    }
    *head = None;
    Ok(&data[end + END.len() - before..])
}

fn content_length(head: &str) -> Option<u64> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_all(exchange: &mut Exchange) -> Vec<u8> {
        let mut sent = Vec::new();
        while !exchange.output().is_empty() {
            let piece = exchange.output().to_vec();
            exchange.advance(piece.len());
            sent.extend_from_slice(&piece);
        }
        sent
    }

    fn messages(size: u64) -> Template {
        Template::new(&Workload::Messages { size, per_connection_rate: None }, None)
    }

    #[test]
    fn an_echo_is_done_when_every_byte_came_back() {
        let mut exchange = messages(200_000).exchange(3);
        let sent = send_all(&mut exchange);
        assert_eq!(sent.len(), 200_000);
        for piece in sent.chunks(777) {
            assert!(!exchange.is_done());
            exchange.input(piece).expect("the same bytes");
        }
        assert!(exchange.is_done());
        assert_eq!(exchange.bytes(), (200_000, 200_000));
        assert!(exchange.input(b"x").is_err(), "one byte too many");
    }

    #[test]
    fn the_echo_of_another_operation_is_wrong() {
        let template = messages(100);
        let sent = send_all(&mut template.exchange(1));
        let mut exchange = template.exchange(2);
        send_all(&mut exchange);
        assert_eq!(exchange.input(&sent).expect_err("wrong").kind, ErrorKind::Content);
        let mut early = template.exchange(1);
        assert_eq!(early.input(&sent).expect_err("not sent yet").kind, ErrorKind::Content);
    }

    fn answer(workload: Workload, answer: &[u8], cut: usize) -> Result<bool, ErrorKind> {
        let mut exchange = Template::new(&workload, None).exchange(1);
        send_all(&mut exchange);
        for piece in answer.chunks(cut) {
            exchange.input(piece).map_err(|failure| failure.kind)?;
        }
        Ok(exchange.is_done())
    }

    #[test]
    fn downloads_are_checked_for_status_length_and_content() {
        let down = Workload::BulkDown { bytes: 10 };
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
        let good = [head.as_slice(), content::at(0, 10)].concat();
        for cut in [1, 2, good.len()] {
            assert_eq!(answer(down, &good, cut), Ok(true), "cut {cut}");
        }
        assert_eq!(answer(down, &good[..good.len() - 1], 5), Ok(false));
        let wrong = [head.as_slice(), content::at(1, 10)].concat();
        assert_eq!(answer(down, &wrong, 99), Err(ErrorKind::Content));
        let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n";
        assert_eq!(answer(down, missing, 99), Err(ErrorKind::Http));
        let short = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        assert_eq!(answer(down, short, 99), Err(ErrorKind::Http));
        assert_eq!(answer(down, &[b'x'; 2 * MAX_HEAD], 1000), Err(ErrorKind::Http));
    }

    #[test]
    fn uploads_are_checked_by_the_sum_that_the_backend_answers() {
        let up = Workload::BulkUp { bytes: 70_000 };
        let text = format!("70000 {:016x}\n", content::checksum(70_000));
        let good = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        assert_eq!(answer(up, good.as_bytes(), 3), Ok(true));
        let wrong = good.replace("70000 ", "70001 ");
        assert_eq!(answer(up, wrong.as_bytes(), 3), Err(ErrorKind::Content));
    }
}
