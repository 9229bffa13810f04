//! The flags that make a plan.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tlsgate_bench::client::{
    Arrivals, Flow, Pace, Plan, Protocol, Shown, Spacing, Stop, Talk, TlsPlan, TlsVersion, Trust,
    Workload,
};
use tlsgate_bench::units::{WantedShape, parse_duration, parse_shape, parse_size};

use super::scenario::ScenarioArguments;

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// Where to connect: IP:PORT.
    #[arg(required_unless_present_any = ["scenario", "list"])]
    target: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) scenario: ScenarioArguments,

    /// What to do.
    #[arg(long, short, value_enum, default_value_t = Kind::Handshakes)]
    workload: Kind,
    /// Bytes of a message, or of a bulk body; K, M and G are powers of 1024.
    #[arg(long, value_parser = parse_size, default_value = "100")]
    size: u64,
    /// What is said in handshakes and messages, and over idle connections.
    #[arg(long, value_enum, default_value_t = Payload::Echo)]
    payload: Payload,
    /// Messages per second of each connection (messages only).
    #[arg(long, conflicts_with = "rate")]
    connection_rate: Option<f64>,
    /// Share of handshakes that resume a session, exactly (handshakes only); such as 0.9.
    #[arg(long, value_name = "SHARE")]
    resumed: Option<f64>,
    /// How long idle connections are held.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    hold: Duration,

    /// Connections at a time.
    #[arg(long, short, default_value_t = 32)]
    concurrency: usize,
    /// Open loop: operations per second; latency then counts from the intended start.
    #[arg(long)]
    rate: Option<f64>,
    /// What becomes of the rate: constant; ramp:TO, in a straight line until the end; step:TO:STEPS, in
    /// as many steps; burst:TO:LENGTH:EVERY, for a while and again, such as burst:5000:1s:10s.
    #[arg(long, value_parser = parse_shape, default_value = "constant", requires = "rate")]
    shape: WantedShape,
    /// How starts lie in the rate.
    #[arg(long, value_enum, default_value_t = Arrive::Even, requires = "rate")]
    arrivals: Arrive,
    /// Makes other random arrivals. Processes that make one load together need one each, or their
    /// starts coincide.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start no operation after this time.
    #[arg(long, short, value_parser = parse_duration, default_value = "10s")]
    duration: Duration,
    /// Start no more operations than this.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Longest time for connecting, for the handshake, and without progress of an exchange.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// CPUs to pin the threads to, such as 1,3,5.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,

    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
struct TlsArguments {
    /// No TLS.
    #[arg(long, conflicts_with_all = ["tls", "server_name", "ca", "insecure", "careless", "certificate", "alpn", "suites", "groups"])]
    plain: bool,
    /// The only version to offer.
    #[arg(long, value_enum, default_value_t = Version::V13)]
    tls: Version,
    /// Name for SNI and to expect in the certificate.
    #[arg(long, default_value = "localhost")]
    server_name: String,
    /// PEM file with the certificates to trust.
    #[arg(long, required_unless_present_any = ["insecure", "careless", "plain", "scenario", "list"])]
    ca: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Check nothing, and have one key share for all connections: clients that cost little.
    #[arg(long, conflicts_with_all = ["ca", "insecure"])]
    careless: bool,
    /// PEM file with a certificate to show to a server that asks for one.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// ALPN protocols to offer.
    #[arg(long, value_delimiter = ',')]
    alpn: Vec<String>,
    /// Cipher suites to offer, by their IANA names.
    #[arg(long, value_delimiter = ',')]
    suites: Vec<String>,
    /// Key exchange groups to offer: X25519, P-256, P-384, X25519MLKEM768.
    #[arg(long, value_delimiter = ',')]
    groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Connect, full handshake, small echo, close (echo backend).
    Handshakes,
    /// The same with resumed handshakes (echo backend).
    Resumed,
    /// Echoes over kept connections (echo backend).
    Messages,
    /// Downloads over kept connections (HTTP backend).
    Down,
    /// Uploads over kept connections (HTTP backend).
    Up,
    /// Open connections, hold them, then one echo each (echo backend).
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Payload {
    /// Bytes that an echo backend sends back.
    Echo,
    /// GET / in HTTP/1.1, which must be answered with a 200 and a Content-Length.
    Http,
    /// Nothing: a handshake is all there is. To resume sessions, only with --tls 1.2 or older.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arrive {
    /// At equal distances.
    Even,
    /// At random, independent of each other.
    Poisson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version {
    #[value(name = "1.0")]
    V10,
    #[value(name = "1.1")]
    V11,
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl PlanArguments {
    /// The plan, with what is said.
    ///
    /// # Errors
    /// What is missing, for the user to read.
    pub(crate) fn flow(&self) -> Result<Flow, String> {
        let flow = Flow::alone(self.plan()?);
        let protocol = match (self.payload, self.workload) {
            (Payload::Echo, _) => return Ok(flow),
            (_, Kind::Down | Kind::Up) => {
                return Err("--payload is not for --workload down and up".to_owned());
            }
            (Payload::Http, _) => {
                let tls = flow.plan.tls.as_ref();
                let host = tls.map_or("localhost", |tls| &tls.server_name).to_owned();
                Protocol::Http { path: "/".to_owned(), host }
            }
            (Payload::None, _) => Protocol::Nothing,
        };
        Ok(Flow { talk: Some(Talk { protocol, at_once: 1, seed: 1 }), ..flow })
    }

    fn plan(&self) -> Result<Plan, String> {
        let concurrency = self.concurrency;
        if self.connection_rate.is_some() && self.workload != Kind::Messages {
            return Err("--connection-rate is for --workload messages".to_owned());
        }
        if self.resumed.is_some() && self.workload != Kind::Handshakes {
            return Err("--resumed is for --workload handshakes".to_owned());
        }
        Ok(Plan {
            target: self.target.ok_or("say where to connect: IP:PORT")?,
            tls: self.tls.plan()?,
            workload: match self.workload {
                Kind::Handshakes => {
                    Workload::Handshakes { resumed: self.resumed.unwrap_or_default() }
                }
                Kind::Resumed => Workload::Handshakes { resumed: 1.0 },
                Kind::Messages => Workload::Messages {
                    size: self.size,
                    per_connection_rate: self.connection_rate,
                },
                Kind::Down => Workload::BulkDown { bytes: self.size },
                Kind::Up => Workload::BulkUp { bytes: self.size },
                Kind::Idle => Workload::Idle { hold: self.hold },
            },
            pace: match self.rate {
                Some(rate) => Pace::Open { arrivals: self.arrivals(rate), concurrency },
                None => Pace::Closed { concurrency },
            },
            stop: Stop { after: self.duration, count: self.count },
            timeout: self.timeout,
            threads: self.threads,
            cpus: self.cpus.clone(),
        })
    }
}

impl PlanArguments {
    fn arrivals(&self, rate: f64) -> Arrivals {
        let shape = self.shape.over(self.duration);
        let spacing = match self.arrivals {
            Arrive::Even => Spacing::Even,
            Arrive::Poisson => Spacing::Poisson { seed: self.seed },
        };
        Arrivals { rate, shape, spacing }
    }
}

impl TlsArguments {
    fn plan(&self) -> Result<Option<TlsPlan>, String> {
        if self.plain {
            return Ok(None);
        }
        let trust = match &self.ca {
            Some(path) => Trust::CaFile(path.clone()),
            None if self.insecure => Trust::Insecure,
            None if self.careless => Trust::Careless,
            None => return Err("TLS needs --ca FILE or --insecure".to_owned()),
        };
        Ok(Some(TlsPlan {
            version: match self.tls {
                Version::V10 => TlsVersion::V10,
                Version::V11 => TlsVersion::V11,
                Version::V12 => TlsVersion::V12,
                Version::V13 => TlsVersion::V13,
            },
            server_name: self.server_name.clone(),
            trust,
            shown: self
                .certificate
                .clone()
                .zip(self.key.clone())
                .map(|(certificate, key)| Shown { certificate, key }),
            alpn: self.alpn.clone(),
            suites: self.suites.clone(),
            groups: self.groups.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};
    use tlsgate_bench::client::Shape;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanArguments,
    }

    fn plan(flags: &str) -> Result<Plan, String> {
        let words = std::iter::once("test").chain(flags.split_whitespace());
        let matches =
            Line::command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let line = Line::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Ok(line.plan.flow()?.plan)
    }

    fn talk(flags: &str) -> Result<Option<Talk>, String> {
        let words = std::iter::once("test").chain(flags.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.plan.flow()?.talk)
    }

    #[test]
    fn a_payload_becomes_a_talk() {
        let protocol = |flags: &str| {
            let talk = talk(&format!("127.0.0.1:1 --insecure --server-name a {flags}"));
            talk.expect("good flags").map(|talk| talk.protocol)
        };
        assert_eq!(protocol(""), None);
        let http = Protocol::Http { path: "/".to_owned(), host: "a".to_owned() };
        assert_eq!(protocol("--payload http"), Some(http));
        assert_eq!(protocol("--payload none"), Some(Protocol::Nothing));
        assert!(talk("127.0.0.1:1 --plain -w up --payload http").is_err());
    }

    #[test]
    fn flags_become_a_plan() {
        let flags = "127.0.0.1:1 -w down --size 64M --rate 10 -c 4 -d 1.5m --tls 1.2 --ca a.pem \
                     --cpus 1,3 --suites A,B";
        let plan = plan(flags).expect("good flags");
        assert_eq!(plan.workload, Workload::BulkDown { bytes: 64 << 20 });
        assert_eq!(plan.pace, Pace::Open { arrivals: Arrivals::even(10.0), concurrency: 4 });
        assert_eq!(plan.stop.after, Duration::from_secs(90));
        assert_eq!(plan.cpus, [1, 3]);
        let tls = plan.tls.expect("TLS");
        assert_eq!((tls.version, tls.suites.len()), (TlsVersion::V12, 2));
        assert!(matches!(tls.trust, Trust::CaFile(path) if path.ends_with("a.pem")));
    }

    #[test]
    fn a_rate_has_a_shape_and_a_spacing() {
        let arrivals = |flags: &str| match plan(&format!("127.0.0.1:1 --plain -d 8s {flags}")) {
            Ok(Plan { pace: Pace::Open { arrivals, .. }, .. }) => Ok(arrivals),
            other => Err(format!("{other:?}")),
        };
        let (over, second) = (Duration::from_secs(8), Duration::from_secs(1));
        for (flags, shape) in [
            ("constant", Shape::Constant),
            ("ramp:50", Shape::Ramp { to: 50.0, over }),
            ("step:50:5", Shape::Step { to: 50.0, steps: 5, over }),
            ("burst:50:1s:8s", Shape::Burst { to: 50.0, length: second, every: over }),
        ] {
            let found = arrivals(&format!("--rate 10 --shape {flags}")).expect("good");
            assert_eq!(found, Arrivals { shape, ..Arrivals::even(10.0) });
        }
        let random = arrivals("--rate 10 --arrivals poisson --seed 9").expect("good");
        assert_eq!(random.spacing, Spacing::Poisson { seed: 9 });
        for wrong in ["ramp", "ramp:x", "step:5:x", "burst:1:2s", "sawtooth"] {
            assert!(arrivals(&format!("--rate 10 --shape {wrong}")).is_err(), "{wrong}");
        }
        assert!(plan("127.0.0.1:1 --plain --shape ramp:9").is_err(), "no rate to change");
        assert!(plan("127.0.0.1:1 --plain -w down --resumed 0.5").is_err());
        let mixed = plan("127.0.0.1:1 --insecure --resumed 0.9").expect("good");
        assert_eq!(mixed.workload, Workload::Handshakes { resumed: 0.9 });
    }

    #[test]
    fn trust_must_be_said() {
        assert!(plan("127.0.0.1:1").is_err());
        assert!(plan("127.0.0.1:1 --insecure --ca x").is_err());
        assert!(plan("127.0.0.1:1 --plain --insecure").is_err());
        assert!(plan("127.0.0.1:1 --plain").expect("plaintext").tls.is_none());
        assert!(plan("127.0.0.1:1 --insecure").expect("TLS").tls.is_some());
        assert!(plan("127.0.0.1:1 --careless").expect("TLS").tls.is_some());
        assert!(plan("127.0.0.1:1 --careless --ca x").is_err());
        assert!(plan("127.0.0.1:1 --insecure --certificate a.pem").is_err());
        assert!(plan("127.0.0.1:1 --plain --connection-rate 5").is_err());
    }
}
