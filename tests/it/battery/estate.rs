//! A gateway with a route for every row, made of what the catalogue writes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tlsgate::catalogue::{Mode, Mutual};
use toml::{Table, Value};

use super::case::{Case, Level};
use super::component::Component;
use super::pki::pki;
use super::stream::{VERSIONS, server};
use crate::support::backend::Backend;
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::log::Line;
use crate::support::{Engine, SOON, wait_for};

/// Where the catalogue puts what lies between the two gateways of a pair.
const BETWEEN: &str = "127.0.0.1:6102";

/// Routes in the making: a configuration's tables, and the files that they name.
pub(super) struct Routes {
    directory: PathBuf,
    document: Table,
    stems: BTreeSet<String>,
}

impl Routes {
    /// In the directory of the configuration.
    pub(super) fn new(directory: &Path) -> Self {
        let certificates = directory.join("certificates");
        fs::create_dir(&certificates).expect("a writable directory");
        fs::write(certificates.join("ca.pem"), pki().root.pem()).expect("a writable directory");
        Self { directory: directory.to_owned(), document: Table::new(), stems: BTreeSet::new() }
    }

    /// Adds the route of a row under a name, with its options at its level. Each of its listeners
    /// may be changed before.
    pub(super) fn add(
        &mut self,
        case: &Case,
        name: &str,
        upstream: SocketAddr,
        change: impl Fn(&mut Table),
    ) -> Route {
        let [entrance, between] = [0; 2].map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let text = case.route(&entrance.to_string(), &upstream.to_string());
        let text = text.replace(BETWEEN, &between.to_string());
        let mut route: Table = text.parse().unwrap_or_else(|error| panic!("{case}: {error}"));
        let Some(Value::Array(listeners)) = route.remove("listener") else {
            panic!("{case}: no listener in\n{text}");
        };
        for listener in listeners {
            let Value::Table(mut listener) = listener else { panic!("{case}: no table") };
            self.rename(case, name, &mut listener);
            change(&mut listener);
            self.issue(&listener);
            self.level(case.combination.level, &mut listener);
            self.push("listener", listener);
        }
        let is_pair = case.combination.mode == Mode::Pair;
        let listener = if is_pair { format!("{name}.entry") } else { name.to_owned() };
        let exit = is_pair.then(|| (format!("{name}.exit"), between));
        Route { listener, entrance, exit }
    }

    /// As [`Routes::add`], in another mode than the catalogue's.
    pub(super) fn add_as(
        &mut self,
        case: &Case,
        name: &str,
        upstream: SocketAddr,
        mode: Mode,
    ) -> Route {
        let mut other = case.clone();
        other.combination.mode = mode;
        self.add(&other, name, upstream, |_| ())
    }

    /// As a configuration says it.
    pub(super) fn text(&self) -> String {
        toml::to_string(&self.document).expect("tables and plain values")
    }

    /// The row's name in the place of the component's, which many rows share.
    fn rename(&self, case: &Case, name: &str, listener: &mut Table) {
        let written = listener["name"].as_str().expect("it has a name").to_owned();
        let end = ["entry", "exit"].into_iter().find(|end| written.ends_with(&format!(".{end}")));
        let port = written.trim_end_matches(".entry").trim_end_matches(".exit");
        if let Some(secure) = &case.port {
            assert!(port.ends_with(&format!(".{secure}")), "{case}: the port is called {port}");
        }
        let name = end.map_or_else(|| name.to_owned(), |end| format!("{name}.{end}"));
        listener.insert("name".to_owned(), Value::from(name));
    }

    /// Makes the certificates that it names.
    fn issue(&mut self, listener: &Table) {
        for side in ["tls", "upstream_tls"] {
            let path = listener.get(side).and_then(|table| table.get("certificate"));
            let Some(path) = path.and_then(Value::as_str) else { continue };
            let stem = path.trim_start_matches("certificates/").trim_end_matches(".pem");
            let is_there = self.directory.join(path).exists();
            if self.stems.insert(stem.to_owned()) && !is_there {
                pki().leaf(stem).write(&self.directory.join("certificates"), stem);
            }
        }
    }

    /// Moves its options of TLS to a level.
    fn level(&mut self, level: Level, listener: &mut Table) {
        if level == Level::Listener {
            return;
        }
        let name = listener["name"].clone();
        let mut table = Table::from_iter([("name".to_owned(), name.clone())]);
        for side in ["tls", "upstream_tls"] {
            table.extend(listener.remove(side).map(|options| (side.to_owned(), options)));
        }
        listener.insert(level.word().to_owned(), name);
        self.push(level.word(), table);
    }

    fn push(&mut self, array: &str, table: Table) {
        let array = self.document.entry(array).or_insert_with(|| Value::Array(Vec::new()));
        array.as_array_mut().expect("made as one").push(Value::Table(table));
    }
}

/// Where a route begins.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Name of the listener that clients meet, and its address.
    pub(super) listener: String,
    pub(super) entrance: SocketAddr,
    /// The same of the other gateway of a pair.
    pub(super) exit: Option<(String, SocketAddr)>,
}

/// A row that is served.
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) route: Route,
    pub(super) component: Component,
}

/// A gateway in the making, with routes of rows.
pub(super) struct Bench {
    setup: Setup,
    routes: Routes,
    unused: Backend,
}

impl Bench {
    pub(super) fn new(engine: Engine) -> Self {
        let unused = Backend::echo();
        // All clients have one address, and many are to be refused.
        let setup =
            Setup::new(engine, unused.address()).gateway("[handshakes]\nsource_failures = \"off\"");
        let routes = Routes::new(setup.directory());
        Self { setup, routes, unused }
    }

    /// Where the certificates of the routes are.
    pub(super) fn certificates(&self) -> PathBuf {
        self.setup.directory().join("certificates")
    }

    /// See [`Routes::add`].
    pub(super) fn add(
        &mut self,
        case: &Case,
        name: &str,
        upstream: SocketAddr,
        change: impl Fn(&mut Table),
    ) -> Route {
        self.routes.add(case, name, upstream, change)
    }

    /// See [`Routes::add_as`].
    pub(super) fn add_as(
        &mut self,
        case: &Case,
        name: &str,
        upstream: SocketAddr,
        mode: Mode,
    ) -> Route {
        self.routes.add_as(case, name, upstream, mode)
    }

    pub(super) fn start(self) -> Served {
        let gateway = self.setup.keepalive(&self.routes.text()).start();
        Served { gateway, log: RefCell::default(), _unused: self.unused }
    }
}

/// A gateway, and what is behind the listener that no row is about.
pub(super) struct Served {
    pub(super) gateway: Gateway,
    log: RefCell<Log>,
    _unused: Backend,
}

/// What was read of the access log: the newest line of each peer of each listener. To another
/// listener, a client may come from the same port again.
#[derive(Default)]
struct Log {
    known: usize,
    lines: BTreeMap<(String, SocketAddr), Line>,
}

impl Served {
    /// The line about a peer of a listener, waited for.
    pub(super) fn line(&self, listener: &str, peer: SocketAddr) -> Line {
        let key = (listener.to_owned(), peer);
        let mut log = self.log.borrow_mut();
        wait_for(&format!("a line about {peer} at {listener}"), SOON, || {
            let (lines, known) = self.gateway.lines_behind(log.known);
            log.known = known;
            for line in lines {
                let peer = line.text("peer").parse().expect("an address");
                log.lines.insert((line.text("listener").to_owned(), peer), line);
            }
            // Taken out, so that it is not mistaken for that of the next one.
            log.lines.remove(&key)
        })
    }
}

/// All rows and their gateway.
pub(super) struct Estate {
    pub(super) rows: Vec<Row>,
    pub(super) served: Served,
}

impl Estate {
    /// One process with all of them.
    pub(super) fn start(engine: Engine, cases: &[Case]) -> Self {
        let mut bench = Bench::new(engine);
        let rows = cases.iter().map(|case| {
            let component = component_of(case);
            let route = bench.add(case, &case.name(), component.address(), |_| ());
            Row { case: case.clone(), route, component }
        });
        let rows = rows.collect();
        Self { rows, served: bench.start() }
    }
}

/// The component behind a row: with TLS of its own where the gateway speaks it.
pub(super) fn component_of(case: &Case) -> Component {
    let combination = &case.combination;
    let demands = combination.mutual == Mutual::Required;
    let tls = combination
        .has_upstream_tls()
        .then(|| server(&pki().leaf("component"), demands, &VERSIONS));
    Component::start(tls)
}
