//! What is done at the same time as others: a plan with what only a mix needs.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Error;
use super::hello::Hello;
use super::plan::{Pace, Plan, TlsVersion, Workload};
use super::retry::Retry;
use super::slots::Task;
use super::talk::{Protocol, Talk};

/// One of the flows of a mix.
#[derive(Clone, Debug, Serialize)]
pub struct Flow {
    /// What it is called, unlike the others of its mix.
    pub name: String,
    /// What it does. Pace and length are those of its first period.
    pub plan: Plan,
    /// From when all flows are prepared until its first period.
    pub start: Duration,
    /// The periods behind the first, which follow each other and may leave gaps.
    pub later: Vec<Period>,
    /// What is said where the plan's workload has an echo: no talk of bulk. It has sizes of its own.
    pub talk: Option<Talk>,
    /// The addresses that its connections come from, each slot from one of them, in turn; whatever the
    /// kernel chooses when there are none.
    pub sources: Vec<IpAddr>,
    /// How its clients begin.
    pub hello: Hello,
    /// What is to come of its operations.
    pub wants: Wants,
    /// Whether operations that failed are tried again.
    pub retry: Option<Retry>,
    /// What its clients show to a server that asks for a certificate, each connection slot one of
    /// them, in turn; when there are none, all show what the plan says.
    #[serde(skip)]
    pub identities: Arc<[Identity]>,
}

/// What an operation has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Wants {
    /// An answer that is right.
    Answer,
    /// The server ends the connection, or says by an alert why it does not go on. An answer is an
    /// error, and so is a server that does nothing.
    Refusal,
}

/// A time in which operations start. Connections stay between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Period {
    /// From when all flows are prepared.
    pub start: Duration,
    /// How long it is.
    pub length: Duration,
    /// What decides when operations start.
    pub pace: Pace,
}

/// A certificate of a client and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and behind it those between it and its CA.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Flow {
    /// A plan that is the only flow, and begins at once.
    pub fn alone(plan: Plan) -> Self {
        Self {
            name: "load".to_owned(),
            plan,
            start: Duration::ZERO,
            later: Vec::new(),
            talk: None,
            sources: Vec::new(),
            hello: Hello::Usual,
            wants: Wants::Answer,
            retry: None,
            identities: Arc::default(),
        }
    }

    /// From when all flows are prepared until it starts no more.
    pub fn length(&self) -> Duration {
        let last = self.period(self.later.len()).expect("there is always a last period");
        match self.plan.workload {
            Workload::Idle { hold } => last.start + hold,
            _ => last.start + last.length,
        }
    }

    /// Its periods, in order; never none.
    pub(super) fn period(&self, number: usize) -> Option<Period> {
        match number.checked_sub(1) {
            None => Some(Period {
                start: self.start,
                length: self.plan.stop.after,
                pace: self.plan.pace,
            }),
            Some(later) => self.later.get(later).copied(),
        }
    }

    /// How long a task that failed waits for its next attempt; none when there is no other.
    pub(super) fn wait_behind(&self, task: Task) -> Option<Duration> {
        let Task::Operation { attempt, .. } = task else { return None };
        self.retry.and_then(|retry| retry.wait(attempt))
    }

    /// # Errors
    /// [`Error::Plan`] with what is wrong.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.plan.check()?;
        let wrong = |problem: &str| Err(Error::Plan(problem.to_owned()));
        let mut end = self.start.saturating_add(self.plan.stop.after);
        for period in &self.later {
            if period.start < end {
                return wrong("a period begins before the one before it ends");
            }
            if std::mem::discriminant(&period.pace) != std::mem::discriminant(&self.plan.pace)
                || period.pace.concurrency() != self.plan.pace.concurrency()
            {
                return wrong(
                    "all periods have as many connections, and are open loops or none is",
                );
            }
            Plan { pace: period.pace, ..self.plan.clone() }.check()?;
            end = period.start.saturating_add(period.length);
        }
        let is_bulk =
            matches!(self.plan.workload, Workload::BulkDown { .. } | Workload::BulkUp { .. });
        if self.talk.as_ref().is_some_and(|talk| is_bulk || talk.at_once == 0) {
            return wrong("bulk has no talk, and a talk says at least one thing at once");
        }
        self.check_silence()?;
        let is_odd = self.hello != Hello::Usual;
        if is_odd && (self.plan.tls.is_none() || self.plan.workload.keeps_connections()) {
            return wrong("only handshakes of TLS have a hello that may be unusual");
        }
        let family = self.plan.target.is_ipv4();
        if self.sources.iter().any(|source| source.is_ipv4() != family) {
            return wrong("a source has another address family than the target");
        }
        if !self.later.is_empty() && matches!(self.plan.workload, Workload::Idle { .. }) {
            return wrong("connections are held once: no second period");
        }
        Ok(())
    }

    /// What holds where nothing is said.
    fn check_silence(&self) -> Result<(), Error> {
        if self.talk.as_ref().is_none_or(|talk| talk.protocol != Protocol::Nothing) {
            return Ok(());
        }
        let wrong = |problem: &str| Err(Error::Plan(problem.to_owned()));
        let workload = self.plan.workload;
        if !matches!(workload, Workload::Handshakes { .. } | Workload::Reconnect { .. }) {
            return wrong("only a handshake is an operation without something to say");
        }
        // Tickets and refusals of a client's certificate come behind it (RFC 8446 §4.6.1, §2).
        let is_short = self.plan.tls.as_ref().is_some_and(|tls| tls.version == TlsVersion::V13);
        if is_short && (workload.resumed() > 0.0 || self.wants == Wants::Refusal) {
            return wrong(
                "of TLS 1.3, who says nothing neither resumes nor learns of a refusal: say something, \
                 or take TLS 1.2",
            );
        }
        Ok(())
    }
}
