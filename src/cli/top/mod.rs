//! `tlsgate top`: what the page shows, in a terminal.
//!
//! Everything is one long list of lines that is scrolled through, so that a frame for scripts and one
//! for people are the same.

mod fetch;
mod frame;
mod terminal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, print};
use crate::admin::page::view::Data;
use crate::app;
use crate::telemetry::past::{MOMENTS, Moment};
use terminal::{Key, Terminal};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file of the gateway: its admin.listen says where to ask
    #[arg(short = 'c', long = "config", value_name = "FILE", required_unless_present = "admin")]
    config: Option<PathBuf>,
    /// Admin port of the gateway, instead of the one that the file names
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Show the times of this listener instead of the busiest
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// Show only links, routes and what expires that have this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    search: String,
    /// Print one frame, with the rates of a second, and end
    #[arg(long)]
    once: bool,
}

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows frames until somebody has seen enough.
pub(super) fn top(options: &Options) -> Exit {
    let address = match address(options) {
        Ok(address) => address,
        Err((error, exit)) => return failed(&error, exit),
    };
    let mut seen = Seen::new(address, options);
    if options.once {
        return match once(&mut seen) {
            Ok(text) => print(&text),
            Err(error) => failed(&error, Exit::Failure),
        };
    }
    match watch(&mut seen) {
        Ok(()) => Exit::Success,
        Err(error) => failed(&error, Exit::Failure),
    }
}

fn failed(error: &str, exit: Exit) -> Exit {
    eprintln!("{error}");
    exit
}

fn address(options: &Options) -> Result<SocketAddr, (String, Exit)> {
    let file = match (options.admin, &options.config) {
        (Some(address), _) => return Ok(address),
        (None, Some(file)) => file,
        (None, None) => return Err(("neither a file nor an address".to_owned(), Exit::Failure)),
    };
    let (_, config) = app::read(file).map_err(|error| (error.to_string(), Exit::from(&error)))?;
    let without = || (format!("{}: the admin port is off", file.display()), Exit::Failure);
    config.admin.listen.ok_or_else(without)
}

/// What was read so far.
struct Seen {
    address: SocketAddr,
    listener: Option<String>,
    search: String,
    data: Option<Data>,
    moments: Vec<Moment>,
}

impl Seen {
    fn new(address: SocketAddr, options: &Options) -> Self {
        let (listener, search) = (options.listener.clone(), options.search.clone());
        Self { address, listener, search, data: None, moments: Vec::new() }
    }

    /// Looks again.
    fn look(&mut self) -> Result<(), String> {
        let mut query = format!("search={}", fetch::encoded(&self.search));
        if let Some(listener) = &self.listener {
            query += &format!("&listener={}", fetch::encoded(listener));
        }
        if let Some(last) = self.moments.last() {
            query += &format!("&since={}", last.number);
        }
        let data: Data = fetch::get(self.address, &query)?;
        let is_another = self
            .data
            .as_ref()
            .is_some_and(|before| before.live.started_unix_ms != data.live.started_unix_ms);
        if is_another {
            // Its moments are numbered anew, and the next look has all of them.
            self.moments.clear();
        } else {
            self.moments.extend(&data.moments);
        }
        let first = self.moments.len().saturating_sub(MOMENTS);
        self.moments.drain(..first);
        self.data = Some(data);
        Ok(())
    }

    /// All that was seen, as lines; none before the first look.
    fn lines(&self) -> Vec<frame::Line> {
        self.data.as_ref().map_or_else(Vec::new, |data| frame::lines(data, &self.moments))
    }

    /// From now on the listener after the one whose times are shown.
    fn next_listener(&mut self) {
        let Some(data) = &self.data else { return };
        let rows = &data.live.listeners.rows;
        let shown = data.listener.as_ref().map(|detail| &detail.name);
        let place = rows.iter().position(|row| Some(&row.name) == shown);
        let next = place.map_or(0, |place| (place + 1) % rows.len());
        self.listener = rows.get(next).map(|row| row.name.clone());
    }
}

/// One frame as text. Rates need two looks, a second apart.
fn once(seen: &mut Seen) -> Result<String, String> {
    seen.look()?;
    terminal::wait(EVERY).map_err(|error| error.to_string())?;
    seen.look()?;
    Ok(seen.lines().into_iter().map(|line| line.text + "\n").collect())
}

/// Frames until `q`.
fn watch(seen: &mut Seen) -> Result<(), String> {
    // Before the terminal is taken, so that a wrong address is told as ever.
    seen.look()?;
    let mut terminal = Terminal::take().map_err(|error| format!("no terminal: {error}"))?;
    let (mut scrolled, mut trouble) = (0, None::<String>);
    loop {
        let drawn = terminal.draw(&seen.lines(), scrolled, trouble.as_deref());
        scrolled = drawn.map_err(|error| error.to_string())?;
        match terminal.key(EVERY).map_err(|error| error.to_string())? {
            Some(Key::End) => return Ok(()),
            Some(Key::Scroll(by)) => scrolled = scrolled.saturating_add_signed(by),
            Some(Key::First) => scrolled = 0,
            Some(Key::Listener) => {
                seen.next_listener();
                trouble = seen.look().err();
            }
            Some(Key::Other) => {}
            None => trouble = seen.look().err(),
        }
    }
}
