//! Which settings a running gateway cannot change.

use super::model::{Config, Gateway, Log, Resumption};

/// What is asked of each of them: whether two configurations differ there.
type Differs = fn(&Config, &Config) -> bool;

/// Every option whose `reload` is false, but for those of a listener, by its path.
const FIXED: &[(&str, Differs)] = &[
    ("gateway.workers", |a, b| a.gateway.workers != b.gateway.workers),
    ("gateway.engine", |a, b| a.gateway.engine != b.gateway.engine),
    ("gateway.sqpoll", |a, b| a.gateway.polling.sqpoll != b.gateway.polling.sqpoll),
    ("gateway.sqpoll_cpus", |a, b| a.gateway.polling.sqpoll_cpus != b.gateway.polling.sqpoll_cpus),
    ("gateway.busy_poll", |a, b| a.gateway.polling.busy_poll != b.gateway.polling.busy_poll),
    ("gateway.max_connections", |a, b| a.gateway.max_connections != b.gateway.max_connections),
    ("gateway.buffer_memory", |a, b| a.gateway.buffer_memory != b.gateway.buffer_memory),
    ("gateway.sandbox", |a, b| a.gateway.sandbox != b.gateway.sandbox),
    ("gateway.hello_memory", |a, b| a.gateway.hello_memory != b.gateway.hello_memory),
    ("gateway.hello_memory_per_source", |a, b| {
        a.gateway.hello_memory_per_source != b.gateway.hello_memory_per_source
    }),
    ("handshakes.in_progress", |a, b| {
        a.gateway.handshakes.in_progress != b.gateway.handshakes.in_progress
    }),
    ("handshakes.queue_timeout", |a, b| {
        a.gateway.handshakes.queue_timeout != b.gateway.handshakes.queue_timeout
    }),
    ("handshakes.source_failures", |a, b| {
        a.gateway.handshakes.source_failures != b.gateway.handshakes.source_failures
    }),
    ("handshakes.legacy_in_progress", |a, b| {
        a.gateway.handshakes.legacy_in_progress != b.gateway.handshakes.legacy_in_progress
    }),
    ("handshakes.legacy_rate", |a, b| {
        a.gateway.handshakes.legacy_rate != b.gateway.handshakes.legacy_rate
    }),
    ("admin.listen", |a, b| a.admin.listen != b.admin.listen),
    ("admin.control", |a, b| a.admin.control != b.admin.control),
    ("admin.control_group", |a, b| a.admin.control_group != b.admin.control_group),
    ("admin.control_operators", |a, b| a.admin.control_operators != b.admin.control_operators),
    ("admin.control_admins", |a, b| a.admin.control_admins != b.admin.control_admins),
    ("log.format", |a, b| a.log.format != b.log.format),
    ("resumption.max_entries", |a, b| a.resumption.max_entries != b.resumption.max_entries),
    ("resumption.max_bytes", |a, b| a.resumption.max_bytes != b.resumption.max_bytes),
];

/// A sentence for each setting of `wanted` that needs a restart, because it is another one than
/// in `running`.
pub fn needs_restart(running: &Config, wanted: &Config) -> Vec<String> {
    let fixed = FIXED.iter().filter(|(_, differs)| differs(running, wanted));
    let mut sentences: Vec<String> = fixed
        .map(|(path, _)| format!("{path} has changed: it takes effect at a restart"))
        .collect();
    for listener in &wanted.listeners {
        let before = running.listeners.iter().find(|before| before.listen == listener.listen);
        if before.is_some_and(|before| before.backlog != listener.backlog) {
            let name = &listener.name;
            sentences.push(format!(
                "listener[{name}].backlog has changed: it takes effect at a restart"
            ));
        }
    }
    sentences
}

impl Config {
    /// `wanted`, with the settings of `self` where a running gateway cannot change them.
    pub fn with_reloadable(&self, mut wanted: Self) -> Self {
        for listener in &mut wanted.listeners {
            let before = self.listeners.iter().find(|before| before.listen == listener.listen);
            listener.backlog = before.map_or(listener.backlog, |before| before.backlog);
        }
        Self {
            gateway: Gateway {
                drain_timeout: wanted.gateway.drain_timeout,
                certificate_watch: wanted.gateway.certificate_watch,
                crl_watch: wanted.gateway.crl_watch,
                restart_timeout: wanted.gateway.restart_timeout,
                record_layer: wanted.gateway.record_layer,
                ..self.gateway.clone()
            },
            admin: self.admin.clone(),
            log: Log { format: self.log.format, ..wanted.log },
            resumption: Resumption {
                max_entries: self.resumption.max_entries,
                max_bytes: self.resumption.max_bytes,
                ..wanted.resumption
            },
            listeners: wanted.listeners,
            notes: wanted.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{options::options, parse};
    use super::*;

    fn config(gateway: &str, backlog: u32) -> Config {
        let text = format!(
            "[gateway]\n{gateway}\n[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n\
             upstream = \"127.0.0.1:2\"\nbacklog = {backlog}\n[listener.tls]\n\
             certificate = \"a\"\ncertificate_key = \"b\"\n"
        );
        parse("a.toml", &text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    }

    #[test]
    fn every_option_that_cannot_be_reloaded_is_looked_at() {
        let documented: BTreeSet<String> =
            options().filter(|option| !option.reload).map(|option| option.path()).collect();
        let looked_at: BTreeSet<String> = FIXED
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .chain(["listener.backlog".to_owned()])
            .collect();
        assert_eq!(looked_at, documented);
    }

    #[test]
    fn what_cannot_change_stays_and_is_told_each_time() {
        let (running, wanted) =
            (config("workers = 1", 10), config("workers = 2\ndrain_timeout = \"5s\"", 20));
        let sentences = needs_restart(&running, &wanted);
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        let now = running.with_reloadable(wanted.clone());
        assert_eq!(now.gateway.workers, Some(1));
        assert_eq!(now.gateway.drain_timeout, wanted.gateway.drain_timeout);
        assert_eq!(now.listeners[0].backlog, 10);
        assert_eq!(needs_restart(&now, &wanted), sentences);
        assert!(needs_restart(&running, &running).is_empty());
    }
}
