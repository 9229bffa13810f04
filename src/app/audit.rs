//! What the workers have seen, asked for and put together, with what the configuration brought.

#![expect(clippy::disallowed_methods, reason = "an edge: how long workers are waited for")]

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::status::Status;
use super::{unix_now, workers};
use crate::audit::expiry::Item;
use crate::audit::report::{
    CertificateRow, ConnectionRow, CrlRow, List, Owner, SideRow, Surroundings, Traffic, days_left,
    put_together, traffic,
};
use crate::audit::{Inventory, Part, Query, Report, Section, ShardCensus};
use crate::shard::census::{Live, Question, Which};
use crate::shard::mailbox::Command;
use crate::telemetry::CertificateFacts;
use crate::tls::trust::CrlFacts;

/// The way to every worker, and a mark that is held once more by each question that waits there.
#[derive(Clone)]
pub(super) struct Auditor(Vec<(workers::Address, Arc<()>)>);

impl std::fmt::Debug for Auditor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Auditor of {} workers", self.0.len())
    }
}

impl Auditor {
    pub(super) fn new(workers: &[workers::Address]) -> Self {
        Self(workers.iter().map(|worker| (worker.clone(), Arc::default())).collect())
    }

    pub(super) fn workers(&self) -> usize {
        self.0.len()
    }

    /// Of the workers that answer in time.
    pub(super) fn census(&self, part: Part) -> Vec<ShardCensus> {
        ask(&self.0, |reply| Question::Census(part, reply))
    }

    /// Of the workers that answer in time, and how many do not; of one of them alone, if `worker` says
    /// so.
    pub(super) fn connections(&self, worker: Option<usize>, which: &Which) -> (Vec<Live>, usize) {
        let workers = match worker {
            Some(number) => self.0.get(number).map(std::slice::from_ref).unwrap_or_default(),
            None => &self.0,
        };
        let answers = ask(workers, |reply| Question::Connections(which.clone(), reply));
        let missing = workers.len() - answers.len();
        (answers.into_iter().flatten().collect(), missing)
    }
}

fn ask<T>(
    workers: &[(workers::Address, Arc<()>)],
    question: impl Fn(SyncSender<T>) -> Question,
) -> Vec<T> {
    // Room for all answers, so that no worker finds it full.
    let (reply, answers) = sync_channel(workers.len());
    let deadline = Instant::now() + PATIENCE;
    for (worker, mark) in workers {
        // One that is behind with its answers needs the room in its mailbox for orders.
        if Arc::strong_count(mark) <= MOST_WAITING {
            // One that has ended has nothing to tell; one whose mailbox is full is missed.
            let _taken = worker.send(Command::Ask(question(reply.clone()), Arc::clone(mark)));
        }
    }
    drop(reply);
    let next = || answers.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

impl Status {
    /// What `query` asks for.
    pub(super) fn audit(&self, query: &Query) -> Report {
        let now = unix_now();
        let auditor = self.auditor();
        let around = self.surroundings(now);
        let needs_rows =
            [Section::Pairs, Section::Certificates, Section::Autodetect, Section::Lanes];
        let part = match needs_rows.into_iter().any(|section| query.wants(section)) {
            true => Part::All,
            false => Part::Summary,
        };
        let shards = auditor.map(|auditor| auditor.census(part)).unwrap_or_default();
        let mut report = put_together(query, &shards, &around);
        let (certificates, crls) = self.material();
        let ours = certificates.iter().map(|facts| certificate_row(facts, now));
        let crls = crls.iter().map(|facts| crl_row(facts, now));
        report.add_ours(query, ours.collect(), crls.collect());
        if query.wants(Section::Connections) {
            let which = Which::Of(Box::new(query.clone()));
            let live = auditor.map(|auditor| auditor.connections(None, &which));
            let (live, missing) = live.unwrap_or_default();
            report.workers_missing = report.workers_missing.max(missing);
            let rows: Vec<ConnectionRow> = live.iter().map(connection_row).collect();
            report.connections = Some(List::cut(rows, query.limit));
        }
        report
    }

    fn surroundings(&self, now: i64) -> Surroundings {
        Surroundings {
            now,
            generation: self.generation(),
            workers: self.auditor().map_or(0, Auditor::workers),
            autodetect: self.autodetect(now),
            lanes: self.weak_lanes(),
        }
    }

    /// For metrics and status. Sources are told with [`Part::All`].
    pub(super) fn seen(&self, part: Part) -> Traffic {
        let shards = self.auditor().map(|auditor| auditor.census(part)).unwrap_or_default();
        traffic(&shards, &self.surroundings(unix_now()), STATUS_SOURCES)
    }

    /// Who talks to whom, and all that ends.
    pub(super) fn everything(&self) -> Inventory {
        let now = unix_now();
        let shards = self.auditor().map(|auditor| auditor.census(Part::All)).unwrap_or_default();
        let mut inventory = Inventory::of(&shards, &self.surroundings(now));
        let (certificates, crls) = self.material();
        let ours = certificates.iter().map(|facts| certificate_row(facts, now));
        let crls = crls.iter().map(|facts| crl_row(facts, now));
        inventory.add_ours(ours.collect(), crls.collect());
        inventory
    }

    /// Everything that ends some day.
    pub(super) fn what_ends(&self) -> Vec<Item> {
        let (certificates, crls) = self.material();
        let mut items: Vec<Item> = crls.iter().map(crl_item).collect();
        for facts in &certificates {
            let CertificateFacts { listener, subject, serial, .. } = facts;
            let what = format!("listener {listener}: certificate {subject}, serial {serial}");
            items.push(Item { what, ends: facts.not_after_unix });
            items.extend(staple_item(facts));
        }
        for ((listener, side), certificate) in self.seen(Part::Summary).soonest {
            let (side, subject) = (side.as_str(), &certificate.subject);
            let what = format!(
                "listener {listener}: certificate of a peer ({side}) {subject}, serial {}",
                certificate.serial
            );
            items.push(Item { what, ends: certificate.not_after });
        }
        items.sort_by(|a, b| (a.ends, &a.what).cmp(&(b.ends, &b.what)));
        items.dedup();
        items
    }
}

/// The OCSP response that is sent with a certificate, as warnings name it.
pub(super) fn staple_item(facts: &CertificateFacts) -> Option<Item> {
    let CertificateFacts { listener, subject, .. } = facts;
    let ends = facts.staple?.next_update?;
    Some(Item { what: format!("listener {listener}: OCSP response for {subject}"), ends })
}

/// A CRL, as warnings name it.
pub(super) fn crl_item(facts: &CrlFacts) -> Item {
    let what = format!("{}: CRL of {}", facts.file.display(), facts.issuer);
    Item { what, ends: facts.next_update }
}

pub(super) fn connection_row(live: &Live) -> ConnectionRow {
    let side = |side: &Option<(crate::audit::Spoken, bool)>| {
        side.as_ref().map(|(spoken, resumed)| SideRow::of(spoken, u64::from(*resumed)))
    };
    ConnectionRow {
        id: format!("{}/{}", live.shard, live.connection),
        generation: live.policy.generation,
        listener: live.policy.name.to_string(),
        route: live.route.name.to_string(),
        peer: live.peer.map(|peer| peer.to_string()),
        stage: live.stage.as_str().to_owned(),
        age_seconds: live.age.as_secs(),
        sni: live.sni.as_ref().map(ToString::to_string),
        endpoint: live.endpoint.as_ref().map(ToString::to_string),
        address: live.address.as_ref().map(ToString::to_string),
        downstream: side(&live.downstream),
        upstream: side(&live.upstream),
    }
}

fn certificate_row(facts: &CertificateFacts, now: i64) -> CertificateRow {
    let next_update = facts.staple.and_then(|staple| staple.next_update);
    CertificateRow {
        not_after: facts.not_after_unix,
        days_left: days_left(facts.not_after_unix, now),
        owner: Owner::Ours,
        side: facts.side,
        listener: facts.listener.to_string(),
        subject: facts.subject.clone(),
        serial: facts.serial.clone(),
        issuer: None,
        seen: None,
        staple_this_update: facts.staple.map(|staple| staple.this_update),
        staple_next_update: next_update,
        staple_days_left: next_update.map(|ends| days_left(ends, now)),
    }
}

fn crl_row(facts: &CrlFacts, now: i64) -> CrlRow {
    CrlRow {
        next_update: facts.next_update,
        days_left: days_left(facts.next_update, now),
        this_update: facts.this_update,
        issuer: facts.issuer.clone(),
        file: facts.file.display().to_string(),
        revoked: facts.revoked,
    }
}

/// Sources of an autodetect listener that `/status` lists: there may be thousands, which
/// `tlsgate audit` tells.
const STATUS_SOURCES: usize = 100;
/// How long workers may take to answer: as long as readers of telemetry wait.
const PATIENCE: Duration = crate::telemetry::aggregator::DEADLINE;
/// Questions that may wait at a worker, and the auditor's own half of the mark: a few more when
/// several threads ask at once, far fewer than a mailbox takes.
const MOST_WAITING: usize = 4;
