//! Answers requests of SIP over a stream (RFC 3261) with 200, as much as a client that measures needs:
//! no dialogs, no registrations, no bodies in answers.

use super::output::Output;

/// Longest request head.
const MAX_HEAD: usize = 16 * 1024;

/// Server side of one connection.
#[derive(Debug, Default)]
pub(super) struct Sip {
    /// Input that waits.
    pending: Vec<u8>,
    /// Bytes of a body that are to be skipped.
    skip: u64,
    is_broken: bool,
}

impl Sip {
    /// The peer broke the protocol: the connection closes.
    pub(super) fn is_closing(&self) -> bool {
        self.is_broken
    }

    /// Takes input and answers every complete request, until answers have to be sent first.
    pub(super) fn input(&mut self, data: &[u8], output: &mut Output) {
        self.pending.extend_from_slice(data);
        let mut used = 0;
        while output.has_room() && !self.is_broken {
            let rest = &self.pending[used..];
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
            if skipped > 0 {
                self.skip -= skipped as u64;
                used += skipped;
                continue;
            }
            // RFC 3261 §7.5: line ends before a message.
            if rest.starts_with(b"\r\n") {
                used += 2;
                continue;
            }
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.is_broken = rest.len() > MAX_HEAD;
                break;
            };
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            used += end + 4;
            match answer(&head) {
                Some((text, body)) => {
                    output.store(text.as_bytes());
                    self.skip = body;
                }
                None => self.is_broken = true,
            }
        }
        self.pending.drain(..used);
    }
}

/// The answer to a request and the length of the request's body; none when it is no request.
fn answer(head: &str) -> Option<(String, u64)> {
    let mut lines = head.lines();
    let first = lines.next()?;
    if !first.ends_with(" SIP/2.0") {
        return None;
    }
    let headers: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let mut text = "SIP/2.0 200 OK\r\n".to_owned();
    // RFC 3261 §8.2.6.2: what an answer takes over from its request.
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        for (_, value) in headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)) {
            let tag = if name == "To" && !value.contains(";tag=") { ";tag=bench" } else { "" };
            text += &format!("{name}: {value}{tag}\r\n");
        }
    }
    text += "Content-Length: 0\r\n\r\n";
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    let body = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    Some((text, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_with_what_they_said() {
        let request = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TLS b;branch=z9hG4bK1\r\nFrom: <sip:c>;tag=1\r\n\
                       To: <sip:a>\r\nCall-ID: d\r\nCSeq: 5 OPTIONS\r\nContent-Length: 3\r\n\r\nabc";
        let input = format!("\r\n{request}{request}");
        for cut in [1, 50, 1_000] {
            let (mut sip, mut output) = (Sip::default(), Output::default());
            input.as_bytes().chunks(cut).for_each(|piece| sip.input(piece, &mut output));
            let text = String::from_utf8(output.next().to_vec()).expect("text");
            assert_eq!(text.matches("SIP/2.0 200 OK\r\n").count(), 2, "cut {cut}: {text}");
            assert!(
                text.contains("Call-ID: d\r\nCSeq: 5 OPTIONS\r\n")
                    && text.contains("To: <sip:a>;tag=")
            );
        }
        let (mut sip, mut output) = (Sip::default(), Output::default());
        sip.input(b"GET / HTTP/1.1\r\n\r\n", &mut output);
        assert!(sip.is_closing() && output.is_empty());
    }
}
