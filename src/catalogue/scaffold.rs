//! A route for a connection of the catalogue, as a configuration to begin with.
//!
//! Whatever nobody knows beforehand is a placeholder, and a comment says what belongs there. The
//! result loads once the files of the certificates are there.

use super::{Entry, FirstSpeaker, Mode, Mutual};
use crate::genesys::write::{self, Line, Table, Value};

/// What the catalogue does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub from: String,
    pub to: String,
    /// Where the gateway listens; for a pair, the one beside the client.
    pub listen: Option<String>,
    /// The component behind it; for a pair, behind the other gateway.
    pub upstream: Option<String>,
    /// Another mode than the catalogue's.
    pub mode: Option<Mode>,
    /// Last day of autodetect, `2027-12-31`.
    pub until: Option<String>,
    /// For ends that speak nothing newer than TLS 1.1.
    pub legacy: Option<Legacy>,
    /// More sentences for its reader.
    pub comments: Vec<String>,
}

/// A route whose sides need the legacy lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    pub downstream: bool,
    pub upstream: bool,
    /// Its last day.
    pub until: String,
    /// Who may use it; if nobody is named, a placeholder.
    pub allow_from: Vec<String>,
}

/// Placeholders: nobody's port, on loopback so that nothing is open by mistake.
const LISTEN: &str = "127.0.0.1:6101";
const UPSTREAM: &str = "127.0.0.1:6100";
/// Who may use the legacy lane.
const ALLOWED: &str = "127.0.0.1";
/// Between the two gateways of a pair.
const BETWEEN: &str = "127.0.0.1:6102";
/// The control agent's documented port.
const LCA: (&str, &str) = ("genesys-tcp(lca)", "127.0.0.1:4999");

/// Protocols with TLS inside their own packets, which nobody in between can end or begin.
const IN_BAND: [&str; 1] = ["tds7"];

/// Longest part of a listener's name that comes from a component's.
const MAX_SLUG: usize = 40;

/// Writes a route.
///
/// # Errors
///
/// A mode that cannot carry the protocol. Autodetect without its last day, or for a protocol in which nobody knows that the client speaks
/// first.
pub fn scaffold(entry: &Entry<'_>, request: &Request) -> Result<String, String> {
    let route = Route { entry, request, mode: request.mode.unwrap_or_else(|| entry.mode()) };
    let tables = match route.mode {
        mode if mode != Mode::Pair && IN_BAND.contains(&entry.kind.protocol.as_str()) => {
            return Err(format!("{}: only a pair carries it: {}", entry.kind.name, entry.kind.why));
        }
        Mode::Pair => route.pair(),
        Mode::Autodetect => route.autodetect()?,
        mode => route.tables(mode),
    };
    Ok(write::file(&route.comments(), &tables))
}

struct Route<'a> {
    entry: &'a Entry<'a>,
    request: &'a Request,
    mode: Mode,
}

impl Route<'_> {
    fn comments(&self) -> Vec<String> {
        let (connection, kind) = (self.entry.connection, self.entry.kind);
        let (from, to) = (&self.request.from, &self.request.to);
        let mut comments = vec![
            format!("{from} to {to}: {}, {} ({})", connection.group, kind.name, connection.seed),
            format!("Mode: {}.", kind.why),
        ];
        comments.extend(self.request.comments.iter().cloned());
        comments.extend(connection.note.as_ref().map(|note| format!("Note: {note}.")));
        if connection.to.iter().all(|to| to.starts_with('(')) {
            comments
                .push(format!("The document names the other end {}.", connection.to.join(", ")));
        }
        if kind.first_speaker == FirstSpeaker::Unknown {
            comments.push("Who speaks first is not known: TLS ends before anybody has to.".into());
        }
        for (what, cases) in [
            ("Has to work", &self.entry.profile.must_succeed),
            ("Has to fail", &self.entry.profile.must_fail),
        ] {
            let cases = cases.iter().map(|case| format!("{what}: {}.", case.what));
            comments.extend(cases);
        }
        comments.push("Certificates: PEM files; key files with mode 0600.".into());
        comments
    }

    /// The listener's name: the component, and the name of its secure port.
    fn name(&self) -> String {
        let to = slug(&self.request.to);
        match &self.entry.connection.port {
            Some(port) => format!("{to}.{port}"),
            None => to,
        }
    }

    fn name_line(&self) -> Line {
        let comment = match (&self.entry.connection.port, self.entry.connection.port_required) {
            (Some(port), true) => format!("the component's port must be called {port}"),
            (Some(port), false) if port == "default" => {
                "the component's port: default, or another name".to_owned()
            }
            (Some(port), false) => format!("the component's port: {port}"),
            (None, _) => String::new(),
        };
        Line::text("name", &self.name(), &comment)
    }

    fn listen(&self) -> &str {
        let known = if self.entry.kind.name == LCA.0 { LCA.1 } else { LISTEN };
        self.request.listen.as_deref().unwrap_or(known)
    }

    fn upstream(&self) -> &str {
        self.request.upstream.as_deref().unwrap_or(UPSTREAM)
    }

    /// One listener.
    fn tables(&self, mode: Mode) -> Vec<Table> {
        let (word, is_server, is_client) = match mode {
            Mode::Terminate => ("terminate", true, false),
            Mode::Originate => ("originate", false, true),
            Mode::Bridge => ("bridge", true, true),
            Mode::Passthrough => ("passthrough", false, false),
            Mode::Autodetect => ("autodetect", true, false),
            // Both gateways are written by `pair`.
            Mode::Pair => ("pair_entry", false, true),
        };
        let mut lines = vec![self.name_line(), Line::text("mode", word, "")];
        lines.extend(self.protocol());
        lines.push(Line::text("listen", self.listen(), "where peers are told to connect"));
        lines.push(Line::text("upstream", self.upstream(), "the component"));
        let mut tables = vec![Table { header: "[[listener]]", lines }];
        if is_server {
            tables.push(Table { header: "[listener.tls]", lines: self.server() });
        }
        if is_client {
            tables.push(Table { header: "[listener.upstream_tls]", lines: self.client() });
        }
        tables
    }

    fn autodetect(&self) -> Result<Vec<Table>, String> {
        if self.entry.kind.first_speaker != FirstSpeaker::Client {
            return Err(format!(
                "autodetect needs a client that speaks first, and in {} it does not or nobody knows",
                self.entry.kind.name
            ));
        }
        let until = self.request.until.as_deref().ok_or(
            "autodetect ends on a day: say --until 2027-12-31, or --mode terminate for TLS alone",
        )?;
        let mut tables = self.tables(Mode::Autodetect);
        if let Some(listener) = tables.first_mut() {
            listener.lines.insert(2, Line::bare("autodetect_until", until, "--until"));
        }
        Ok(tables)
    }

    /// Two listeners, of a gateway beside the client and one beside the component.
    fn pair(&self) -> Vec<Table> {
        let name = self.name();
        let entry = [
            Line::comment(format!("On the gateway beside {}.", self.request.from)),
            Line::text("name", &format!("{name}.entry"), ""),
            Line::text("mode", "pair_entry", ""),
        ];
        let exit = [
            Line::comment(format!("On the gateway beside {}.", self.request.to)),
            Line::text("name", &format!("{name}.exit"), ""),
            Line::text("mode", "pair_exit", ""),
        ];
        let mut tables = Vec::new();
        let ends = [
            (Vec::from(entry), self.listen(), BETWEEN, "the other gateway"),
            (Vec::from(exit), BETWEEN, self.upstream(), "the component"),
        ];
        for (mut lines, listen, upstream, what) in ends {
            lines.extend(self.protocol());
            lines.push(Line::text("listen", listen, ""));
            lines.push(Line::text("upstream", upstream, what));
            tables.push(Table { header: "[[listener]]", lines });
        }
        let mut client = self.client();
        client.retain(Line::is_setting);
        for (key, file) in [("certificate", "gateway.pem"), ("certificate_key", "gateway.key")] {
            client.push(Line::text(key, &format!("certificates/{file}"), "the gateway's own"));
        }
        tables.insert(1, Table { header: "[listener.upstream_tls]", lines: client });
        tables.push(Table { header: "[listener.tls]", lines: self.server() });
        tables
    }

    fn protocol(&self) -> Vec<Line> {
        let kind = self.entry.kind;
        let word = (kind.protocol != "opaque").then(|| Line::text("protocol", &kind.protocol, ""));
        let first = match kind.first_speaker {
            FirstSpeaker::Client => Some(Line::text("first_speaker", "client", "")),
            FirstSpeaker::Server => Some(Line::text("first_speaker", "server", "")),
            FirstSpeaker::Unknown => None,
        };
        word.into_iter().chain(first).collect()
    }

    /// TLS towards the peers.
    fn server(&self) -> Vec<Line> {
        let stem = slug(&self.request.to);
        let names = "names the host that peers connect to, in its subject alternative name";
        let mut lines = vec![
            Line::text("certificate", &format!("certificates/{stem}.pem"), names),
            Line::text("certificate_key", &format!("certificates/{stem}.key"), ""),
        ];
        if let Some(legacy) = self.request.legacy.as_ref().filter(|legacy| legacy.downstream) {
            lines.extend(legacy.lines("the peers that cannot do better"));
            let own = "RSA, which old peers take; its key is this lane's alone";
            let (certificate, key) = (format!("{stem}.legacy.pem"), format!("{stem}.legacy.key"));
            lines.push(Line::text(
                "legacy_certificate",
                &format!("certificates/{certificate}"),
                own,
            ));
            lines.push(Line::text("legacy_certificate_key", &format!("certificates/{key}"), ""));
        }
        let word = match self.entry.mutual_in(self.mode) {
            Mutual::None => {
                lines.push(Line::text("client_cert", "none", "mutual TLS: \"required\""));
                return lines;
            }
            Mutual::Optional => ("optional", "\"required\" once every peer has a certificate"),
            Mutual::Required => ("required", "both ends know each other"),
        };
        lines.push(Line::text("client_cert", word.0, word.1));
        lines.push(Line::text("trusted_ca", "certificates/ca.pem", "the CAs of the peers"));
        lines
    }

    /// TLS towards the component.
    fn client(&self) -> Vec<Line> {
        let ca = "the CAs of the component's certificate";
        let mut lines = vec![
            Line::text("trusted_ca", "certificates/ca.pem", ca),
            Line::comment("server_name: the name in its certificate, where upstream has another"),
        ];
        if let Some(legacy) = self.request.legacy.as_ref().filter(|legacy| legacy.upstream) {
            lines.extend(legacy.lines("the clients that the component is for"));
        }
        if self.entry.mutual_in(self.mode) == Mutual::Required && self.mode != Mode::Pair {
            lines.push(Line::text("certificate", "certificates/gateway.pem", "shown to it"));
            lines.push(Line::text("certificate_key", "certificates/gateway.key", ""));
        }
        lines
    }
}

impl Legacy {
    fn lines(&self, whom: &str) -> [Line; 3] {
        let placeholder = [ALLOWED.to_owned()];
        let list = if self.allow_from.is_empty() { &placeholder[..] } else { &self.allow_from };
        [
            Line::text("lane", "legacy", "weaker than modern only for those who cannot do better"),
            Line::text("legacy_until", &self.until, "its last day; see above for when it can go"),
            Line::new("allow_from", &Value::List(list.to_vec()), whom),
        ]
    }
}

/// `Solution Control Server (SCS)` is `solution-control-server-scs`.
fn slug(component: &str) -> String {
    let component = component.to_lowercase();
    let words = component.split(|c: char| !c.is_ascii_alphanumeric());
    let slug = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    slug.chars().take(MAX_SLUG).collect()
}
