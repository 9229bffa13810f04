//! The tables that are written, line by line.

use std::collections::BTreeSet;

use super::super::finding::Finding;
use super::super::levels::{self, Level, OUR_BUNDLE, Set};
use super::super::options::{self, Side};
use super::super::write::{Line, Table};
use super::listeners::{Chain, Listener};
use super::{Import, is_of_identity, origin};

/// A level above listeners: its tables, and the vendor's levels that it stands for.
struct Shared {
    header: &'static str,
    sides: [(Side, &'static str); 2],
    levels: &'static [Level],
}

const HOST: Shared = Shared {
    header: "[[host]]",
    sides: [(Side::Downstream, "[host.tls]"), (Side::Upstream, "[host.upstream_tls]")],
    levels: &[Level::Host],
};

const APPLICATION: Shared = Shared {
    header: "[[application]]",
    sides: [
        (Side::Downstream, "[application.tls]"),
        (Side::Upstream, "[application.upstream_tls]"),
    ],
    levels: &[Level::Application, Level::Annex],
};

impl Import<'_> {
    pub(super) fn tables(&mut self, listeners: &[Listener]) -> Vec<Table> {
        let chains = || listeners.iter().flat_map(|listener| &listener.sides);
        let mut sides: BTreeSet<Side> = chains().map(|chain| chain.side).collect();
        if listeners.is_empty() {
            sides = BTreeSet::from([Side::Downstream, Side::Upstream]);
        }
        let mut above = self.read.chain(Level::Host);
        above.retain(|set| !matches!(set.level, Level::Port | Level::Connection));
        let above = Chain { side: Side::Downstream, lowest: Level::Application, sets: above };
        let is_mutual =
            chains().chain([&above]).any(|one| one.side == Side::Downstream && one.trusts());
        // With an identity of its own in one listener, each gets its whole.
        let is_own = chains().any(Chain::has_own_identity);
        let identity = if is_own { Vec::new() } else { above.identity() };
        let at = identity.iter().map(|set| set.level).min();
        self.tell_split(&identity);
        let mut tables = Vec::new();
        let mut written: Vec<&str> = Vec::new();
        for shared in [&HOST, &APPLICATION] {
            let is_here = at.is_some_and(|level| shared.levels.contains(&level));
            let identity = if is_here { &identity[..] } else { &[] };
            let mut inner = Vec::new();
            for (side, header) in shared.sides.iter().filter(|(side, _)| sides.contains(side)) {
                let own = shared.levels.iter().flat_map(|level| self.read.of(*level)).cloned();
                let own: Vec<Set> = own.collect();
                let trusts = *side == Side::Upstream || is_mutual;
                let lines = self.shared_lines(&own, identity, *side, trusts);
                if lines.iter().any(Line::is_setting) {
                    inner.push(Table { header, lines });
                }
            }
            if !inner.is_empty() {
                let mut lines = vec![Line::text("name", &self.settings.name, "")];
                lines.extend(written.first().map(|_| Line::text("host", &self.settings.name, "")));
                written.push(shared.header);
                tables.push(Table { header: shared.header, lines });
                tables.extend(inner);
            }
        }
        if listeners.is_empty() {
            self.refuse_unverified(&above);
        }
        for listener in listeners {
            tables.extend(self.listener_tables(listener, is_own, written.last().copied()));
        }
        tables
    }

    /// What a level above listeners sets, on one side.
    fn shared_lines(
        &mut self,
        own: &[Set],
        identity: &[Set],
        side: Side,
        trusts: bool,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for (index, set) in own.iter().enumerate() {
            let is_written = identity.contains(set);
            let is_shadowed = own[..index].iter().any(|lower| lower.name == set.name);
            if is_of_identity(set) && !is_written && OUR_BUNDLE.contains(&set.name.as_str()) {
                lines.push(Line::comment(format!("{}: not from this level", origin(set))));
            } else if is_shadowed {
                lines.push(Line::comment(format!("{}: shadowed", origin(set))));
            } else if !is_written && set.name == "client-auth" && set.value == "0" {
                let note = "only ever written for a listener";
                lines.extend(
                    (side == Side::Upstream)
                        .then(|| Line::comment(format!("{}: {note}", origin(set)))),
                );
            } else if !is_written {
                lines.extend(self.lines(set, side, trusts));
            }
        }
        for set in identity {
            lines.extend(self.lines(set, side, trusts));
        }
        let has_certificate = identity.iter().any(|set| set.name == "certificate");
        if has_certificate && side == Side::Upstream {
            let note = "The certificate is the client's here: its extended key usage, if it has \
                        one, must allow that.";
            lines.push(Line::comment(note));
        }
        lines
    }

    /// The lines that an option becomes.
    fn lines(&mut self, set: &Set, side: Side, trusts: bool) -> Vec<Line> {
        let mapped = match options::map(&set.name, &set.value, side, self.settings.semantics) {
            Ok(mapped) => mapped,
            Err(refusal) => {
                let (message, hint) = (refusal.message, refusal.hint);
                self.findings.push(Finding::error(&set.place, &set.name, message, &hint));
                return Vec::new();
            }
        };
        let notes = mapped.notes.into_iter();
        let notes = notes.map(|note| Finding::warning(&set.place, &set.name, note, ""));
        self.findings.extend(notes);
        let lines = mapped.settings.iter().map(|setting| {
            if setting.key == "trusted_ca" && !trusts {
                let note = "nobody is authenticated by it";
                return Line::comment(format!("{}: {note}", origin(set)));
            }
            Line::new(setting.key, &setting.value, &origin(set))
        });
        lines.collect()
    }

    fn listener_tables(
        &mut self,
        listener: &Listener,
        is_own: bool,
        above: Option<&str>,
    ) -> Vec<Table> {
        let mut lines = vec![Line::text("name", &listener.name, "")];
        lines.extend(above.map(|header| {
            let key = if header == HOST.header { "host" } else { "application" };
            Line::text(key, &self.settings.name, "")
        }));
        lines.push(Line::text("mode", listener.mode, &listener.origin));
        lines.push(Line::text("listen", &listener.listen, ""));
        lines.push(Line::text("upstream", &listener.upstream, ""));
        let reason = self.settings.plaintext_reason.as_ref();
        lines.extend(reason.map(|reason| Line::text("plaintext_reason", reason, "")));
        lines.extend(self.addp());
        let mut tables = vec![Table { header: "[[listener]]", lines }];
        for chain in &listener.sides {
            let header = match chain.side {
                Side::Downstream => "[listener.tls]",
                Side::Upstream => "[listener.upstream_tls]",
            };
            let identity = if is_own { chain.identity() } else { Vec::new() };
            self.tell_split(&identity);
            let own = chain.sets.iter().filter(|set| set.level == chain.lowest);
            let own = own.filter(|set| !is_of_identity(set) || identity.contains(set));
            let other = identity.iter().filter(|set| set.level != chain.lowest);
            let mut lines = Vec::new();
            for set in own.chain(other).filter(|set| set.name != "client-auth") {
                lines.extend(self.lines(set, chain.side, chain.trusts()));
            }
            // Options that are no keys of ours are checked all the same.
            let rest = chain.sets.iter().filter(|set| set.level == chain.lowest);
            for set in rest.filter(|set| is_of_identity(set) && !identity.contains(set)) {
                self.lines(set, chain.side, chain.trusts());
            }
            lines.extend(self.client_auth(chain));
            if !lines.is_empty() {
                tables.push(Table { header, lines });
            }
        }
        tables
    }

    fn client_auth(&mut self, chain: &Chain) -> Vec<Line> {
        let all = levels::vendor(&chain.sets).into_iter();
        let Some(set) = all.filter(|_| chain.side == Side::Upstream).find(|set| {
            set.name == "client-auth" && (set.value == "0" || set.level == chain.lowest)
        }) else {
            return Vec::new();
        };
        let mut lines = self.lines(set, chain.side, chain.trusts());
        if set.value == "0" {
            match &self.settings.verify_until {
                Some(date) => lines.push(Line::bare("verify_until", date, "--verify-until")),
                None => self.refuse_unverified(chain),
            }
        }
        lines
    }

    /// Where `client-auth=0` holds and has no end, or no listener to stand in.
    fn refuse_unverified(&mut self, chain: &Chain) {
        let all = levels::vendor(&chain.sets).into_iter();
        let Some(set) = all.filter(|set| set.value == "0").find(|set| set.name == "client-auth")
        else {
            return;
        };
        let message = "does not authenticate the server (it says nothing about client \
                       certificates): verify = \"none\" stands in a listener, with an end";
        let hint = "Say until when with --verify-until 2027-12-31, and which connection it is \
                    with --connection, --listen and --upstream; or take the option out.";
        self.findings.push(Finding::error(&set.place, &set.name, message, hint));
    }

    /// The vendor's keep-alive, for whoever sets an idle timeout.
    fn addp(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for entry in &self.read.addp {
            let [name, value] = [&entry.name, &entry.value];
            if !matches!(name.as_str(), "addp-timeout" | "addp-remote-timeout") {
                continue;
            }
            match value.parse::<u32>() {
                Ok(0) => {}
                Ok(seconds) => lines.push(Line::comment(format!(
                    "{}: {name} = {value}: timeouts.idle stays off; where it is set, it is {} \
                     seconds at least",
                    entry.place,
                    u64::from(seconds) * 3
                ))),
                Err(_) => {
                    let message = format!("{value:?} is no number of seconds");
                    self.findings.push(Finding::warning(&entry.place, name, message, ""));
                }
            }
        }
        lines
    }

    fn tell_split(&mut self, identity: &[Set]) {
        let levels: BTreeSet<Level> = identity.iter().map(|set| set.level).collect();
        let Some(lowest) = levels.first().filter(|_| levels.len() > 1) else { return };
        let from = identity.iter().map(|set| format!("{} of the {}", set.name, set.level.name()));
        let from = from.collect::<Vec<_>>().join(", ");
        let place = identity.iter().find(|set| set.level == *lowest).map(|set| &set.place);
        let message = format!(
            "the vendor's reader puts it together ({from}), against the vendor's guide; written \
             whole for the {}",
            lowest.name()
        );
        let place = place.cloned().unwrap_or_default();
        self.findings.push(Finding::warning(&place, "certificate", message, ""));
    }
}
