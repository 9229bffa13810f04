//! Just enough HTTP/1.1 (RFC 9112) to be measured: requests in order, keep-alive, pipelining.

use super::output::Output;
use crate::content::Checksum;

/// Longest request head; a longer one is answered 431 and the connection closed.
const MAX_HEAD: usize = 8 * 1024;

/// The body of `GET /`.
const GREETING: &[u8] = b"tlsgate-bench backend\n";

/// Server side of one HTTP connection.
#[derive(Debug)]
pub(super) struct Http {
    /// Input that is not dealt with yet: part of a head, or requests behind an unfinished answer.
    pending: Vec<u8>,
    body: Option<Body>,
    closing: bool,
}

/// A request body on its way in.
#[derive(Debug)]
struct Body {
    length: u64,
    left: u64,
    sum: Checksum,
    wanted: bool,
    keep_alive: bool,
}

impl Http {
    pub(super) fn new() -> Self {
        Self { pending: Vec::new(), body: None, closing: false }
    }

    /// Whether the last answer was given: the connection closes once it is sent.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes input and answers every complete request, until an answer has to be sent first.
    pub(super) fn input(&mut self, data: &[u8], output: &mut Output) {
        if self.pending.is_empty() {
            let used = self.consume(data, output);
            self.pending.extend_from_slice(&data[used..]);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(data);
            let used = self.consume(&pending, output);
            pending.drain(..used);
            self.pending = pending;
        }
    }

    /// Returns how many bytes of `data` are dealt with.
    fn consume(&mut self, data: &[u8], output: &mut Output) -> usize {
        let mut used = 0;
        while output.has_room() {
            let rest = &data[used..];
            if self.closing {
                return data.len();
            }
            if self.body.is_some() {
                if rest.is_empty() {
                    break;
                }
                used += self.take_body(rest, output);
            } else if let Some(length) = head_length(rest) {
                self.request(&rest[..length], output);
                used += length;
            } else {
                if rest.len() > MAX_HEAD {
                    self.refuse(output, "431 Request Header Fields Too Large");
                }
                break;
            }
        }
        used
    }

    fn take_body(&mut self, data: &[u8], output: &mut Output) -> usize {
        let Some(body) = &mut self.body else { return 0 };
        let taken = usize::try_from(body.left).unwrap_or(usize::MAX).min(data.len());
        body.sum.update(&data[..taken]);
        body.left -= taken as u64;
        self.finish_body(output);
        taken
    }

    fn finish_body(&mut self, output: &mut Output) {
        let Some(body) = self.body.take_if(|body| body.left == 0) else { return };
        if body.wanted {
            let text = format!("{} {:016x}\n", body.length, body.sum.finish());
            self.answer(output, "200 OK", text.as_bytes(), false, body.keep_alive);
        } else {
            self.answer(output, "404 Not Found", b"not found\n", false, body.keep_alive);
        }
    }

    fn request(&mut self, head: &[u8], output: &mut Output) {
        let Some(request) = Request::parse(head) else {
            return self.refuse(output, "400 Bad Request");
        };
        let without_body = request.method == "HEAD";
        match (request.method, request.target) {
            (_, _) if request.chunked => self.refuse(output, "411 Length Required"),
            ("POST", target) => {
                if request.expects_continue {
                    output.store(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                self.body = Some(Body {
                    length: request.length,
                    left: request.length,
                    sum: Checksum::new(),
                    wanted: target == "/sink",
                    keep_alive: request.keep_alive,
                });
                self.finish_body(output);
            }
            (_, _) if request.length > 0 => self.refuse(output, "413 Content Too Large"),
            ("GET" | "HEAD", "/") => {
                self.answer(output, "200 OK", GREETING, without_body, request.keep_alive);
            }
            ("GET" | "HEAD", target) => match target.strip_prefix("/bytes/").map(str::parse) {
                Some(Ok(bytes)) => {
                    self.head(output, "200 OK", bytes, request.keep_alive);
                    if !without_body {
                        output.generate(bytes);
                    }
                }
                Some(Err(_)) | None => {
                    let text = b"not found\n";
                    self.answer(output, "404 Not Found", text, without_body, request.keep_alive);
                }
            },
            _ => self.refuse(output, "405 Method Not Allowed"),
        }
    }

    /// Answers with an error after which the rest of the input has no known meaning.
    fn refuse(&mut self, output: &mut Output, status: &str) {
        self.answer(output, status, b"", false, false);
    }

    fn answer(
        &mut self,
        output: &mut Output,
        status: &str,
        body: &[u8],
        without_body: bool,
        keep_alive: bool,
    ) {
        self.head(output, status, body.len() as u64, keep_alive);
        if !without_body {
            output.store(body);
        }
    }

    fn head(&mut self, output: &mut Output, status: &str, length: u64, keep_alive: bool) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        self.closing |= !keep_alive;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\
             Content-Type: application/octet-stream\r\nConnection: {connection}\r\n\r\n"
        );
        output.store(head.as_bytes());
    }
}

/// Length of a request head with its empty line, once it is complete.
fn head_length(data: &[u8]) -> Option<usize> {
    let searched = &data[..data.len().min(MAX_HEAD)];
    let ends = searched.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    // A bare line feed ends a line, too (RFC 9112 section 2.2): what people type has no CR.
    ends.map(|(end, _)| end + 1).find_map(|next| match &searched[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Request<'head> {
    method: &'head str,
    target: &'head str,
    length: u64,
    keep_alive: bool,
    chunked: bool,
    expects_continue: bool,
}

impl<'head> Request<'head> {
    fn parse(head: &'head [u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !version.starts_with("HTTP/1.") {
            return None;
        }
        let mut request = Self {
            method,
            target,
            length: 0,
            keep_alive: version != "HTTP/1.0",
            chunked: false,
            expects_continue: false,
        };
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                request.length = value.parse().ok()?;
            } else if name.eq_ignore_ascii_case("connection") {
                request.keep_alive = !value.eq_ignore_ascii_case("close")
                    && (request.keep_alive || value.eq_ignore_ascii_case("keep-alive"));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                request.chunked = true;
            } else if name.eq_ignore_ascii_case("expect") {
                request.expects_continue = value.eq_ignore_ascii_case("100-continue");
            }
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;

    /// Everything the server sends for `input`, given in pieces of `cut` bytes.
    fn talk(input: &[u8], cut: usize) -> (Vec<u8>, bool) {
        let (mut http, mut output, mut seen) = (Http::new(), Output::default(), Vec::new());
        for piece in input.chunks(cut) {
            http.input(piece, &mut output);
            while !output.is_empty() {
                let next = output.next();
                seen.extend_from_slice(next);
                let count = next.len();
                output.advance(count);
                http.input(&[], &mut output);
            }
        }
        (seen, http.is_closing())
    }

    #[test]
    fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
        let body = content::at(0, 3000);
        let mut input = b"GET /bytes/5 HTTP/1.1\r\n\r\nPOST /sink HTTP/1.1\r\n".to_vec();
        input.extend_from_slice(b"content-length: 3000\r\nexpect: 100-continue\r\n\r\n");
        input.extend_from_slice(body);
        input.extend_from_slice(b"HEAD /bytes/9 HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n");
        let (whole, closing) = talk(&input, input.len());
        assert!(closing);
        for cut in [1, 3, 100] {
            assert_eq!(talk(&input, cut), (whole.clone(), true), "cut {cut}");
        }
        let mut expected = Vec::new();
        let mut add = |length: usize, connection: &str, body: &[u8]| {
            expected.extend_from_slice(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: \
                     application/octet-stream\r\nConnection: {connection}\r\n\r\n"
                )
                .as_bytes(),
            );
            expected.extend_from_slice(body);
        };
        add(5, "keep-alive", content::at(0, 5));
        let sum = format!("3000 {:016x}\n", content::checksum(3000));
        add(sum.len(), "keep-alive", sum.as_bytes());
        add(9, "keep-alive", b"");
        add(GREETING.len(), "close", GREETING);
        let continued = b"HTTP/1.1 100 Continue\r\n\r\n";
        let position = whole
            .windows(continued.len())
            .position(|window| window == continued)
            .expect("the interim answer");
        let mut without = whole.clone();
        without.drain(position..position + continued.len());
        assert_eq!(without.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn bad_requests_get_a_status_and_an_end() {
        let huge = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        let cases: [(&[u8], &str); 6] = [
            (b"nonsense\r\n\r\n", "400"),
            (b"GET / HTTP/2\r\n\r\n", "400"),
            (b"PUT / HTTP/1.1\r\n\r\n", "405"),
            (b"GET / HTTP/1.1\r\ncontent-length: 1\r\n\r\n", "413"),
            (b"POST /sink HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "411"),
            (&huge, "431"),
        ];
        for (input, status) in cases {
            let (seen, closing) = talk(input, 4096);
            assert!(closing, "{status}");
            assert!(
                seen.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
                "{status}: {}",
                seen.escape_ascii()
            );
        }
        let (seen, closing) = talk(b"GET / HTTP/1.0\n\n", 1);
        assert!(seen.starts_with(b"HTTP/1.1 200 ") && closing, "typed by hand");
        let (seen, closing) = talk(b"GET /nothing HTTP/1.1\r\n\r\n", 4096);
        assert!(seen.starts_with(b"HTTP/1.1 404 ") && !closing);
    }
}
