//! Every row of the matrix, in its role, against peers of exactly one version and against the
//! products that it names.
//!
//! Three times each: without the gateway, through it with every combination of lanes, and of those the
//! one that `tlsgate catalogue uccx` answers, which must be the strongest that carries data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use comfy_table::Table as Printed;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use tempfile::TempDir;
use tlsgate::catalogue::Role;
use tlsgate::catalogue::uccx::{Lane, Matrix, Over, Question, Row, Table, Version};

use super::ends::{echo, server};
use super::route::{Identities, Route};
use crate::support::backend::Backend;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::gateway::{Gateway, Setup};
use crate::support::{Engine, engines};

const ALL: [Version; 4] = [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3];
const LANES: [[Lane; 2]; 4] = [
    [Lane::Modern, Lane::Modern],
    [Lane::Legacy, Lane::Modern],
    [Lane::Modern, Lane::Legacy],
    [Lane::Legacy, Lane::Legacy],
];

/// Somebody who speaks these versions and no others.
#[derive(Clone, Debug)]
struct End {
    name: String,
    /// As `tlsgate catalogue uccx` is asked.
    word: String,
    versions: Vec<Version>,
}

/// What a row says about one end, and somebody at the other.
struct Case<'a> {
    row: &'a Row,
    role: Role,
    client: End,
    server: End,
}

/// What was spoken downstream and upstream of the gateway, or why nothing was.
type Spoken = Result<String, String>;

#[test]
#[ignore = "run by tests/run"]
fn uccx_matrix() {
    let matrix = Matrix::shipped();
    let cases: Vec<Case<'_>> = matrix.rows().iter().flat_map(|row| cases(&matrix, row)).collect();
    for row in matrix.rows() {
        assert!(cases.iter().any(|case| case.row == row), "no case: {row:?}");
    }
    for engine in engines() {
        let mut estate = Estate::start(engine, &cases);
        let mut table = Printed::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header([
            "source",
            "who",
            "role",
            "TLS",
            "peer",
            "direct",
            "modern only",
            "lanes",
            "with them",
        ]);
        for case in &cases {
            table.add_row(estate.check(&matrix, case));
        }
        println!("{engine:?}, {} cases\n{table}", cases.len());
    }
}

/// What a row says, as cases.
fn cases<'a>(matrix: &Matrix, row: &'a Row) -> Vec<Case<'a>> {
    let mut ends: Vec<(Role, End)> = Vec::new();
    for name in &row.who {
        for role in [Role::Client, Role::Server] {
            if row.role == Some(role) || row.role == Some(Role::Both) {
                ends.extend(spoken_by(row, name).map(|end| (role, end)));
            }
        }
    }
    // Where a row leads to: new enough as a client, and too new for some as a server.
    let target = |name: &String, role| (role, named(matrix, name, role));
    ends.extend(row.newer_from.iter().map(|name| target(name, Role::Client)));
    ends.extend(row.without_1_0_from.iter().map(|name| target(name, Role::Server)));
    let mut cases = Vec::new();
    for (role, end) in ends {
        let mut peers: Vec<End> = ALL.map(single).into();
        if role == Role::Client && over(row) == Over::Https {
            let products = matrix.rows().iter().filter(|row| row.table == Table::Peer);
            peers.extend(products.flat_map(|row| spoken_by(row, &row.who[0]).next()));
        }
        cases.extend(peers.into_iter().map(|peer| {
            let end = end.clone();
            let (client, server) = if role == Role::Client { (end, peer) } else { (peer, end) };
            Case { row, role, client, server }
        }));
    }
    cases
}

/// As a row says it; with what can be switched on, once more.
fn spoken_by(row: &Row, who: &str) -> impl Iterator<Item = End> {
    let name = match who {
        "all" => "11.6(1)",
        who => who.trim_end_matches(" onwards"),
    };
    let mut versions = row.versions.clone();
    if versions.is_empty() {
        versions.extend(ALL.iter().filter(|version| !row.without.contains(version)));
    }
    let enabled: Vec<Version> = versions.iter().chain(&row.when_enabled).copied().collect();
    let more = (!row.when_enabled.is_empty()).then(|| End {
        name: format!("{name}, switched on"),
        word: joined(&enabled).replace(' ', ","),
        versions: enabled,
    });
    let end = End { name: name.to_owned(), word: name.to_owned(), versions };
    std::iter::once(end).chain(more)
}

fn single(version: Version) -> End {
    End { name: version.to_string(), word: version.to_string(), versions: vec![version] }
}

fn named(matrix: &Matrix, name: &str, role: Role) -> End {
    let says = |row: &&Row| {
        row.table == Table::UpcomingReleases && row.is_about(name) && row.role == Some(role)
    };
    let row = matrix.rows().iter().find(says).expect("a release that is coming");
    End { name: name.to_owned(), word: name.to_owned(), versions: row.versions.clone() }
}

fn over(row: &Row) -> Over {
    row.over.unwrap_or(Over::Https)
}

/// A gateway with a listener for each combination of lanes in front of each kind of server.
struct Estate {
    gateway: Gateway,
    servers: BTreeMap<Vec<Version>, Backend>,
    routes: BTreeMap<(Vec<Version>, usize), Route>,
    /// The same again is not tried again.
    known: BTreeMap<(Vec<Version>, SocketAddr), Spoken>,
    _directory: TempDir,
}

impl Estate {
    fn start(engine: Engine, cases: &[Case<'_>]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let identity = ca().issue(directory.path(), "component", KeyKind::Rsa, &[NAME]);
        let identities = Identities::issue(directory.path());
        let kinds: BTreeSet<_> = cases.iter().map(|case| case.server.versions.clone()).collect();
        let servers: BTreeMap<_, _> =
            kinds.into_iter().map(|kind| (kind.clone(), server(&kind, &identity))).collect();
        let mut routes = BTreeMap::new();
        for (kind, server) in &servers {
            for (at, lanes) in LANES.into_iter().enumerate() {
                let name = format!("route{}", routes.len());
                let route = identities.route(&name, server.address(), lanes);
                routes.insert((kind.clone(), at), route);
            }
        }
        let texts: Vec<&str> = routes.values().map(|route| route.text.as_str()).collect();
        let anyone = servers.values().next().expect("some").address();
        let gateway = Setup::new(engine, anyone).keepalive(&texts.join("\n")).start();
        Self { gateway, servers, routes, known: BTreeMap::new(), _directory: directory }
    }

    /// Tries a case in every way, and demands that each goes as the versions say.
    fn check(&mut self, matrix: &Matrix, case: &Case<'_>) -> [String; 9] {
        let place = format!("{} {:?} {:?}", case.row.seed, case.client, case.server);
        let direct = self.direct(&case.client, &case.server);
        let shared = case.client.versions.iter().filter(|one| case.server.versions.contains(one));
        let expected = shared.max().map(|newest| logged(*newest));
        assert_eq!(direct.clone().ok(), expected, "{place}: direct");
        let question = Question {
            client: case.client.word.clone(),
            server: case.server.word.clone(),
            over: over(case.row),
        };
        let answer = matrix.answer(&question).unwrap_or_else(|error| panic!("{place}: {error}"));
        let answered = [answer.downstream, answer.upstream];
        let through = LANES.map(|lanes| self.through(&case.client, &case.server, lanes));
        for (lanes, spoken) in LANES.into_iter().zip(&through) {
            let place = format!("{place}: {lanes:?}");
            match expect(case, lanes) {
                Ok(expected) => assert_eq!(spoken.as_ref(), Ok(&expected), "{place}"),
                Err(expected) => {
                    let reason = spoken.as_ref().expect_err(&place);
                    assert!(expected.contains(&reason.as_str()), "{place}: {reason}");
                }
            }
        }
        let at = |lanes| LANES.iter().position(|one| *one == lanes).expect("all are there");
        let said = |spoken: &Spoken| spoken.clone().unwrap_or_else(|reason| reason);
        let newest = |end: &End| end.versions.iter().max() < Some(&Version::V1_2);
        let old = [newest(&case.client), newest(&case.server)];
        assert_eq!(answered.map(|lane| lane == Lane::Legacy), old, "{place}: the answer");
        let (end, peer) = match case.role {
            Role::Client => (&case.client, &case.server),
            _ => (&case.server, &case.client),
        };
        [
            case.row.seed.clone(),
            end.name.clone(),
            format!("{:?}", case.role).to_lowercase(),
            joined(&end.versions),
            if peer.name == joined(&peer.versions) { peer.name.clone() } else { described(peer) },
            direct.unwrap_or_else(|_| "fails".to_owned()),
            said(&through[at(LANES[0])]),
            answered.map(|lane| format!("{lane:?}").to_lowercase()).join(" > "),
            said(&through[at(answered)]),
        ]
    }

    fn direct(&mut self, client: &End, server: &End) -> Spoken {
        let address = self.servers[&server.versions].address();
        let key = (client.versions.clone(), address);
        let ca = self.gateway.ca_file();
        self.known.entry(key).or_insert_with(|| echo(&client.versions, address, ca).1).clone()
    }

    /// By the gateway's word, which must be the client's too.
    fn through(&mut self, client: &End, server: &End, lanes: [Lane; 2]) -> Spoken {
        let at = LANES.iter().position(|one| *one == lanes).expect("all are there");
        let entrance = self.routes[&(server.versions.clone(), at)].entrance;
        let key = (client.versions.clone(), entrance);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (from, spoken) = echo(&client.versions, entrance, self.gateway.ca_file());
        // Not by its port alone, which another one may have had.
        let line = self.gateway.next_line();
        assert!(line.is_of(from), "{from}: {line:?}");
        let result = match spoken {
            Ok(version) => {
                let sides = [line.text("tls_version"), line.text("upstream_tls_version")];
                assert_eq!(sides[0], version, "{line:?}");
                // Weaker only for who cannot do better, whatever is open.
                let is_old = client.versions.iter().max() < Some(&Version::V1_2);
                let lane = if is_old { ("legacy", "version") } else { ("modern", "able") };
                assert_eq!((line.text("lane"), line.text("lane_reason")), lane, "{line:?}");
                Ok(sides.join(" > "))
            }
            Err(_) => Err(line.text("reason").to_owned()),
        };
        self.known.insert(key, result.clone());
        result
    }
}

/// What the versions of the ends demand: the newest of each, where its lane is open; else one of
/// these reasons.
fn expect(case: &Case<'_>, lanes: [Lane; 2]) -> Result<String, &'static [&'static str]> {
    let newest = |end: &End| *end.versions.iter().max().expect("somebody speaks something");
    let [client, server] = [newest(&case.client), newest(&case.server)];
    let is_shut = |newest, lane| newest < Version::V1_2 && lane == Lane::Modern;
    if is_shut(client, lanes[0]) {
        return Err(&["version_mismatch"]);
    }
    if is_shut(server, lanes[1]) {
        // OpenSSL's servers answer with an alert.
        return Err(&["upstream_alert", "upstream_incompatible"]);
    }
    Ok(format!("{} > {}", logged(client), logged(server)))
}

/// As the log and OpenSSL call it: `TLSv1` is TLS 1.0.
fn logged(version: Version) -> String {
    format!("TLSv{version}").trim_end_matches(".0").to_owned()
}

fn joined(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn described(end: &End) -> String {
    format!("{}: {}", end.name, joined(&end.versions))
}
