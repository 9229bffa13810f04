//! What outlives configurations: sessions that peers may resume, and the names of listeners.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::Compiled;
use crate::config::Config;
use crate::config::model::Listener;
use crate::telemetry::ListenerNames;
use crate::tls::resumption::{Clock, SessionStore};

/// Made at start, and handed from one configuration to the next.
#[derive(Clone, Debug)]
pub struct Standing {
    pub store: Arc<SessionStore>,
    /// Every listener that there has been, by its index in telemetry.
    pub names: ListenerNames,
    /// Of the configuration that runs; 0 before the first.
    pub generation: u64,
}

impl Standing {
    /// For a process that has run no configuration yet.
    pub fn new(config: &Config) -> Self {
        Self {
            store: SessionStore::new(&config.resumption, Clock::system()),
            names: ListenerNames::default(),
            generation: 0,
        }
    }

    /// A configuration that was compiled to follow this runs now.
    pub(super) fn follow(&mut self, compiled: &Compiled) {
        self.names = Arc::clone(&compiled.names);
        self.generation = compiled.policy.generation;
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
