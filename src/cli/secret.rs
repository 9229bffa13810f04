//! `tlsgate secret`: a line for the file that `[resumption] ticket_secret` names.

use super::Exit;
use crate::tls::resumption::Secret;

/// Prints 32 random bytes in hex.
pub(super) fn secret() -> Exit {
    match Secret::random() {
        Ok(secret) => {
            println!("{}", *secret.to_hex());
            Exit::Success
        }
        Err(error) => {
            eprintln!("{error}");
            Exit::Failure
        }
    }
}
