//! SIP over a stream (RFC 3261): OPTIONS and REGISTER, and whether the answer is one to them.

use super::{Head, Reader, SipMethod, header, wrong};
use crate::client::failure::Failure;

/// Where a request is made longer.
const PAD: &str = "Subject: ";
const END: &str = "Content-Length: 0\r\n\r\n";

/// `number` makes the transaction, `size` is what the request is padded to.
pub(super) fn begin(
    method: SipMethod,
    domain: &str,
    number: u64,
    size: u64,
    out: &mut Vec<u8>,
) -> Sip {
    let call = format!("{number:016x}@tlsgate-bench");
    let sequence = number % (1 << 31);
    let (word, to, more) = match method {
        SipMethod::Options => ("OPTIONS", format!("sip:{domain}"), "Accept: application/sdp\r\n"),
        // RFC 3261 §10.2: To is whose registration it is, From who registers.
        SipMethod::Register => ("REGISTER", format!("sip:bench@{domain}"), "Expires: 300\r\n"),
    };
    let head = format!(
        "{word} sip:{domain} SIP/2.0\r\n\
         Via: SIP/2.0/TLS client.invalid;branch=z9hG4bK{number:016x}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bench@{domain}>;tag={number:x}\r\nTo: <{to}>\r\n\
         Call-ID: {call}\r\nCSeq: {sequence} {word}\r\n\
         Contact: <sip:bench@client.invalid;transport=tls>\r\n{more}"
    );
    out.extend_from_slice(head.as_bytes());
    let length = head.len() + END.len() + PAD.len() + 2;
    if let Some(missing) = usize::try_from(size).ok().and_then(|size| size.checked_sub(length)) {
        out.extend_from_slice(format!("{PAD}{}\r\n", "x".repeat(missing)).as_bytes());
    }
    out.extend_from_slice(END.as_bytes());
    Sip {
        call,
        sequence: format!("{sequence} {word}"),
        head: Head::default(),
        left: 0,
        ended: false,
    }
}

/// Answers up to the final one.
#[derive(Debug)]
pub(super) struct Sip {
    call: String,
    sequence: String,
    head: Head,
    /// Bytes of a body that are still to come.
    left: u64,
    /// The head of the final answer is there.
    ended: bool,
}

impl Reader for Sip {
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure> {
        if self.left > 0 {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
            self.left -= taken as u64;
            return Ok(taken);
        }
        let (taken, Some(text)) = self.head.take(data)? else { return Ok(data.len()) };
        // RFC 3261 §7.5: line ends before a message are to be ignored; they keep a stream alive.
        let text = text.trim_start();
        if text.is_empty() {
            return Ok(taken);
        }
        let line = text.lines().next().unwrap_or_default();
        let status =
            line.strip_prefix("SIP/2.0 ").ok_or_else(|| wrong(format!("'{line}' is not SIP")))?;
        for (names, wanted) in [(["Call-ID", "i"], &self.call), (["CSeq", "CSeq"], &self.sequence)]
        {
            let found = header(text, &names).unwrap_or_default();
            if found != wanted {
                let [name, _] = names;
                return Err(wrong(format!("{name} '{found}' instead of '{wanted}'")));
            }
        }
        let length = header(text, &["Content-Length", "l"]).and_then(|value| value.parse().ok());
        // RFC 3261 §18.3: streams need it.
        self.left = length.ok_or_else(|| wrong("an answer without Content-Length"))?;
        match status.as_bytes().first() {
            Some(b'1') => {}
            _ if status.starts_with("200") => self.ended = true,
            _ => return Err(wrong(format!("the server said '{line}'"))),
        }
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.ended && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn request(method: SipMethod, size: u64) -> (Sip, String) {
        let mut out = Vec::new();
        let sip = begin(method, "example.org", 0xabc, size, &mut out);
        (sip, String::from_utf8(out).expect("text"))
    }

    fn answer(status: &str, call: &str, sequence: &str, body: &str) -> String {
        format!(
            "SIP/2.0 {status}\r\ni: {call}\r\nCSeq: {sequence}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_request_has_what_it_must_and_the_size_that_is_wanted() {
        for (method, word) in [(SipMethod::Options, "OPTIONS"), (SipMethod::Register, "REGISTER")] {
            let (_, text) = request(method, 800);
            assert_eq!(text.len(), 800);
            assert!(text.starts_with(&format!("{word} sip:example.org SIP/2.0\r\n")), "{text}");
            for name in ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Content-Length"] {
                assert!(header(&text, &[name]).is_some(), "{name}: {text}");
            }
            let (_, small) = request(method, 1);
            assert!(small.len() < 500 && small.ends_with("\r\n\r\n"), "{small}");
        }
    }

    #[test]
    fn only_the_final_answer_to_this_request_ends_it() {
        let call = "0000000000000abc@tlsgate-bench";
        let with = |text: &str, cut| read(request(SipMethod::Options, 1).0, text.as_bytes(), cut);
        let good = answer("200 OK", call, "2748 OPTIONS", "v=0");
        let trying = answer("100 Trying", call, "2748 OPTIONS", "");
        let both = format!("\r\n\r\n{trying}{good}");
        for cut in [1, 5, 10_000] {
            assert_eq!(with(&both, cut), Ok((true, both.len())), "{cut}");
            assert_eq!(with(&trying, cut), Ok((false, trying.len())), "{cut}");
        }
        for (wrong, part) in [
            (answer("403 No", call, "2748 OPTIONS", ""), "403 No"),
            (answer("200 OK", "another", "2748 OPTIONS", ""), "Call-ID 'another'"),
            (answer("200 OK", call, "9 OPTIONS", ""), "CSeq '9 OPTIONS'"),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "is not SIP"),
            (good.replace("Content-Length", "X"), "without Content-Length"),
        ] {
            let said = with(&wrong, 3).expect_err("wrong");
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
