//! Puts a header together from bytes that come in any pieces.

use super::{Header, MAX_HEADER, ProxyError, v1, v2};

/// Takes a header off the start of a stream.
#[derive(Debug, Default)]
pub struct Reader {
    versions: Versions,
    /// What has come of it.
    held: Vec<u8>,
}

/// Which headers count as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    One,
    Two,
    #[default]
    Any,
}

/// How far a [`Reader`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All input was taken and the header is not complete.
    NeedMore,
    /// Bytes of the input after `consumed` are not part of the header.
    Complete { consumed: usize, header: Box<Header> },
    /// The stream does not begin with a header of a version that is read. It begins with
    /// [`Reader::held`], and goes on with the input, of which nothing was taken.
    Absent,
}

impl Reader {
    /// A reader that has seen nothing and holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, for these versions.
    pub fn of(versions: Versions) -> Self {
        Self { versions, held: Vec::new() }
    }

    /// Takes the next bytes of the stream. After anything but [`Progress::NeedMore`] the reader is
    /// not to be fed any more.
    ///
    /// # Errors
    /// As soon as the stream, which begins as a header does, cannot become one.
    pub fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError> {
        let before = self.held.len();
        let room = MAX_HEADER.saturating_sub(before);
        // Kept until it is known how much of it belongs to the header.
        self.held.extend_from_slice(&input[..input.len().min(room)]);
        let length = match length(&self.held, self.versions) {
            Ok(length) => length,
            Err(NotThere) => {
                self.held.truncate(before);
                return Ok(Progress::Absent);
            }
        };
        let Some((version, length)) = length? else { return Ok(Progress::NeedMore) };
        let Some(bytes) = self.held.get(..length) else { return Ok(Progress::NeedMore) };
        let header = match version {
            Version::One => v1::parse(bytes)?,
            Version::Two => v2::parse(bytes)?,
        };
        Ok(Progress::Complete { consumed: length - before, header: Box::new(header) })
    }

    /// What was taken so far.
    pub fn held(&self) -> &[u8] {
        &self.held
    }
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The stream begins with something else.
struct NotThere;

/// Version and length of the header that a stream begins with; `None` if more must come to tell.
fn length(
    stream: &[u8],
    versions: Versions,
) -> Result<Result<Option<(Version, usize)>, ProxyError>, NotThere> {
    let begins = |start: &[u8]| {
        let common = start.len().min(stream.len());
        stream[..common] == start[..common]
    };
    if versions != Versions::Two && begins(v1::START) {
        return Ok(v1::length(stream).map(|length| Some((Version::One, length?))));
    }
    if versions != Versions::One && begins(v2::SIGNATURE) {
        return Ok(v2::length(stream).map(|length| Some((Version::Two, length?))));
    }
    Err(NotThere)
}
