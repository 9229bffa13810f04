//! The cryptography behind rustls: a hybrid of its two providers.
//!
//! Cipher suites, signing, verification and random numbers are ring's; key exchange is
//! aws-lc-rs's. Median µs of the server's part of a full TLS 1.3 handshake (ECDSA P-256
//! certificate, one ticket, in memory; measured by `provider_figures` below, release build, one
//! core of a virtual AMD EPYC with VAES and SHA extensions, Linux 6.18):
//!
//! | group | ring | aws-lc-rs | hybrid |
//! |---|---|---|---|
//! | X25519 | 111 | 94 | **85** |
//! | X25519MLKEM768 | none | 113 | **104** |
//! | P-256 | **109** | 117 | 125 (noise ± 15) |
//! | P-384 | 841 | 252 | **244** |
//!
//! ring's X25519 costs twice aws-lc-rs's, its P-384 five times, which would be a lever for denial
//! of service, and it has no post-quantum group; at HMAC, random numbers and AEAD set-up, of which
//! a handshake has many, it is the faster one.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};

use super::tls_conn::suite_name;
use crate::config::model::TlsVersion;

/// The provider that all TLS of the gateway uses; always the same one.
///
/// Groups in order of preference: X25519MLKEM768 (post-quantum hybrid), X25519, P-256, P-384. As a
/// server rustls follows the order of the client; ours counts where we are the client.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
                aws_lc_rs::kx_group::SECP256R1,
                aws_lc_rs::kx_group::SECP384R1,
            ],
            ..ring::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// [`provider`] with these suites only, by their IANA names, most preferred first; all of them where
/// there are none.
pub fn provider_with(suites: &[&str]) -> Arc<CryptoProvider> {
    let all = provider();
    if suites.is_empty() {
        return all;
    }
    let named = |name: &&str| {
        all.cipher_suites.iter().find(|suite| suite_name(suite.suite()) == *name).copied()
    };
    let cipher_suites = suites.iter().filter_map(named).collect();
    Arc::new(CryptoProvider { cipher_suites, ..(*all).clone() })
}

/// What rustls calls the versions that are `allowed`, newest first; none where the range is empty.
/// Where it has old ones alone, TLS 1.2: rustls wants one, and nobody takes that lane.
pub(super) fn protocol_versions(
    allowed: RangeInclusive<TlsVersion>,
) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = *allowed.start()..=(*allowed.end()).max(TlsVersion::V1_2);
    [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)]
        .into_iter()
        .filter_map(|(version, supported)| allowed.contains(&version).then_some(supported))
        .collect()
}

/// Makes one key share of each group on the calling thread.
///
/// The first use of aws-lc-rs on a thread gathers jitter entropy, which takes tens of
/// milliseconds; better before the first peer waits than while it does.
pub fn warm_up() {
    for group in &provider().kx_groups {
        // A group that cannot make a share says so in the first handshake that asks for it.
        drop(group.start());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

    use super::*;
    use crate::tls::testing::{self, Ca};

    const GROUPS: [NamedGroup; 4] = [
        NamedGroup::X25519MLKEM768,
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::secp384r1,
    ];

    /// A client of the other implementation with this group or suite only.
    fn client_provider(group: NamedGroup, suite: Option<CipherSuite>) -> CryptoProvider {
        let mut client = aws_lc_rs::default_provider();
        client.kx_groups.retain(|offered| offered.name() == group);
        client.cipher_suites.retain(|offered| suite.is_none_or(|suite| offered.suite() == suite));
        client
    }

    #[test]
    fn groups_are_in_order_of_preference() {
        let names: Vec<NamedGroup> =
            provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names, GROUPS);
        assert!(Arc::ptr_eq(&provider(), &provider()));
    }

    #[test]
    fn every_group_works_in_both_versions() {
        let ca = Ca::new();
        let issued = ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256);
        for group in GROUPS {
            for version in rustls::ALL_VERSIONS {
                // Post-quantum groups exist in TLS 1.3 only.
                if group == NamedGroup::X25519MLKEM768
                    && version.version == ProtocolVersion::TLSv1_2
                {
                    continue;
                }
                let server_config = Arc::new(issued.server_of(provider(), &[version]));
                let client_config = Arc::new(ca.client(client_provider(group, None)));
                let (mut client, mut server) =
                    (testing::client(&client_config), testing::server(&server_config));
                testing::handshake(&mut client, &mut server).expect("they agree");
                let agreed = server.negotiated_key_exchange_group().map(|group| group.name());
                assert_eq!(agreed, Some(group));
                assert_eq!(server.protocol_version(), Some(version.version));
            }
        }
    }

    #[test]
    fn every_cipher_suite_works() {
        let ca = Ca::new();
        let ecdsa = Arc::new(ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256).server(provider()));
        let rsa = Arc::new(ca.issue_rsa().server(provider()));
        let suites: Vec<CipherSuite> =
            provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(suites.len(), 9, "3 of TLS 1.3, 3 with ECDSA, 3 with RSA");
        for suite in suites {
            let name = format!("{suite:?}");
            let server_config = if name.contains("_RSA_") { &rsa } else { &ecdsa };
            let client_config =
                Arc::new(ca.client(client_provider(NamedGroup::X25519, Some(suite))));
            let (mut client, mut server) =
                (testing::client(&client_config), testing::server(server_config));
            testing::handshake(&mut client, &mut server).expect("they agree");
            assert_eq!(server.negotiated_cipher_suite().map(|agreed| agreed.suite()), Some(suite));
        }
    }

    /// Run with `cargo test --release -- --ignored provider_figures --nocapture`.
    #[test]
    #[ignore = "prints figures, asserts nothing"]
    fn provider_figures() {
        const ROUNDS: u32 = 2000;
        let ca = Ca::new();
        let issued = ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256);
        println!("median µs of the server's part of a full TLS 1.3 handshake, one ticket");
        for group in GROUPS {
            let client_config = Arc::new(ca.client(client_provider(group, None)));
            for (name, provider) in [
                ("ring", Arc::new(ring::default_provider())),
                ("aws-lc-rs", Arc::new(aws_lc_rs::default_provider())),
                ("hybrid", provider()),
            ] {
                if !provider.kx_groups.iter().any(|offered| offered.name() == group) {
                    println!("{group:?} {name}: not available");
                    continue;
                }
                let mut server_config = issued.server(provider);
                server_config.send_tls13_tickets = 1;
                let server_config = Arc::new(server_config);
                let mut times: Vec<Duration> =
                    (0..ROUNDS).map(|_| server_time(&client_config, &server_config)).collect();
                times.sort_unstable();
                println!("{group:?} {name}: {:.1}", times[times.len() / 2].as_secs_f64() * 1e6);
            }
        }
    }

    /// Time that a server spends on one handshake, from its making to its last record.
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn server_time(
        client: &Arc<rustls::ClientConfig>,
        server: &Arc<rustls::ServerConfig>,
    ) -> Duration {
        let mut client = testing::client(client);
        let mut to_server = Vec::new();
        client.write_tls(&mut to_server).expect("in memory");
        let start = Instant::now();
        let mut server = testing::server(server);
        let mut to_client = Vec::new();
        serve(&mut server, &to_server, &mut to_client);
        let first = start.elapsed();
        let mut unread = to_client.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("in memory");
            client.process_new_packets().expect("a good flight");
        }
        to_server.clear();
        client.write_tls(&mut to_server).expect("in memory");
        let start = Instant::now();
        serve(&mut server, &to_server, &mut to_client);
        let second = start.elapsed();
        assert!(!server.is_handshaking());
        first + second
    }

    fn serve(server: &mut rustls::ServerConnection, mut input: &[u8], output: &mut Vec<u8>) {
        server.read_tls(&mut input).expect("in memory");
        server.process_new_packets().expect("a good flight");
        while server.wants_write() {
            server.write_tls(output).expect("in memory");
        }
    }
}
