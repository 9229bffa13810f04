//! Certificates, keys, CAs and lists of revoked certificates that were put through the control
//! socket, and count in the place of their files.
//!
//! What was put counts until its file itself changes or the process ends: no configuration that is
//! loaded meanwhile brings back what was replaced. It is put in transactions, which are checked as a
//! reload is and count whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::reload::{ReloadError, Reloaded};
use super::watch::Stamp;
use super::{Addresses, Gateway, unix_now};
use crate::tls::file::Replaced;

/// What counts, and what is about to.
#[derive(Default)]
pub(super) struct Replacements {
    in_use: BTreeMap<PathBuf, Replacement>,
    open: Option<Transaction>,
    /// Transactions so far.
    count: u64,
}

#[derive(Clone)]
struct Replacement {
    content: Arc<Zeroizing<Vec<u8>>>,
    /// Its file, when this took its place.
    file: Option<Stamp>,
}

struct Transaction {
    number: u64,
    /// Unix time.
    used: i64,
    files: BTreeMap<PathBuf, Arc<Zeroizing<Vec<u8>>>>,
}

impl Replacements {
    /// What still counts in the place of files: of those that have changed since, the newer one does.
    pub(super) fn unchanged(&self) -> Replaced {
        let all = self.in_use.iter().filter(|(path, one)| Stamp::of(path) == one.file);
        all.map(|(path, one)| (path.clone(), Arc::clone(&one.content))).collect()
    }

    /// Forgets the others, which do not count any more.
    pub(super) fn keep(&mut self, counts: &Replaced) {
        self.in_use.retain(|path, _| {
            let stays = counts.contains_key(path);
            if !stays {
                let file = path.display();
                tracing::info!(%file, "the file has changed: what was put in its place is forgotten");
            }
            stays
        });
    }

    /// Forgets a transaction that nobody uses: it may hold keys.
    pub(super) fn forget_abandoned(&mut self) {
        let now = unix_now();
        self.open.take_if(|open| !open.is_alive(now));
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.in_use.keys().map(PathBuf::as_path)
    }

    /// For the answer to a reload.
    pub(super) fn warning(&self) -> Option<String> {
        let paths: Vec<String> = self.paths().map(|path| path.display().to_string()).collect();
        (!paths.is_empty()).then(|| {
            format!(
                "put through the control socket, and not what the file says: {}",
                paths.join(", ")
            )
        })
    }

    /// The open transaction, if it is that one.
    fn open(&mut self, number: u64) -> Result<&mut Transaction, String> {
        let now = unix_now();
        let open = self.open.as_mut().filter(|open| open.number == number && open.is_alive(now));
        let open = open.ok_or_else(|| format!("no transaction {number} is open"))?;
        open.used = now;
        Ok(open)
    }

    fn bytes(&self) -> usize {
        let in_use = self.in_use.values().map(|one| one.content.len());
        let open = self.open.iter().flat_map(|open| open.files.values());
        in_use.chain(open.map(|content| content.len())).sum()
    }
}

impl Transaction {
    fn is_alive(&self, now: i64) -> bool {
        now - self.used < PATIENCE
    }
}

impl Gateway {
    /// Begins a transaction and returns its number, and that of its files. There is one at a time; one that nobody has used
    /// for a while is over.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn begin_replacing(&mut self) -> Result<(u64, usize), String> {
        let (replacements, now) = (&mut self.replacements, unix_now());
        if let Some(open) = replacements.open.as_ref().filter(|open| open.is_alive(now)) {
            let left = PATIENCE - (now - open.used);
            return Err(format!(
                "transaction {} is open, for {left} s more: abort it",
                open.number
            ));
        }
        replacements.count += 1;
        let (number, files) = (replacements.count, BTreeMap::new());
        replacements.open = Some(Transaction { number, used: now, files });
        Ok((number, 0))
    }

    /// Puts the content of a file into a transaction, and returns the same. Nothing is read of it yet.
    ///
    /// # Errors
    /// When the configuration names no such file, or it is too much.
    pub(super) fn put(
        &mut self,
        number: u64,
        path: &Path,
        content: Zeroizing<Vec<u8>>,
    ) -> Result<(u64, usize), String> {
        let path = self.named_file(path)?;
        let room = MOST_BYTES.saturating_sub(self.replacements.bytes());
        let open = self.replacements.open(number)?;
        if content.len() > room {
            return Err(format!("more than {MOST_BYTES} bytes for all files together"));
        }
        open.files.insert(path, Arc::new(content));
        Ok((number, open.files.len()))
    }

    /// Makes what was put count from now on, if the configuration that runs can be loaded with it.
    ///
    /// # Errors
    /// Nothing has changed, and the transaction is over.
    pub(super) fn commit(&mut self, number: u64) -> Result<Reloaded, String> {
        self.replacements.open(number)?;
        let transaction = self.replacements.open.take().expect("it was found open");
        let before = self.replacements.in_use.clone();
        for (path, content) in transaction.files {
            let file = Stamp::of(&path);
            self.replacements.in_use.insert(path, Replacement { content, file });
        }
        let text = self.texts.current().clone();
        let result = self.take(text, self.config.clone(), Addresses::Kept);
        if result.is_err() {
            self.replacements.in_use = before;
        }
        self.tell(&result);
        result.map_err(|error: ReloadError| error.to_string())
    }

    /// Forgets what was put.
    ///
    /// # Errors
    /// When that transaction is not open.
    pub(super) fn abort(&mut self, number: u64) -> Result<(), String> {
        self.replacements.open(number)?;
        self.replacements.open = None;
        Ok(())
    }

    /// The path by which the configuration knows a file of certificates, keys, CAs or CRLs, which may
    /// be said as it stands there.
    fn named_file(&self, path: &Path) -> Result<PathBuf, String> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let resolved = folder.join(path);
        let secret = self.config.resumption.ticket_secret.as_ref();
        let files =
            || self.watched.files().filter(|file| secret.is_none_or(|secret| secret != file));
        let found = files().find(|file| *file == path || *file == resolved);
        found.map(Path::to_owned).ok_or_else(|| {
            let all: Vec<String> = files().map(|file| file.display().to_string()).collect();
            let (path, all) = (path.display(), all.join(", "));
            format!("the configuration names no {path} for certificates, keys, CAs or CRLs: {all}")
        })
    }
}

/// Seconds that a transaction may lie idle.
const PATIENCE: i64 = 300;
/// Of all that was put.
const MOST_BYTES: usize = 64 << 20;
