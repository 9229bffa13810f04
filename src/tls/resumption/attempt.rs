//! The connection that rustls works for, for those whom rustls does not tell.
//!
//! rustls asks ticketer and session store without saying for which connection, and gives a session
//! that is resumed a new time. So whoever calls rustls does it inside [`Attempt::run`], which lays
//! what is known of the connection where the ticketer and the store find it: in a variable of the
//! thread. A call into rustls begins and ends on one thread, so they meet the right one.

use std::cell::RefCell;

use rustls::HandshakeKind;

use super::CrlDigest;
use super::binding::{Fingerprint, Origin};
use super::counters::Refusal;

thread_local! {
    static CURRENT: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
}

/// What resumption knows of one TLS connection while it shakes hands.
#[derive(Debug)]
pub struct Attempt {
    /// On the heap, and only for as long as sessions can come or go.
    state: Option<Box<State>>,
    refused: Option<Refusal>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    kind: Option<HandshakeKind>,
    /// Of the last session that was found good.
    found: Option<Origin>,
    /// That of this handshake, if it turns out to be a full one.
    fresh: Option<Origin>,
    /// Our own certificate, if this handshake has shown it.
    shown: Option<Fingerprint>,
    /// The last second in which the component's certificates are valid, once that is known.
    good_until: Option<u64>,
    refused: Option<Refusal>,
}

impl Attempt {
    pub fn new() -> Self {
        Self { state: Some(Box::default()), refused: None }
    }

    /// Makes a call into rustls for this connection. `kind` is what rustls says before the call
    /// about the kind of its handshake.
    pub fn run<T>(&mut self, kind: Option<HandshakeKind>, call: impl FnOnce() -> T) -> T {
        let Some(mut state) = self.state.take() else { return call() };
        state.kind = kind;
        let entered = Entered::new(self, state);
        let result = call();
        drop(entered);
        result
    }

    /// The component that this thread shakes hands with, if it does, has shown certificates that are
    /// valid up to this second, Unix time: its sessions are not resumed after it.
    pub fn note_end(not_after: i64) {
        note(|state| state.good_until = Some(u64::try_from(not_after).unwrap_or_default()));
    }

    /// The client as which this thread shakes hands, if it does, shows the certificate with this
    /// SHA-256.
    pub fn note_client(fingerprint: [u8; 32]) {
        note(|state| state.shown = Some(fingerprint));
    }

    /// As the client: whether our certificate was shown, in this handshake or in the one that its
    /// session comes from. `kind` is what rustls says about the handshake.
    pub fn has_shown_certificate(&self, kind: Option<HandshakeKind>) -> bool {
        self.state.as_ref().is_some_and(|state| match kind {
            Some(HandshakeKind::Resumed) => state.found.is_some_and(|from| from.client.is_some()),
            _ => state.shown.is_some(),
        })
    }

    /// Why the last session that the peer offered was not resumed.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// Gives the memory back: no session comes or goes any more. That is so for a server once it
    /// has sent its tickets, with the end of the handshake; a client may get some at any time.
    pub fn end(&mut self) {
        self.state = None;
    }
}

impl Default for Attempt {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the state back also when the call panics.
struct Entered<'a>(&'a mut Attempt);

impl<'a> Entered<'a> {
    fn new(attempt: &'a mut Attempt, state: Box<State>) -> Self {
        let before = CURRENT.replace(Some(state));
        debug_assert!(before.is_none(), "rustls does not call us to call it");
        Self(attempt)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.state = CURRENT.take();
        self.0.refused = self.0.state.as_ref().and_then(|state| state.refused);
    }
}

/// The connection that rustls works for. `None` is a mistake of whoever calls rustls; sessions are
/// neither made nor resumed then.
pub(super) fn current<T>(use_state: impl FnOnce(&mut State) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|state| {
        debug_assert!(state.is_some(), "rustls was called outside of Attempt::run");
        state.as_deref_mut().map(use_state)
    })
}

/// Tells the connection that rustls works for. Verifiers and identities are asked for others, too.
fn note(tell: impl FnOnce(&mut State)) {
    CURRENT.with_borrow_mut(|state| {
        if let Some(state) = state {
            tell(state);
        }
    });
}

impl State {
    /// A session was found and is good. rustls may still prefer a full handshake.
    pub(super) fn found(&mut self, origin: Origin) {
        self.found = Some(origin);
    }

    /// As [`Attempt::note_end`], of the session that was found.
    pub(super) fn is_good_until(&mut self, second: Option<u64>) {
        self.good_until = second;
    }

    /// When the session ends that is made now, if its component's certificates end.
    pub(super) fn good_until(&self) -> Option<u64> {
        self.good_until
    }

    pub(super) fn refuse(&mut self, cause: Refusal) {
        self.refused = Some(cause);
    }

    /// The peer's certificate is about to be checked, or was checked by CRLs as they were before.
    pub(super) fn establish(&mut self, fresh: Origin) {
        self.fresh = Some(fresh);
    }

    /// Where a session comes from that is made at `now`: that of the session which was resumed, or
    /// this handshake. `crl_epoch` is that of now, for when nobody's certificate was checked.
    pub(super) fn origin(&self, now: u64, crl_epoch: CrlDigest) -> Origin {
        use HandshakeKind::{Full, FullWithHelloRetryRequest};
        // Not known yet is resumed: TLS 1.2 makes a session in the very call that decides on the
        // kind only when it resumes. A full handshake has another flight before it.
        let is_full = matches!(self.kind, Some(Full | FullWithHelloRetryRequest));
        match self.found {
            Some(origin) if !is_full => origin,
            _ => {
                let now = Origin { authenticated: now, crl_epoch, client: None };
                let fresh = self.fresh.unwrap_or(now);
                Origin { client: self.shown.or(fresh.client), ..fresh }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(attempt: &mut Attempt, kind: Option<HandshakeKind>) -> Origin {
        let now = CrlDigest::of(&["now"]);
        attempt.run(kind, || current(|state| state.origin(9, now))).expect("inside of a run")
    }

    #[test]
    fn whoever_resumes_is_who_shook_hands() {
        let (full, resumed) = (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed));
        let mut attempt = Attempt::new();
        assert!(!attempt.has_shown_certificate(full));
        attempt.run(None, || Attempt::note_client([7; 32]));
        assert!(attempt.has_shown_certificate(full) && !attempt.has_shown_certificate(resumed));
        let made = origin(&mut attempt, full);
        assert_eq!(made.client, Some([7; 32]));
        let mut attempt = Attempt::new();
        attempt.run(None, || current(|state| state.found(made)));
        assert!(attempt.has_shown_certificate(resumed) && !attempt.has_shown_certificate(full));
        assert_eq!(origin(&mut attempt, resumed), made);
    }

    #[test]
    fn only_a_full_handshake_starts_the_time() {
        let old = Origin { authenticated: 5, crl_epoch: CrlDigest::default(), client: None };
        let mut attempt = Attempt::new();
        let crl_epoch = CrlDigest::of(&["now"]);
        let new = Origin { authenticated: 9, crl_epoch, client: None };
        assert_eq!(origin(&mut attempt, None), new);
        attempt.run(None, || current(|state| state.found(old)));
        for kind in [None, Some(HandshakeKind::Resumed)] {
            assert_eq!(origin(&mut attempt, kind), old);
        }
        for kind in [HandshakeKind::Full, HandshakeKind::FullWithHelloRetryRequest] {
            assert_eq!(origin(&mut attempt, Some(kind)), new);
        }
        let crl_epoch = CrlDigest::of(&["before"]);
        let checked = Origin { authenticated: 8, crl_epoch, client: Some([7; 32]) };
        attempt.run(None, || current(|state| state.establish(checked)));
        assert_eq!(origin(&mut attempt, Some(HandshakeKind::Full)), checked);
        assert_eq!(origin(&mut attempt, Some(HandshakeKind::Resumed)), old);
    }

    #[test]
    fn connections_of_a_thread_are_apart_also_after_a_panic() {
        let [mut one, mut two] = [Attempt::new(), Attempt::new()];
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            one.run(None, || {
                current(|state| state.refuse(Refusal::CrlEpoch));
                panic!("in rustls");
            });
        }));
        assert!(panicked.is_err());
        two.run(None, || current(|state| state.refuse(Refusal::Identity)));
        assert_eq!(
            (one.refused(), two.refused()),
            (Some(Refusal::CrlEpoch), Some(Refusal::Identity))
        );
        one.end();
        assert_eq!((one.run(None, || 1), one.refused()), (1, Some(Refusal::CrlEpoch)));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "outside of Attempt::run")]
    fn a_call_outside_is_a_mistake() {
        current(|state| state.refuse(Refusal::Malformed));
    }
}
