//! HTTP/1.1 (RFC 9112), as far as a client that polls needs it.

use super::{Head, Reader, header, wrong};
use crate::client::failure::{ErrorKind, Failure};

pub(super) fn begin(path: &str, host: &str, out: &mut Vec<u8>) -> Http {
    const AGENT: &str = "\r\nUser-Agent: tlsgate-bench\r\n\r\n";
    let parts = ["GET ", path, " HTTP/1.1\r\nHost: ", host, AGENT];
    out.reserve(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    Http { head: Some(Head::default()), left: 0 }
}

/// The head, then as many bytes as it says.
#[derive(Debug)]
pub(super) struct Http {
    head: Option<Head>,
    left: u64,
}

impl Reader for Http {
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let Some(head) = &mut self.head else {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
            self.left -= taken as u64;
            return Ok(taken);
        };
        let (taken, Some(text)) = head.take(data)? else { return Ok(data.len()) };
        let line = text.lines().next().unwrap_or_default();
        if !line.starts_with("HTTP/1.1 200 ") && line != "HTTP/1.1 200" {
            return Err(Failure::new(ErrorKind::Http, format!("the server said '{line}'")));
        }
        let length = header(&text, &["content-length"]).and_then(|value| value.parse().ok());
        self.left = length.ok_or_else(|| wrong("an answer without Content-Length"))?;
        self.head = None;
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.head.is_none() && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn answer(text: &str, cut: usize) -> Result<(bool, usize), String> {
        read(begin("/", "a", &mut Vec::new()), text.as_bytes(), cut)
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let good = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello";
        for cut in [1, 2, 3, 1000] {
            assert_eq!(answer(good, cut), Ok((true, good.len())), "{cut}");
            assert_eq!(answer(&format!("{good}HTTP"), cut), Ok((true, good.len())), "{cut}");
        }
        assert_eq!(answer(&good[..good.len() - 1], 7).map(|(done, _)| done), Ok(false));
        assert!(
            answer("HTTP/1.1 503 Busy\r\n\r\n", 9).is_err_and(|text| text.contains("503 Busy"))
        );
        assert!(answer("HTTP/1.1 200 OK\r\n\r\n", 9).is_err(), "no length");
        assert!(answer(&"x".repeat(20_000), 999).is_err(), "no end");
    }
}
