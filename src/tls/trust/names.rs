//! Whether a certificate is for the host that was meant to be reached.

use rustls::pki_types::ServerName;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::peer::common_name;

/// Whether the common name of `certificate` names `host`, in place of the alternative names that
/// it does not have (RFC 6125 §6.4.4): only where there is no dNSName, and for DNS names alone.
pub(super) fn common_name_covers(certificate: &[u8], host: &ServerName<'_>) -> bool {
    let ServerName::DnsName(host) = host else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let has_names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => {
            let names = &extension.value.general_names;
            names.iter().any(|name| matches!(name, GeneralName::DNSName(_)))
        }
        Ok(None) => false,
        // Given twice, or damaged: nothing to rely on.
        Err(_) => true,
    };
    !has_names && common_name(&parsed).is_some_and(|name| covers(name, host.as_ref()))
}

/// Whether `pattern` names `host`: equal but for case and a dot at the end, or with `*` for its
/// whole first label, two labels at least following (RFC 6125 §6.4.3).
fn covers(pattern: &str, host: &str) -> bool {
    let normal = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let (pattern, host) = (normal(pattern), normal(host));
    match pattern.strip_prefix("*.") {
        None => !pattern.contains('*') && !pattern.is_empty() && pattern == host,
        Some(suffix) => {
            let labels = suffix.split('.');
            let well_formed = labels.clone().count() >= 2 && labels.clone().all(|l| !l.is_empty());
            let rest = host.split_once('.').filter(|(first, _)| !first.is_empty());
            well_formed && !suffix.contains('*') && rest.is_some_and(|(_, rest)| rest == suffix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, host, expected) in [
            ("a.example.com", "a.example.com", true),
            ("A.Example.com.", "a.example.COM", true),
            ("a.example.com", "b.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "b.a.example.com", false),
            ("*.com", "example.com", false),
            ("*", "localhost", false),
            ("a*.example.com", "ab.example.com", false),
            ("*.*.example.com", "b.a.example.com", false),
            ("*.example..com", "a.example..com", false),
            ("", "", false),
            ("host_1", "HOST_1", true),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} {host}");
        }
    }
}
