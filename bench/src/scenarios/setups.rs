//! How servers are set up for a scenario: as [`crate::peers`] has them, with what the scenario needs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use ring::rand::{SecureRandom, SystemRandom};

use super::authority::Authority;
use super::cases::Needs;
use crate::measure::identity::Identity;
use crate::measure::process::free_address;
use crate::measure::rounds::Server;
use crate::peers::gateway::{self, Head};
use crate::peers::servers::{start_haproxy, start_nginx};
use crate::peers::target::{Kind, Stage};

/// A server of TLS 1.2 that has OpenSSL also looks here for the curve of a client's key.
const GROUPS: &str = "X25519:P-256";

/// What a server is set up with.
pub(super) struct Setup<'run> {
    pub(super) stage: &'run Stage<'run>,
    pub(super) needs: Needs,
    /// What the server shows.
    pub(super) shown: &'run Identity,
    pub(super) authority: &'run Authority,
    pub(super) places: Places,
    pub(super) keys: &'run TicketKeys,
    /// How long an old process has to end, where [`Needs::ends_soon`].
    pub(super) ends_after: Duration,
}

/// Where everybody listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// The server.
    pub(super) gateway: SocketAddr,
    /// Its second listener.
    pub(super) switched: SocketAddr,
    /// The component behind that, and the one that stands in for it.
    pub(super) behind: [SocketAddr; 2],
}

/// Files with keys of tickets, as each server wants them.
#[derive(Debug)]
pub(super) struct TicketKeys {
    gateway: PathBuf,
    haproxy: PathBuf,
    nginx: PathBuf,
}

impl TicketKeys {
    /// # Errors
    /// What failed, for the user to read.
    pub(super) fn new(stage: &Stage<'_>) -> Result<Self, String> {
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).map_err(|_| "no randomness for keys of tickets")?;
        let secret = HEXLOWER.encode(&random);
        // 48 bytes: for AES-128. HAProxy makes tickets with the last but one of three.
        let key = &secret[..48];
        let line = BASE64.encode(key.as_bytes());
        Ok(Self {
            gateway: stage.scratch.write("tlsgate.tickets", &secret)?,
            haproxy: stage
                .scratch
                .write("haproxy.tickets", &format!("{line}\n{line}\n{line}\n"))?,
            nginx: stage.scratch.write("nginx.tickets", key)?,
        })
    }
}

impl Setup<'_> {
    /// What starts the server.
    ///
    /// # Errors
    /// Why there is no such server for scenarios.
    pub(super) fn command(&self, kind: Kind) -> Result<Command, String> {
        match kind {
            Kind::IoUring => self.gateway("io_uring"),
            Kind::Epoll => self.gateway("epoll"),
            Kind::Haproxy => self.haproxy(),
            Kind::Nginx => self.nginx(),
            _ => Err(format!("{}: scenarios know the gateway, haproxy and nginx", kind.name())),
        }
    }

    /// Where the server listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let Places { gateway, switched, .. } = self.places;
        if self.needs.stand_in { vec![gateway, switched] } else { vec![gateway] }
    }

    fn gateway(&self, engine: &str) -> Result<Command, String> {
        let Self { stage, needs, shown, authority, places, .. } = self;
        let mut tls = format!("[listener.tls]\n{}", gateway::shown(shown));
        if needs.mutual {
            let (ca, list) = (&authority.certificate, &authority.list);
            tls += &format!(
                "client_cert = \"required\"\ntrusted_ca = {ca:?}\ncrl_files = [{list:?}]\n"
            );
        }
        let listener = |name: &str, at: SocketAddr, to: &str| {
            format!("[[listener]]\nname = \"{name}\"\nlisten = \"{at}\"\n{to}{tls}")
        };
        let mut sections = String::new();
        if needs.ticket_keys {
            sections += &format!("[resumption]\nticket_secret = {:?}\n", self.keys.gateway);
        }
        sections +=
            &listener("gateway", places.gateway, &format!("upstream = \"{}\"\n", stage.backend));
        if needs.stand_in {
            let [first, second] = places.behind;
            let to = format!("upstream = \"{first}\"\nbackup = \"{second}\"\n");
            sections += &listener("switched", places.switched, &to);
        }
        let drain = if needs.ends_soon { self.ends_after } else { Duration::ZERO };
        let admin = Some(free_address()?);
        gateway::with_sections(stage, &Head { engine, workers: 1, admin, drain }, &sections)
    }

    fn haproxy(&self) -> Result<Command, String> {
        let Self { stage, needs, shown, authority, places, .. } = self;
        let mut bind = format!("ssl crt {} curves {GROUPS}", shown.combined.display());
        if needs.mutual {
            let (ca, list) = (authority.certificate.display(), authority.list.display());
            bind += &format!(" ca-file {ca} verify required crl-file {list}");
        }
        if needs.ticket_keys {
            bind += &format!(" tls-ticket-keys {}", self.keys.haproxy.display());
        }
        let mut sections = String::new();
        if needs.ends_soon {
            sections += &format!("global\n    hard-stop-after {}ms\n", self.ends_after.as_millis());
        }
        let (at, to) = (places.gateway, stage.backend);
        sections += &format!("listen gateway\n    bind {at} {bind}\n    server next {to}\n");
        if needs.stand_in {
            let (at, [first, second]) = (places.switched, places.behind);
            // It takes the second one when the first is down, and finds that out by checks, or by the
            // first client whom it cannot connect.
            sections += &format!(
                "listen switched\n    bind {at} {bind}\n    option redispatch 1\n    \
                 server first {first} check inter 1s fall 1 observe layer4 error-limit 1 \
                 on-error mark-down\n    server second {second} backup\n"
            );
        }
        let mut command = start_haproxy(stage, "haproxy", &sections)?;
        // A master, to be told of a new configuration.
        command.arg("-W");
        Ok(command)
    }

    fn nginx(&self) -> Result<Command, String> {
        let Self { stage, needs, shown, authority, places, .. } = self;
        let mut tls = format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_handshake_timeout 10s; \
             ssl_ecdh_curve {GROUPS}; ",
            shown.certificate.display(),
            shown.key.display()
        );
        if needs.mutual {
            let (ca, list) = (authority.certificate.display(), authority.list.display());
            tls += &format!("ssl_verify_client on; ssl_client_certificate {ca}; ssl_crl {list}; ");
        }
        if needs.ticket_keys {
            tls += &format!("ssl_session_ticket_key {}; ", self.keys.nginx.display());
        }
        let server = |at: SocketAddr, to: &str| {
            format!("    server {{ listen {at} ssl backlog=4096; {tls}proxy_pass {to}; }}\n")
        };
        let mut streams = server(places.gateway, &stage.backend.to_string());
        if needs.stand_in {
            let [first, second] = places.behind;
            streams +=
                &format!("    upstream pair {{ server {first}; server {second} backup; }}\n");
            streams += &server(places.switched, "pair");
        }
        let main = if needs.ends_soon {
            format!("worker_shutdown_timeout {}ms;\n", self.ends_after.as_millis())
        } else {
            String::new()
        };
        start_nginx(stage, &main, &streams)
    }
}
