//! What a route between two of them needs: the lanes of the gateway's sides, the dates, and until
//! which release.

use serde::Serialize;

use super::{Matrix, Over, Row, Version, is_release};
use crate::catalogue::{Catalogue, Entry, Legacy, Mode, Request, Role, scaffold};

/// A connection that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A name of the matrix, or versions of TLS of somebody who is not in it: `1.0,1.1`.
    pub client: String,
    pub server: String,
    pub over: Over,
}

/// What the document says about it, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub client: End,
    pub server: End,
    /// Versions that both speak; where the document only says what one does not, the other's.
    pub shared: Vec<Version>,
    /// The lane of `listener.tls`: what the client needs.
    pub downstream: Lane,
    /// The lane of `listener.upstream_tls`: what the server needs.
    pub upstream: Lane,
    /// All of that in whole sentences, with the document's own statements first.
    pub lines: Vec<String>,
    #[serde(skip)]
    over: Over,
}

/// What the document does not know about a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Where the gateway listens.
    pub listen: Option<String>,
    /// The server behind it.
    pub upstream: Option<String>,
    /// Last day of the legacy lane, `2027-12-31`.
    pub until: Option<String>,
    /// Addresses that may use it.
    pub allow_from: Vec<String>,
}

/// Client or server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    pub name: String,
    /// `None` where the document only says what it does not speak.
    pub versions: Option<Vec<Version>>,
    pub when_enabled: Vec<Version>,
    pub without: Vec<Version>,
    /// What it rests on: document and line.
    pub seeds: Vec<String>,
    #[serde(skip)]
    said: Vec<String>,
}

/// The weakest lane that a side has to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Modern,
    Legacy,
}

impl Answer {
    /// Whether a side needs more than the modern lane.
    pub fn is_legacy(&self) -> bool {
        [self.downstream, self.upstream].contains(&Lane::Legacy)
    }

    /// Writes the route.
    ///
    /// # Errors
    ///
    /// The legacy lane without its last day.
    pub fn scaffold(&self, catalogue: &Catalogue, wishes: Wishes) -> Result<String, String> {
        let entry = self.entry(catalogue).ok_or("the catalogue has no such connection")?;
        let legacy = self.is_legacy().then(|| {
            let missing = "the legacy lane ends on a day: say --until 2027-12-31";
            Ok::<Legacy, &str>(Legacy {
                downstream: self.downstream == Lane::Legacy,
                upstream: self.upstream == Lane::Legacy,
                until: wishes.until.ok_or(missing)?,
                allow_from: wishes.allow_from,
            })
        });
        let request = Request {
            from: self.client.name.clone(),
            to: self.server.name.clone(),
            listen: wishes.listen,
            upstream: wishes.upstream,
            // The gateway ends TLS on both sides, or it could not change its version.
            mode: Some(Mode::Bridge),
            until: None,
            legacy: legacy.transpose()?,
            comments: self.lines.clone(),
        };
        scaffold(&entry, &request)
    }

    /// The connection of the catalogue that its route begins with.
    pub fn entry<'a>(&self, catalogue: &'a Catalogue) -> Option<Entry<'a>> {
        let is_ours = |end: &End| is_release(&end.name) || end.name.starts_with("SocialMiner");
        let (ours, other, role) = if is_ours(&self.client) {
            (&self.client, &self.server, Role::Client)
        } else {
            (&self.server, &self.client, Role::Server)
        };
        let group = if is_release(&ours.name) { "UCCX" } else { "SocialMiner" };
        let fits = |entry: &Entry<'_>| {
            let connection = entry.connection;
            let is_jdbc = connection.kind.starts_with("jdbc");
            let is_ours = group == "UCCX" || connection.from == ours.name;
            connection.group == group
                && connection.role == role
                && is_jdbc == (self.over == Over::Jdbc)
                && is_ours
        };
        let is_to = |entry: &Entry<'_>| {
            let mut to = entry.connection.to.iter();
            to.any(|to| other.name.starts_with(to.as_str()))
        };
        let is_open = |entry: &Entry<'_>| entry.connection.to.iter().all(|to| to.starts_with('('));
        let first = |also: &dyn Fn(&Entry<'_>) -> bool| {
            catalogue.entries().find(|entry| fits(entry) && also(entry))
        };
        first(&is_to).or_else(|| first(&is_open)).or_else(|| first(&|_| true))
    }
}

impl Matrix {
    /// What a connection needs.
    ///
    /// # Errors
    ///
    /// A name that the matrix does not have, or several that speak different versions; something
    /// that it does not say.
    pub fn answer(&self, question: &Question) -> Result<Answer, String> {
        let client = self.end(&question.client, Role::Client, question.over)?;
        let server = self.end(&question.server, Role::Server, question.over)?;
        let shared = shared(&client, &server);
        let (downstream, upstream) = (client.lane(), server.lane());
        let mut answer = Answer {
            client,
            server,
            shared,
            downstream,
            upstream,
            lines: Vec::new(),
            over: question.over,
        };
        answer.lines = self.lines(&answer);
        Ok(answer)
    }

    fn end(&self, word: &str, role: Role, over: Over) -> Result<End, String> {
        if let Some(versions) = Version::list(word) {
            return Ok(End::unnamed(versions, role));
        }
        let names = self.named(word);
        if names.is_empty() {
            return Err(self.not_there(word));
        }
        let ends: Option<Vec<End>> = names.iter().map(|name| self.one(name, role, over)).collect();
        let mut ends = ends.unwrap_or_default().into_iter();
        let Some(mut end) = ends.next() else {
            let (role, over) =
                (role_name(role), if over == Over::Jdbc { " over JDBC" } else { "" });
            return Err(format!("the document does not say what {word} speaks as a {role}{over}"));
        };
        for other in ends {
            let what =
                |end: &End| (end.versions.clone(), end.when_enabled.clone(), end.without.clone());
            if what(&other) != what(&end) {
                return Err(format!(
                    "they speak different versions: choose {}",
                    names.join(" or ")
                ));
            }
            end.seeds.extend(other.seeds);
            end.said.extend(other.said);
        }
        if names.len() > 1 {
            end.name = self.common_name(word);
        }
        Ok(end)
    }

    /// The spelling of the document for the beginning of several names.
    fn common_name(&self, word: &str) -> String {
        let name = self.named(word).first().and_then(|name| name.get(..word.trim().len()));
        name.unwrap_or(word).to_owned()
    }

    fn one(&self, name: &str, role: Role, over: Over) -> Option<End> {
        let rows = || self.rows.iter().filter(|row| row.says_who_speaks(name, role, over));
        let says = || rows().filter(|row| !row.versions.is_empty());
        let best = says().find(|row| row.is_in_a_table()).or_else(|| says().next());
        let lacks: Vec<&Row> = rows().filter(|row| !row.without.is_empty()).collect();
        let without: Vec<Version> = lacks.iter().flat_map(|row| row.without.clone()).collect();
        let versions = best.map(|row| {
            let versions = row.versions.iter().copied();
            versions.filter(|version| !without.contains(version)).collect()
        });
        if versions.is_none() && without.is_empty() {
            return None;
        }
        let rows = || best.into_iter().chain(lacks.iter().copied());
        Some(End {
            name: name.to_owned(),
            versions,
            when_enabled: best.map_or_else(Vec::new, |row| row.when_enabled.clone()),
            without,
            seeds: rows().map(|row| row.seed.clone()).collect(),
            said: rows().map(|row| said(name, role, row)).collect(),
        })
    }

    fn lines(&self, answer: &Answer) -> Vec<String> {
        let Answer { client, server, shared, downstream, upstream, .. } = answer;
        let mut lines: Vec<String> = client.said.iter().chain(&server.said).cloned().collect();
        lines.push(match shared.iter().max() {
            None => format!(
                "{} and {} share no version{}: it fails.",
                client.name,
                server.name,
                // There it says what may be spoken, not what else is.
                if answer.over == Over::Jdbc { " that the document names" } else { "" }
            ),
            Some(Version::V1_2 | Version::V1_3) => {
                format!("Both speak TLS {}: no weaker lane is needed.", joined(shared))
            }
            Some(_) => format!(
                "Both speak TLS {}, without the gateway, in the open; with it only up to the day \
                 and from the addresses that you allow.",
                joined(shared)
            ),
        });
        for (side, lane, end) in
            [("listener.tls", downstream, client), ("listener.upstream_tls", upstream, server)]
        {
            lines.push(match lane {
                Lane::Modern => format!("[{side}] lane = \"modern\": TLS 1.2 and 1.3."),
                Lane::Legacy => format!(
                    "[{side}] lane = \"legacy\": {} speaks nothing newer than TLS {}. Needs \
                     legacy_until, its last day, and allow_from, the addresses that may use it.",
                    end.name,
                    end.newest().map_or("1.1", Version::as_str)
                ),
            });
        }
        if !answer.is_legacy() {
            let hint = "Where a peer's TLS 1.2 has suites with CBC or static RSA only: lane = \
                        \"compat12\". The document says nothing about suites.";
            lines.push(hint.to_owned());
        }
        lines.extend(self.ends(answer));
        lines
    }

    /// From when on it is needed no more, or is needed.
    fn ends(&self, answer: &Answer) -> Vec<String> {
        let Answer { client, server, downstream, upstream, .. } = answer;
        let mut lines = Vec::new();
        let target = |name: &str| {
            self.rows.iter().find(|row| row.newer_from.is_some() && row.is_about(name))
        };
        if let (Lane::Legacy, Some(row)) = (downstream, target(&client.name))
            && let Some(release) = &row.newer_from
        {
            let newer = self.one(release, Role::Client, Over::Https);
            let versions = newer.and_then(|end| end.versions).unwrap_or_default();
            lines.push(format!(
                "No longer needed from {release} on, which speaks TLS {} as a client ({}): remove \
                 the lane then.",
                joined(&versions),
                row.seed
            ));
        }
        if *upstream == Lane::Legacy {
            lines.push(match (server.when_enabled.is_empty(), target(&server.name)) {
                (false, _) => format!(
                    "No longer needed once TLS {} are switched on at {} ({}).",
                    joined(&server.when_enabled),
                    server.name,
                    server.seeds.join(", ")
                ),
                _ => format!("The document names no way to newer TLS for {}.", server.name),
            });
        }
        let still_speaks_1_0 = server.versions.iter().flatten().any(|one| *one == Version::V1_0);
        if let (Lane::Legacy, true, Some(row)) =
            (downstream, still_speaks_1_0, target(&server.name))
            && let Some(release) = &row.without_1_0_from
        {
            lines.push(format!(
                "From {release} on Unified CCX speaks no TLS 1.0 as a server ({}): clients of TLS \
                 1.0 cannot do without the lane from then on.",
                row.seed
            ));
        }
        lines
    }
}

impl End {
    /// Somebody whom the matrix does not name.
    fn unnamed(mut versions: Vec<Version>, role: Role) -> Self {
        versions.sort_unstable();
        versions.dedup();
        let name = format!("a {} of TLS {}", role_name(role), joined(&versions));
        Self {
            name,
            versions: Some(versions),
            when_enabled: Vec::new(),
            without: Vec::new(),
            seeds: Vec::new(),
            said: Vec::new(),
        }
    }

    fn newest(&self) -> Option<Version> {
        self.versions.iter().flatten().copied().max()
    }

    /// Whoever is only known for what it does not speak gets the best there is.
    fn lane(&self) -> Lane {
        let is_old = self.versions.is_some() && self.newest() < Some(Version::V1_2);
        if is_old { Lane::Legacy } else { Lane::Modern }
    }
}

fn shared(client: &End, server: &End) -> Vec<Version> {
    let lists = [client, server].map(|end| end.versions.as_ref());
    let without = [&client.without, &server.without];
    let mut all = Version::ALL.to_vec();
    all.retain(|version| {
        lists.iter().flatten().all(|list| list.contains(version))
            && !without.iter().any(|list| list.contains(version))
    });
    all
}

/// A statement as a sentence.
fn said(name: &str, role: Role, row: &Row) -> String {
    let role = role_name(role);
    let what = if row.versions.is_empty() {
        let after = row.after.as_ref().map_or_else(String::new, |day| format!(" after {day}"));
        format!("no TLS {}{after}", joined(&row.without))
    } else {
        format!("TLS {}", joined(&row.versions))
    };
    let default = match row.default {
        Some(default) if row.versions.len() > 1 => format!(", {default} by default"),
        _ => String::new(),
    };
    let enabled = match row.when_enabled.as_slice() {
        [] => String::new(),
        versions => format!(", TLS {} when switched on", joined(versions)),
    };
    let note = row.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
    format!("{name} as a {role}: {what}{default}{enabled}{note} ({}).", row.seed)
}

fn role_name(role: Role) -> &'static str {
    if role == Role::Server { "server" } else { "client" }
}

/// `1.0, 1.1 and 1.2`
fn joined(versions: &[Version]) -> String {
    match versions.iter().map(|version| version.as_str()).collect::<Vec<_>>().as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
