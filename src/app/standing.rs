//! What outlives configurations: sessions that peers may resume, and the names of listeners.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::Compiled;
use super::unix_now;
use crate::config::Config;
use crate::config::model::Listener;
use crate::lane::Door;
use crate::policy::Policy;
use crate::telemetry::ListenerNames;
use crate::tls::resumption::{Clock, Resumption};
use crate::tls::weak::WeakServers;
use crate::upstream::{Presences, Resolver};

/// Made at start, and handed from one configuration to the next.
#[derive(Clone, Debug)]
pub struct Standing {
    pub resumption: Resumption,
    /// What weak lanes accept with.
    pub weak: WeakServers,
    /// Every upstream endpoint that a generation has.
    pub presences: Presences,
    /// Who knows the addresses of upstreams' names.
    pub resolver: Resolver,
    /// Where connections of the legacy lane go. Its profiles are those of all generations.
    pub door: Door,
    /// Every listener that there has been, by its index in telemetry.
    pub names: ListenerNames,
    /// What the configuration that runs was compiled to; none before the first.
    pub policy: Option<Arc<Policy>>,
}

impl Standing {
    /// For a process that has run no configuration yet.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(config: &Config) -> Result<Self, rustls::Error> {
        let clock = Clock::new(|| u64::try_from(unix_now()).unwrap_or_default());
        let resumption = Resumption::new(&config.resumption, clock)?;
        Ok(Self {
            resumption,
            weak: WeakServers::default(),
            presences: Presences::default(),
            resolver: Resolver::system(),
            door: Door::default(),
            names: ListenerNames::default(),
            policy: None,
        })
    }

    /// Generation of the configuration that runs; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.policy.as_ref().map_or(0, |policy| policy.generation)
    }

    /// A configuration that was compiled to follow this runs now.
    pub(super) fn follow(&mut self, compiled: &Compiled) {
        self.names = Arc::clone(&compiled.names);
        self.policy = Some(Arc::clone(&compiled.policy));
    }

    /// The names, with those of `listeners` that are new, and the index of each; `None` when there
    /// would be more than [`MAX_NAMES`].
    pub(super) fn names_with(
        &self,
        listeners: &[Listener],
    ) -> Option<(ListenerNames, HashMap<Arc<str>, usize>)> {
        let mut names = self.names.to_vec();
        let known = names.iter().cloned().zip(0..);
        let mut indexes: HashMap<Arc<str>, usize> = known.collect();
        for listener in listeners {
            if !indexes.contains_key(listener.name.as_str()) {
                let name: Arc<str> = listener.name.as_str().into();
                indexes.insert(Arc::clone(&name), names.len());
                names.push(name);
            }
        }
        (names.len() <= MAX_NAMES).then(|| (names.into(), indexes))
    }
}

/// Names that one process gives to listeners, over all its configurations. Their counters are
/// kept, so that totals never go back: about 4 KiB for each name and worker.
pub(super) const MAX_NAMES: usize = 2 * 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with listeners of these names.
    fn config(names: impl Iterator<Item = String>) -> Config {
        let listener = |(number, name): (usize, String)| {
            let [high, low] = u16::try_from(number).expect("few listeners").to_be_bytes();
            format!(
                "[[listener]]\nname = \"{name}\"\nlisten = \"127.1.{high}.{low}:1\"\n\
                 upstream = \"127.0.0.1:2\"\n[listener.tls]\ncertificate = \"a\"\n\
                 certificate_key = \"b\"\n"
            )
        };
        let text: String = names.enumerate().map(listener).collect();
        crate::config::parse("a.toml", &text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    }

    fn named(names: &[&str]) -> Config {
        config(names.iter().map(|&name| name.to_owned()))
    }

    #[test]
    fn a_name_keeps_its_index_over_all_configurations() {
        let mut standing = Standing::new(&named(&["a"])).expect("random numbers");
        for (names, expected) in
            [(&["a", "b"][..], [0, 1]), (&["c", "b"], [2, 1]), (&["a", "c"], [0, 2])]
        {
            let (all, indexes) = standing.names_with(&named(names).listeners).expect("few names");
            let found: Vec<usize> = names.iter().map(|&name| indexes[name]).collect();
            assert_eq!(found, expected);
            assert!(all.starts_with(&standing.names));
            standing.names = all;
        }
        let all: Vec<&str> = standing.names.iter().map(|name| &**name).collect();
        assert_eq!(all, ["a", "b", "c"]);
    }

    #[test]
    fn names_are_not_without_end() {
        let numbered = |from: usize| config((from..from + 4096).map(|number| format!("n{number}")));
        let mut standing = Standing::new(&named(&["a"])).expect("random numbers");
        for from in [0, 4096] {
            standing.names = standing.names_with(&numbered(from).listeners).expect("room").0;
        }
        assert_eq!(standing.names.len(), MAX_NAMES);
        assert!(standing.names_with(&numbered(2048).listeners).is_some(), "all known");
        assert!(standing.names_with(&named(&["one-more"]).listeners).is_none());
    }
}
