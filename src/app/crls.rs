//! Lists of revoked certificates, swapped while a configuration runs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Gateway, unix_now};
use crate::shard::mailbox::Command;
use crate::tls::file::with_replaced;
use crate::tls::trust::{CrlReload, SharedCrls};

/// The lists of the configuration that runs.
#[derive(Debug, Default)]
pub(super) struct Crls {
    lists: Vec<Arc<SharedCrls>>,
    /// When they were looked at last, Unix time.
    looked_at: i64,
    /// A worker was not told of the last change: its mailbox was full.
    untold: bool,
}

impl Crls {
    pub(super) fn new(lists: Vec<Arc<SharedCrls>>) -> Self {
        Self { lists, looked_at: unix_now(), untold: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Whether the time has come, since the last look, at which one of the lists expires.
    fn expired_since(&mut self) -> bool {
        let now = unix_now();
        let since = std::mem::replace(&mut self.looked_at, now);
        let has_expired = |list: &Arc<SharedCrls>| {
            let current = list.current();
            current.facts().iter().any(|facts| (since + 1..=now).contains(&facts.next_update))
        };
        self.lists.iter().any(has_expired)
    }
}

impl Gateway {
    /// When a file of revoked certificates has changed, or a list has expired, has all connections
    /// judged again that are up. What cannot be used is told, and tried again after the next change.
    pub(super) fn look_at_crls(&mut self) {
        let files = self.watched.crls.renew();
        let mut changed = !files.is_empty();
        if changed {
            let replaced = self.replacements.unchanged();
            self.replacements.keep(&replaced);
            changed = with_replaced(replaced, || self.swap_crls(&files));
        }
        changed |= self.crls.expired_since();
        if changed || self.crls.untold {
            // One whose mailbox is full has been stuck for long.
            let told = |worker: &super::workers::Address| worker.send(Command::Revalidate);
            self.crls.untold = self.workers.iter().filter(|worker| !told(worker)).count() > 0;
        }
    }

    /// Reads these files again. Returns whether anything is different.
    fn swap_crls(&self, files: &HashSet<PathBuf>) -> bool {
        let mut any = false;
        for list in &self.crls.lists {
            if !list.files().any(|file| files.contains(file)) {
                continue;
            }
            let CrlReload { changed, problems } = list.reload();
            any |= changed;
            for problem in &problems {
                self.status.count_crls(false);
                let (file, allowed) = (problem.file.display(), problem.allowed);
                tracing::error!(
                    %file, found = %problem.found, allowed,
                    "list of revoked certificates refused, the one from before counts on"
                );
            }
            if changed {
                self.status.count_crls(true);
                let revoked: usize = list.current().facts().iter().map(|one| one.revoked).sum();
                let files: Vec<_> = list.files().map(|file| file.display().to_string()).collect();
                tracing::info!(
                    files = files.join(" "),
                    revoked,
                    "lists of revoked certificates swapped"
                );
            }
        }
        any
    }
}
