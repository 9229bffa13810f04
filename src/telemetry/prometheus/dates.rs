//! What ends some day, and when it was seen: certificates, OCSP responses, CRLs, plaintext.

use std::collections::BTreeSet;

use super::{write_family, write_sample, write_single};
use crate::audit::report::Traffic;
use crate::telemetry::names::{self, Metric};
use crate::telemetry::snapshot::Facts;
use crate::tls::trust::OcspFacts;

/// Certificates of ours, what is sent along, and CRLs.
pub(super) fn write(text: &mut String, facts: &Facts) {
    write_family(text, &names::CERTIFICATE_NOT_AFTER);
    // A listener may name the same certificate twice; a series may not be there twice.
    let certificates: BTreeSet<_> = facts.certificates.iter().collect();
    for certificate in certificates {
        let labels = [
            ("listener", &*certificate.listener),
            ("side", certificate.side.as_str()),
            ("subject", &certificate.subject),
            ("serial", &certificate.serial),
        ];
        let name = names::CERTIFICATE_NOT_AFTER.name;
        write_sample(text, name, &labels, certificate.not_after_unix);
    }
    write_staples(text, facts);
    write_family(text, &names::CRL_NEXT_UPDATE);
    let crls: BTreeSet<_> = facts.crls.iter().collect();
    for crl in crls {
        let file = crl.file.display().to_string();
        let number = crl.this_update.to_string();
        let labels = [("file", &*file), ("issuer", &*crl.issuer), ("this_update", &*number)];
        write_sample(text, names::CRL_NEXT_UPDATE.name, &labels, crl.next_update);
    }
    write_family(text, &names::CRL_SWAPS);
    for (result, count) in [("taken", facts.crl_swaps.taken), ("refused", facts.crl_swaps.refused)]
    {
        write_sample(text, names::CRL_SWAPS.name, &[("result", result)], count);
    }
}

/// What live traffic has shown.
pub fn write_traffic(text: &mut String, traffic: &Traffic) {
    write_family(text, &names::PEER_CERTIFICATE_NOT_AFTER);
    for ((listener, side), certificate) in &traffic.soonest {
        let labels = [("listener", &**listener), ("side", side.as_str())];
        let name = names::PEER_CERTIFICATE_NOT_AFTER.name;
        write_sample(text, name, &labels, certificate.not_after);
    }
    write_family(text, &names::AUTODETECT_PLAINTEXT_LAST);
    for watch in &traffic.autodetect {
        if let Some(last) = watch.plaintext_last {
            let labels = [("listener", watch.listener.as_str())];
            write_sample(text, names::AUTODETECT_PLAINTEXT_LAST.name, &labels, last);
        }
    }
    write_family(text, &names::AUTODETECT_PLAINTEXT_OPEN);
    for watch in &traffic.autodetect {
        let labels = [("listener", watch.listener.as_str())];
        write_sample(text, names::AUTODETECT_PLAINTEXT_OPEN.name, &labels, watch.plaintext_open);
    }
    write_single(text, &names::AUDIT_EVICTED, traffic.others.evicted_rows);
    write_single(text, &names::AUDIT_LUMPED, traffic.others.connections);
}

fn write_staples(text: &mut String, facts: &Facts) {
    type Reading = fn(&OcspFacts) -> Option<i64>;
    let families: [(&Metric, Reading); 2] = [
        (&names::OCSP_THIS_UPDATE, |staple| Some(staple.this_update)),
        (&names::OCSP_NEXT_UPDATE, |staple| staple.next_update),
    ];
    let certificates: BTreeSet<_> = facts.certificates.iter().collect();
    for (metric, reading) in families {
        write_family(text, metric);
        for certificate in &certificates {
            let Some(value) = certificate.staple.as_ref().and_then(reading) else { continue };
            let labels = [
                ("listener", &*certificate.listener),
                ("subject", &certificate.subject),
                ("serial", &certificate.serial),
            ];
            write_sample(text, metric.name, &labels, value);
        }
    }
}
