//! What a backend does with the bytes of one connection; knows nothing of sockets.

use super::Mode;
use super::frames::Frames;
use super::http::Http;
use super::output::Output;
use super::sip::Sip;
use crate::frame;

#[derive(Debug)]
pub(super) enum Service {
    Echo,
    Http(Http),
    Frames(Frames),
    Sip(Sip),
    /// Holds the first bytes until they tell what the peer speaks; fewer than [`SNIFFED`] bytes.
    Sniff(Vec<u8>),
    Discard,
}

/// What the peer's first bytes must be to be taken for something.
const BEGINNINGS: [(&[u8], Mode); 6] = [
    (b"GET ", Mode::Http),
    (b"HEAD ", Mode::Http),
    (b"POST ", Mode::Http),
    (b"OPTIONS sip:", Mode::Sip),
    (b"REGISTER sip:", Mode::Sip),
    (&frame::MAGIC, Mode::Frames),
];

/// Bytes after which sniffing has an answer: the length of the longest beginning.
const SNIFFED: usize = 13;

impl Service {
    /// Starts serving; may already put output on its way.
    pub(super) fn start(mode: &Mode, output: &mut Output) -> Self {
        match mode {
            Mode::Echo => Self::Echo,
            Mode::Http => Self::Http(Http::new()),
            Mode::Frames => Self::Frames(Frames::default()),
            Mode::Sip => Self::Sip(Sip::default()),
            Mode::Sniff => Self::Sniff(Vec::new()),
            Mode::Greeter { banner } => {
                output.store(banner);
                Self::Echo
            }
            Mode::Discard => Self::Discard,
            Mode::Source { bytes } => {
                output.generate(*bytes);
                Self::Discard
            }
        }
    }

    /// Whether the service finishes its direction as soon as the output is sent, without waiting
    /// for the end of the peer's.
    pub(super) fn finishes_first(&self, mode: &Mode) -> bool {
        match self {
            Self::Http(http) => http.is_closing(),
            Self::Frames(frames) => frames.is_closing(),
            Self::Sip(sip) => sip.is_closing(),
            Self::Discard => matches!(mode, Mode::Source { .. }),
            Self::Echo | Self::Sniff(_) => false,
        }
    }

    /// Whether input is wanted: there is room for the answer.
    pub(super) fn wants_input(&self, output: &Output) -> bool {
        matches!(self, Self::Discard) || output.has_room()
    }

    /// Takes bytes from the peer.
    pub(super) fn input(&mut self, data: &[u8], output: &mut Output) {
        match self {
            Self::Echo => output.store(data),
            Self::Http(http) => http.input(data, output),
            Self::Frames(frames) => frames.input(data, output),
            Self::Sip(sip) => sip.input(data, output),
            Self::Discard => {}
            Self::Sniff(held) => {
                let taken = data.len().min(SNIFFED - held.len());
                held.extend_from_slice(&data[..taken]);
                let undecided = BEGINNINGS.iter().any(|(beginning, _)| {
                    beginning.len() > held.len() && beginning.starts_with(held)
                });
                if !undecided {
                    let held = std::mem::take(held);
                    let known = BEGINNINGS.iter().find(|(start, _)| held.starts_with(start));
                    let mode = known.map_or(&Mode::Echo, |(_, mode)| mode);
                    *self = Self::start(mode, output);
                    self.input(&held, output);
                    self.input(&data[taken..], output);
                }
            }
        }
    }

    /// Output has been sent: goes on with input that had to wait.
    pub(super) fn resume(&mut self, output: &mut Output) {
        match self {
            Self::Http(http) => http.input(&[], output),
            Self::Frames(frames) => frames.input(&[], output),
            Self::Sip(sip) => sip.input(&[], output),
            Self::Echo | Self::Sniff(_) | Self::Discard => {}
        }
    }

    /// The peer will send nothing more.
    pub(super) fn end_of_input(&mut self, output: &mut Output) {
        if let Self::Sniff(held) = self {
            output.store(held);
            *self = Self::Echo;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pieces: &[&[u8]]) -> Vec<u8> {
        let mut output = Output::default();
        let mut service = Service::start(&Mode::Sniff, &mut output);
        pieces.iter().for_each(|piece| service.input(piece, &mut output));
        service.end_of_input(&mut output);
        output.next().to_vec()
    }

    #[test]
    fn sniffing_tells_http_from_the_rest_however_the_bytes_come() {
        assert_eq!(answer(&[b"GE", b"Tting there"]), b"GETting there");
        assert_eq!(answer(&[b"PO"]), b"PO");
        assert_eq!(answer(&[b"\x80"]), b"\x80");
        assert_eq!(answer(&[b"", b"hello"]), b"hello");
        let sip = answer(&[b"OPTIONS sip:", b"a SIP/2.0\r\n\r\n"]);
        assert!(sip.starts_with(b"SIP/2.0 200 OK\r\n"), "{}", sip.escape_ascii());
        assert_eq!(answer(&[b"OPTIONS s", b"ips"]), b"OPTIONS sips");
        let request = frame::Request { number: 7, body: 0, answer: 0 };
        assert!(answer(&[&request.bytes()]).starts_with(&frame::MAGIC));
        let http = answer(&[b"G", b"E", b"T / HTTP/1.1\r\n", b"\r\n"]);
        assert!(http.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", http.escape_ascii());
    }
}
