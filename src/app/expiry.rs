//! Tells once a day, in the log, what ends soon: certificates, OCSP responses, CRLs, and the
//! certificates of peers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::status::Status;
use super::unix_now;
use crate::audit::expiry::Told;

/// A thread that looks, until this is dropped.
#[derive(Debug)]
pub(super) struct ExpiryWatch {
    /// Never carries a word: it is closed when this ends.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ExpiryWatch {
    /// Starts to look.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(status: Arc<Status>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let thread = Builder::new().name("expiry".to_owned()).spawn(move || {
            let mut told = Told::default();
            // Whoever loaded the configuration was told.
            let _told_before = told.due(&status.what_ends(), unix_now());
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                for line in told.due(&status.what_ends(), unix_now()) {
                    tracing::warn!("{line}");
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ExpiryWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches what expires panicked");
        }
    }
}

/// Time between two looks: soon enough after a peer has come, and workers look through their tables
/// in less than a hundred thousandth of it.
const PAUSE: Duration = Duration::from_secs(10);
