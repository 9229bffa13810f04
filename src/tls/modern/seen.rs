//! Traffic secrets of TLS 1.3, which key updates take and rustls tells its key log alone.
//!
//! A log belongs to a configuration, so it does not know which session it is told of. Whoever calls
//! rustls does so inside [`watch`], which lays the place for the secrets into a variable of the
//! thread; outside of it nothing is logged, and nothing ever leaves the session that it is for.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::KeyLog;
use zeroize::Zeroizing;

thread_local! {
    static WATCHED: RefCell<Option<TrafficSecrets>> = const { RefCell::new(None) };
}

/// What both sides of a session protect their records with; empty until the handshake is that far.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    pub(super) of_client: Zeroizing<Vec<u8>>,
    pub(super) of_server: Zeroizing<Vec<u8>>,
}

/// Makes a call into rustls, and keeps what it says about `secrets`.
pub(super) fn watch<T>(secrets: &mut TrafficSecrets, call: impl FnOnce() -> T) -> T {
    let _wiped = WATCHED.replace(Some(std::mem::take(secrets)));
    let result = call();
    *secrets = WATCHED.take().unwrap_or_default();
    result
}

/// The log for configurations whose sessions go on without rustls.
pub(in crate::tls) fn key_log() -> Arc<dyn KeyLog> {
    Arc::new(Secrets)
}

#[derive(Debug)]
struct Secrets;

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        WATCHED.with_borrow_mut(|watched| {
            let Some(secrets) = watched else { return };
            match label {
                OF_CLIENT => secrets.of_client = secret.to_vec().into(),
                OF_SERVER => secrets.of_server = secret.to_vec().into(),
                _ => {}
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, OF_CLIENT | OF_SERVER) && WATCHED.with_borrow(Option::is_some)
    }
}

/// Labels as they are in the files that SSLKEYLOGFILE names.
const OF_CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const OF_SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_the_session_that_is_watched() {
        let log = key_log();
        assert!(!log.will_log(OF_CLIENT));
        log.log(OF_CLIENT, &[], b"nobody's");
        let [mut one, mut two] = [TrafficSecrets::default(), TrafficSecrets::default()];
        watch(&mut one, || {
            assert!(log.will_log(OF_SERVER) && !log.will_log("CLIENT_RANDOM"));
            log.log(OF_SERVER, &[], b"server's");
        });
        watch(&mut two, || log.log("EXPORTER_SECRET", &[], b"none of ours"));
        watch(&mut one, || log.log(OF_CLIENT, &[], b"client's"));
        assert_eq!((&one.of_client[..], &one.of_server[..]), (&b"client's"[..], &b"server's"[..]));
        assert!(two.of_client.is_empty() && two.of_server.is_empty());
    }
}
