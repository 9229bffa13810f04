//! Why a connection that is open is treated as it is, by the configuration that it was admitted
//! under.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::audit::connection_row;
use crate::audit::report::ConnectionRow;
use crate::config::origins::Origin;
use crate::conn::outcome::Security;
use crate::policy::explain::{Asked, AskedLane, Explanation};
use crate::shard::census::{Live, Which};

/// The answer to `tlsgate explain --connection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    pub connection: ConnectionRow,
    pub decision: Explanation,
    /// What holds for it and who says so; none where that is forgotten.
    pub options: Option<Vec<Origin>>,
    /// The configuration file.
    pub file: String,
    /// What is to be known besides.
    pub notes: Vec<String>,
}

impl Gateway {
    /// Explains the connection of this id: its worker and number, as in `0/57`, or the number alone
    /// where only one worker has it.
    ///
    /// # Errors
    /// When there is none, or more than one, in words.
    pub fn explain(&self, id: &str) -> Result<Explained, String> {
        let (worker, number) = parse(id)?;
        let auditor = self.status.auditor().ok_or("the gateway is not up yet")?;
        let (found, missing) = auditor.connections(worker, &Which::One(number));
        let live = match found.as_slice() {
            [live] => live,
            [] if missing > 0 => {
                return Err(format!("{missing} worker(s) did not answer in time: try again"));
            }
            [] => return Err(format!("no connection {id} is open: tlsgate audit --connections")),
            several => {
                let ids = several.iter().map(|live| format!("{}/{number}", live.shard));
                let ids: Vec<String> = ids.collect();
                return Err(format!("several workers have a connection {id}: {}", ids.join(", ")));
            }
        };
        let decision = decide(live)?;
        let mut notes = Vec::new();
        let generation = live.policy.generation;
        let running = self.standing.generation();
        if generation != running {
            notes.push(format!(
                "admitted under generation {generation}: generation {running} runs now"
            ));
        }
        let rule = rule(live);
        if decision.rule != rule {
            let matching = decision.rule.as_deref().unwrap_or("none");
            notes.push(format!(
                "rule {matching} matches by what is known now, too late to be followed: the \
                 options are those of route {}",
                live.route.name
            ));
        }
        let text = self.texts.of(generation);
        let options = text.and_then(|text| text.options(&live.policy.name, rule.as_deref()));
        if options.is_none() {
            notes.push(format!(
                "what generation {generation} said is not kept any more: no options are shown"
            ));
        }
        let file = text.map_or_else(String::new, |text| text.name.clone());
        Ok(Explained { connection: connection_row(live), decision, options, file, notes })
    }
}

fn parse(id: &str) -> Result<(Option<usize>, u64), String> {
    let parsed = match id.split_once('/') {
        Some((worker, number)) => worker.parse().ok().map(Some).zip(number.parse().ok()),
        None => id.parse().ok().map(|number| (None, number)),
    };
    parsed.ok_or_else(|| {
        format!("\"{id}\" is no connection: give shard/connection of the access log, as in 0/57")
    })
}

/// Asks its own policy again.
fn decide(live: &Live) -> Result<Explanation, String> {
    let is_plaintext =
        |(spoken, _): &(crate::audit::Spoken, bool)| spoken.security == Security::Plaintext;
    live.policy.explain(&Asked {
        source: live.peer.map(|peer| peer.ip()),
        server_name: live.heard.server_name.as_deref(),
        alpn: &live.heard.alpn,
        version: live.heard.version,
        lane: AskedLane::Taken(live.lane),
        plaintext: live.downstream.as_ref().is_some_and(is_plaintext),
        certificate: live.certificate.as_ref(),
    })
}

/// The rule that it follows.
fn rule(live: &Live) -> Option<String> {
    let is_own = Arc::ptr_eq(&live.route, live.policy.route());
    (!is_own).then(|| live.route.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_with_or_without_its_worker() {
        assert_eq!(parse("57"), Ok((None, 57)));
        assert_eq!(parse("3/57"), Ok((Some(3), 57)));
        for id in ["", "/", "a", "1/", "/1", "1/2/3", "-1"] {
            assert!(parse(id).is_err(), "{id}");
        }
    }
}
