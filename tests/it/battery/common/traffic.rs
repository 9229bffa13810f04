//! Bytes and ends: C1, C9, C10.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::super::case::Case;
use super::super::component::{Component, Manner, WORD};
use super::super::estate::{Bench, Estate, Route, Row};
use super::super::pki::{Leaf, pki};
use super::super::report::Part;
use super::super::script::noise;
use super::super::stream::{Stream, VERSIONS, server};
use super::{Tried, usual_client, variant};
use crate::support::backend::dead_address;
use crate::support::{Engine, SOON, sized, wait_for, wait_until};

/// What a component must show when it is down: within a second.
const DOWN: Duration = Duration::from_secs(1);

/// C1: messages of all sizes both ways, either end first, and RST from either side.
pub(crate) fn bytes(engine: Engine, report: &mut Part) {
    let cases = Case::representatives();
    let estate = Estate::start(engine, &cases);
    let identity = pki().leaf("battery client");
    let largest = sized(16 << 20, 1 << 20);
    let sizes = [1, 2, 1_023, 16_384, 16_385, 65_537, largest];
    for row in &estate.rows {
        let tls = usual_client(&row.case.combination, &identity);
        let carried = Carried { estate: &estate, row, tls };
        carried.messages(&sizes);
        carried.component_ends_first();
        carried.component_resets();
        carried.client_resets();
        report.ran_on_combination(&row.case.combination, &["C1"]);
    }
}

struct Carried<'a> {
    estate: &'a Estate,
    row: &'a Row,
    tls: Option<Arc<ClientConfig>>,
}

impl Carried<'_> {
    fn connect(&self, manner: Manner) -> Stream {
        self.row.component.be(manner);
        Stream::connect(self.row.route.entrance, self.tls.as_ref())
            .unwrap_or_else(|error| panic!("{}: {error}", self.row.case))
    }

    /// Each goes there and comes back, byte for byte; the client ends first.
    fn messages(&self, sizes: &[usize]) {
        let mut stream = self.connect(Manner::Echo);
        let mut sent = 0;
        for &size in sizes {
            let message = noise(size, 7);
            exchange(&mut stream, &message)
                .unwrap_or_else(|error| panic!("{}: {size} bytes: {error}", self.row.case));
            sent += size as u64;
        }
        stream.end().expect("an open socket");
        assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0, "{}", self.row.case);
        let line = self.estate.served.line(&self.row.route.listener, stream.local());
        line.assert_ended("finished", "downstream", "relay");
        let counted = [line.number("bytes_received"), line.number("bytes_sent")];
        assert_eq!(counted, [sent; 2], "{line:?}");
        wait_until("the component has heard it all", SOON, || {
            self.row.component.heard() == Some(sent)
        });
    }

    /// The client still speaks when the component has ended.
    fn component_ends_first(&self) {
        let mut stream = self.connect(Manner::EndFirst);
        // Autodetect waits for the client's first byte in plaintext only, and so does nobody here.
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("an orderly end");
        assert_eq!(heard, WORD, "{}", self.row.case);
        let rest = noise(5_000, 8);
        stream.write_all(&rest).and_then(|()| stream.flush()).expect("the other way is open");
        stream.end().expect("an open socket");
        wait_until("the component has heard the rest", SOON, || {
            self.row.component.heard() == Some(5_000)
        });
        let line = self.estate.served.line(&self.row.route.listener, stream.local());
        line.assert_ended("finished", "upstream", "relay");
    }

    /// RST of the component comes out as one.
    fn component_resets(&self) {
        let mut stream = self.connect(Manner::Reset);
        let peer = stream.local();
        stream.write_all(b"x").and_then(|()| stream.flush()).expect("sent");
        let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{}", self.row.case);
        let line = self.estate.served.line(&self.row.route.listener, peer);
        line.assert_ended("reset", "upstream", "relay");
    }

    /// The component does not hear of an orderly end.
    fn client_resets(&self) {
        let mut stream = self.connect(Manner::Echo);
        exchange(&mut stream, b"alive").expect("an echo");
        let peer = stream.local();
        stream.reset();
        let line = self.estate.served.line(&self.row.route.listener, peer);
        line.assert_ended("reset", "downstream", "relay");
        assert_eq!(self.row.component.heard(), None, "{}", self.row.case);
    }
}

/// Sends a message and reads it back, at the same time: neither side has room for all of it.
pub(crate) fn exchange(stream: &mut Stream, message: &[u8]) -> io::Result<()> {
    const PART: usize = 32 * 1024;
    let mut answer = vec![0; PART];
    for part in message.chunks(PART) {
        stream.write_all(part)?;
        stream.flush()?;
        stream.read_exact(&mut answer[..part.len()])?;
        if answer[..part.len()] != *part {
            return Err(io::Error::new(ErrorKind::InvalidData, "the echo is another one"));
        }
    }
    Ok(())
}

/// C9: a component that is down looks down within a second; of a primary and a backup each has to
/// have its own name.
pub(crate) fn down(engine: Engine, report: &mut Part) {
    let cases = Case::representatives();
    let identity = pki().leaf("battery client");
    let mut bench = Bench::new(engine);
    let backups = Backups::start();
    let mut routes = Vec::new();
    for case in &cases {
        let dead = bench.add(case, &variant(case, "dead"), dead_address(), |_| ());
        let pair = case.combination.has_upstream_tls().then(|| backups.add(&mut bench, case));
        routes.push((case, dead, pair));
    }
    let served = bench.start();
    for (case, dead, pair) in &routes {
        let tls = usual_client(&case.combination, &identity);
        let begin = Instant::now();
        let tried = Tried::at(dead.entrance, tls.as_ref());
        let (peer, error) = tried.fails(&format!("{case}: dead"));
        assert!(begin.elapsed() < DOWN, "{case}: {error} after {:?}", begin.elapsed());
        let line = match &dead.exit {
            // The one beside the component sees that it is down; who dialled it is the other.
            Some((exit, _)) => wait_for("the other gateway's line", SOON, || {
                served.gateway.lines().into_iter().find(|line| line.text("listener") == exit)
            }),
            None => served.line(&dead.listener, peer),
        };
        let told = [line.text("reason"), line.text("cause")];
        assert_eq!(told, ["upstream_refused", "upstream"], "{line:?}");
        report.ran_on_combination(&case.combination, &["C9"]);
        let Some([good, bad]) = pair else { continue };
        let peer = Tried::at(good.entrance, tls.as_ref()).succeeds(&format!("{case}: its backup"));
        let line = served.line(&good.listener, peer);
        assert_eq!(line.text("upstream"), backups.good.address().to_string(), "{line:?}");
        let tried = Tried::at(bad.entrance, tls.as_ref());
        let (peer, _) = tried.fails(&format!("{case}: a backup with the primary's certificate"));
        let line = served.line(&bad.listener, peer);
        assert!(line.text("detail").starts_with("wrong_name"), "{line:?}");
        report.ran_on_combination(&case.combination, &["C9 names"]);
    }
}

/// Backups of a primary that is down: one with a certificate of its own address, and one with the
/// primary's.
struct Backups {
    good: Component,
    bad: Component,
}

impl Backups {
    const ADDRESS: &str = "127.0.0.2";

    fn start() -> Self {
        let start = |leaf: Leaf| {
            let tls = server(&leaf, false, &VERSIONS);
            Component::start_at(Self::ADDRESS, Some(tls))
        };
        let good = start(pki().named("backup", &[Self::ADDRESS], None));
        Self { good, bad: start(pki().leaf("primary")) }
    }

    /// Routes to either, behind the primary.
    fn add(&self, bench: &mut Bench, case: &Case) -> [Route; 2] {
        let primary = dead_address();
        [("backup", &self.good), ("impostor", &self.bad)].map(|(word, component)| {
            bench.add(case, &variant(case, word), primary, |one| {
                one.insert("backup".to_owned(), component.address().to_string().into());
            })
        })
    }
}

/// C10: connections of all rows at once survive silence, and what polls every few seconds misses
/// nothing while configurations are loaded.
pub(crate) fn silence(engine: Engine, report: &mut Part) {
    let silence = sized(Duration::from_secs(15 * 60), Duration::from_secs(3));
    let interval = sized(Duration::from_secs(9), Duration::from_millis(100));
    let cases = Case::all();
    let estate = Estate::start(engine, &cases);
    let identity = pki().leaf("battery client");
    let open = |row: &Row| {
        let tls = usual_client(&row.case.combination, &identity);
        let stream = Stream::connect(row.route.entrance, tls.as_ref());
        let mut stream = stream.unwrap_or_else(|error| panic!("{}: {error}", row.case));
        exchange(&mut stream, b"before").unwrap_or_else(|error| panic!("{}: {error}", row.case));
        stream
    };
    let mut silent: Vec<Stream> = estate.rows.iter().map(open).collect();
    // The first row of each group polls, as SCS and LCA do.
    let mut groups = BTreeSet::new();
    let polling = estate.rows.iter().filter(|row| groups.insert(&row.case.group));
    let mut polling: Vec<(&Row, Stream)> = polling.map(|row| (row, open(row))).collect();
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < silence {
        for (row, stream) in &mut polling {
            let asked = Instant::now();
            exchange(stream, b"alive?").unwrap_or_else(|error| panic!("{}: {error}", row.case));
            longest = longest.max(asked.elapsed());
        }
        assert!(estate.served.gateway.reload(), "the same configuration again");
        thread::sleep(interval);
    }
    println!("{} rows silent for {silence:?}; longest answer {longest:?}", silent.len());
    // A third of the vendor's 9 s: what is later is taken for dead.
    assert!(longest < Duration::from_secs(3), "an answer after {longest:?}");
    for (row, stream) in estate.rows.iter().zip(&mut silent) {
        exchange(stream, b"after").unwrap_or_else(|error| panic!("{}: {error}", row.case));
        report.ran_on_row(&row.case, &["C10"]);
    }
}
