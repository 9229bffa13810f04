//! Alerts (RFC 8446 §6): their names, and a plaintext record that carries one.

/// `unexpected_message`: a message that has no place here.
pub const UNEXPECTED_MESSAGE: u8 = 10;
/// `bad_record_mac`: a record that does not authenticate.
pub const BAD_RECORD_MAC: u8 = 20;
/// `record_overflow`: a record longer than 2^14 bytes.
pub const RECORD_OVERFLOW: u8 = 22;
/// `handshake_failure`: nothing that both sides can do.
pub const HANDSHAKE_FAILURE: u8 = 40;
/// `certificate_revoked`
pub const CERTIFICATE_REVOKED: u8 = 44;
/// `certificate_expired`: or not valid yet.
pub const CERTIFICATE_EXPIRED: u8 = 45;
/// `certificate_unknown`: something else is wrong with the certificate.
pub const CERTIFICATE_UNKNOWN: u8 = 46;
/// `illegal_parameter`: a field that is well-formed and wrong.
pub const ILLEGAL_PARAMETER: u8 = 47;
/// `unknown_ca`: the certificate's issuer is not trusted.
pub const UNKNOWN_CA: u8 = 48;
/// `access_denied`: a rule turns the peer away.
pub const ACCESS_DENIED: u8 = 49;
/// `decode_error`: a message that cannot be decoded.
pub const DECODE_ERROR: u8 = 50;
/// `protocol_version`: a version that we do not speak.
pub const PROTOCOL_VERSION: u8 = 70;
/// `insufficient_security`: what was agreed on is not enough any more.
pub const INSUFFICIENT_SECURITY: u8 = 71;

/// `internal_error`: the component behind us cannot be reached.
pub const INTERNAL_ERROR: u8 = 80;
/// `unrecognized_name`: none of our certificates is for this name (RFC 6066 §3).
pub const UNRECOGNIZED_NAME: u8 = 112;
/// `certificate_required`: none was shown.
pub const CERTIFICATE_REQUIRED: u8 = 116;

/// A record with one fatal alert, for before there are keys.
///
/// `description` is one of the numbers that [`alert_name`] knows. The record says version 3.3,
/// which every TLS client reads.
pub const fn plaintext_alert(description: u8) -> [u8; 7] {
    const FATAL: u8 = 2;
    [21, 3, 3, 0, 2, FATAL, description]
}

/// The name in the IANA registry "TLS Alerts", or `unassigned`.
pub const fn alert_name(description: u8) -> &'static str {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed_RESERVED",
        22 => "record_overflow",
        30 => "decompression_failure_RESERVED",
        40 => "handshake_failure",
        41 => "no_certificate_RESERVED",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction_RESERVED",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation_RESERVED",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable_RESERVED",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value_RESERVED",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn names_agree_with_those_of_the_tls_library() {
        let mut compared = 0;
        for description in 0..=255 {
            let ours = alert_name(description).trim_end_matches("_RESERVED").replace('_', "");
            let theirs = format!("{:?}", AlertDescription::from(description)).to_lowercase();
            // A number that the library has no name for shows as one.
            let named = !theirs.chars().any(|letter| letter.is_ascii_digit() || letter == '(');
            if named {
                compared += 1;
                let theirs = theirs
                    .replace("recognised", "recognized")
                    .replace("encryptedclienthello", "ech");
                assert!(theirs.starts_with(&ours), "{description}: {ours}, {theirs}");
            }
        }
        assert!(compared > 30, "{compared}");
    }

    #[test]
    fn a_client_understands_the_record() {
        use std::sync::Arc;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let name = "peer.example".try_into().expect("a DNS name");
        let mut client =
            rustls::ClientConnection::new(Arc::new(config), name).expect("a valid configuration");
        client.read_tls(&mut plaintext_alert(PROTOCOL_VERSION).as_slice()).expect("in memory");
        assert_eq!(
            client.process_new_packets().map(|_| ()),
            Err(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))
        );
    }
}
