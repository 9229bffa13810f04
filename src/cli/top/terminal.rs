//! A terminal that is drawn on: taken over and given back, keys one by one. Plain control sequences
//! that every terminal has (ECMA-48, and xterm's for the other screen); a library for this would be
//! larger than all of `tlsgate top`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::frame::{Line, Look};

/// The other screen, and no cursor; and back.
const TAKE: &str = "\x1b[?1049h\x1b[?25l";
const GIVE_BACK: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
const HELP: &str = "q ends · ↑ ↓ space b scroll · g begin · n next listener";

/// Owner of the screen; gives it back when dropped.
pub(super) struct Terminal {
    before: Termios,
    /// A signal wants the program to end.
    ended: Arc<AtomicBool>,
    /// Rows that were drawn last, for scrolling by a page.
    page: usize,
    has_colours: bool,
    /// Read, and not yet told.
    keys: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    End,
    /// By so many lines.
    Scroll(isize),
    First,
    Listener,
    Other,
}

/// Returns after that time, or at a signal.
pub(super) fn wait(time: Duration) -> io::Result<()> {
    match poll(&mut [], Some(&timespec(time))) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time).expect("a second or less")
}

impl Terminal {
    pub(super) fn take() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("the output goes elsewhere: use --once"));
        }
        let before = tcgetattr(io::stdin())?;
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ended))?;
        }
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Self { before, ended, page: 1, has_colours, keys: Vec::new() };
        write(TAKE)?;
        Ok(terminal)
    }

    /// Draws what there is room for, from the line `scrolled` on, and says which one that was.
    pub(super) fn draw(
        &mut self,
        lines: &[Line],
        scrolled: usize,
        trouble: Option<&str>,
    ) -> io::Result<usize> {
        let size = tcgetwinsize(io::stdout())?;
        let (rows, columns) = (usize::from(size.ws_row).max(3), usize::from(size.ws_col).max(20));
        self.page = rows - 1;
        let scrolled = scrolled.min(lines.len().saturating_sub(self.page));
        // The first line always, so that it is seen whose figures these are.
        let first = lines.first().into_iter();
        let rest = lines.iter().skip(scrolled + 1).take(self.page - 1);
        let mut text = HOME.to_owned();
        for line in first.chain(rest) {
            text += &self.painted(&line.text, line.look, columns);
            text += "\r\n";
        }
        text += &match trouble {
            Some(trouble) => self.painted(&format!("! {trouble}"), Look::Bad, columns),
            None => self.painted(HELP, Look::Faint, columns),
        };
        write(&(text + CLEAR_REST))?;
        Ok(scrolled)
    }

    /// What fits.
    fn painted(&self, text: &str, look: Look, columns: usize) -> String {
        let text: String = text.chars().take(columns).collect();
        match look.sequence().filter(|_| self.has_colours) {
            Some(sequence) => format!("{sequence}{text}\x1b[0m{CLEAR_LINE}"),
            None => text + CLEAR_LINE,
        }
    }

    /// The next key, or none within `time`.
    pub(super) fn key(&mut self, time: Duration) -> io::Result<Option<Key>> {
        // A signal may have come while something else was waited for.
        if self.ended.load(Ordering::Relaxed) {
            return Ok(Some(Key::End));
        }
        if !self.keys.is_empty() {
            return Ok(Some(self.next_key()));
        }
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut ready, Some(&timespec(time))) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let mut bytes = [0; 16];
                // Not through std's buffer, which would keep what poll looks for.
                let count = rustix::io::read(&stdin, &mut bytes)?;
                self.keys.extend(&bytes[..count]);
                Ok(Some(self.next_key()))
            }
            Err(Errno::INTR) if self.ended.load(Ordering::Relaxed) => Ok(Some(Key::End)),
            // A window of another size.
            Err(Errno::INTR) => Ok(Some(Key::Other)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Terminal {
    fn next_key(&mut self) -> Key {
        let bytes: Vec<u8> = self.keys.drain(..first_key(&self.keys)).collect();
        key(&bytes, self.page)
    }
}

/// Bytes of the first key: one, but for those that begin with ESC and end with a letter or a tilde.
fn first_key(bytes: &[u8]) -> usize {
    let is_sequence = matches!(bytes, [0x1b, b'[' | b'O', ..]);
    let end = bytes.iter().skip(2).position(|byte| (0x40..=0x7e).contains(byte));
    if is_sequence { end.map_or(bytes.len(), |end| end + 3) } else { bytes.len().min(1) }
}

/// What was pressed; nothing at all means that the terminal is gone.
fn key(bytes: &[u8], page: usize) -> Key {
    let page = isize::try_from(page.max(2) - 1).unwrap_or(1);
    match bytes {
        [] | b"q" | b"Q" | [3] => Key::End,
        b"j" | b"\x1b[B" | b"\x1bOB" => Key::Scroll(1),
        b"k" | b"\x1b[A" | b"\x1bOA" => Key::Scroll(-1),
        b" " | b"\x1b[6~" => Key::Scroll(page),
        b"b" | b"\x1b[5~" => Key::Scroll(-page),
        b"g" | b"\x1b[H" | b"\x1b[1~" => Key::First,
        b"n" | b"\t" => Key::Listener,
        _ => Key::Other,
    }
}

impl Look {
    /// How a terminal is told.
    const fn sequence(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Head => Some("\x1b[1m"),
            Self::Faint => Some("\x1b[2m"),
            Self::Warning => Some("\x1b[33m"),
            Self::Bad => Some("\x1b[1;31m"),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be given back.
        let _gone = write(GIVE_BACK);
        let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(key(b"", 10), Key::End);
        assert_eq!(key(b"\x03", 10), Key::End);
        assert_eq!(key(b"\x1b[A", 10), Key::Scroll(-1));
        assert_eq!(key(b" ", 10), Key::Scroll(9));
        assert_eq!(key(b"b", 0), Key::Scroll(-1));
        assert_eq!(key(b"\t", 10), Key::Listener);
        assert_eq!(key(b"\x1b[99~", 10), Key::Other);
        // Several at once.
        assert_eq!(
            [&b""[..], b"  ", b"\x1b[B\x1b[B", b"\x1b[6~q", b"\x1b"].map(first_key),
            [0, 1, 3, 4, 1]
        );
    }
}
