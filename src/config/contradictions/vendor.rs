//! What options of the vendor's contradict that become no key of ours.

use super::super::read::{Finding, Reader, Section};
use crate::genesys::options;

/// Reports about the effective section `tls` of a side in this mode.
pub(super) fn check(tls: &Section, mode: Option<&str>, reader: &mut Reader<'_>) {
    let says = |key: &str| tls.get::<String>(key).zip(tls.place_of(key));
    if let Some((value, place)) = says("tls")
        && options::boolean(&value) == Some(false)
        && mode.is_some_and(|mode| mode != "autodetect")
    {
        let finding = Finding {
            message: "says that there is no TLS, and there is",
            found: &format!("{value:?}, with mode = {:?}", mode.unwrap_or_default()),
            allowed: "1, where TLS is spoken",
            hint: "Choose another mode, or remove it.",
        };
        reader.report(place, &tls.path_of("tls"), finding);
    }
    // As a client: as the server, it is client_cert.
    if let Some((value, place)) = says("tls-mutual")
        && value == "1"
        && !tls.sets("certificate")
    {
        let finding = Finding {
            message: "needs certificate",
            found: "1, without certificate",
            allowed: "",
            hint: "Add certificate and certificate-key: what the gateway shows to the component.",
        };
        reader.report(place, &tls.path_of("tls-mutual"), finding);
    }
}
