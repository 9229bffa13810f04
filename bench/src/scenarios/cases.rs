//! The scenarios that servers go through: which file, what is changed in it for one CPU, what servers
//! need for it, and what happens meanwhile.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// A scenario, or a form of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Case {
    /// A component dies, and its clients come back to the one that stands in for it.
    #[value(name = "B2")]
    B2,
    /// The server hands over to a new process, and the old one is given little time to end.
    #[value(name = "B3")]
    B3,
    /// The server is killed and started again.
    #[value(name = "B3-crash")]
    #[serde(rename = "B3-crash")]
    B3Crash,
    /// As B2 with mutual TLS and a list of 1 MB of revoked certificates, P-256.
    #[value(name = "B4")]
    B4,
    /// As B4 with a server certificate of RSA, 2048 bits.
    #[value(name = "B4-RSA")]
    #[serde(rename = "B4-RSA")]
    B4Rsa,
    /// Small messages.
    #[value(name = "B7")]
    B7,
    /// Connections that only show that they live.
    #[value(name = "B8")]
    B8,
    /// Hostile clients.
    #[value(name = "B9")]
    B9,
    /// Certificate and list of revoked certificates are rotated.
    #[value(name = "B10")]
    B10,
}

/// What happens while a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The component behind the second listener dies.
    Switchover,
    /// The server hands over to a new process in its own way.
    HandOver,
    /// The server is killed, and started again.
    Crash,
    /// Certificate and list are others, and the server is told in its own way.
    Rotation,
}

/// What servers need for a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// They ask clients for certificates, and have a list of those revoked.
    pub(super) mutual: bool,
    /// Their certificate is of RSA.
    pub(super) rsa: bool,
    /// A second listener before a component with another that stands in for it.
    pub(super) stand_in: bool,
    /// Keys of tickets that outlive a process.
    pub(super) ticket_keys: bool,
    /// Old processes are to end soon.
    pub(super) ends_soon: bool,
}

/// How a case is carried out.
pub(super) struct Script {
    /// The scenario that comes with the program.
    pub(super) file: &'static str,
    /// What is done, for people.
    pub(super) about: &'static str,
    /// What is said otherwise than in the file, for one CPU and a short run. `SWITCHED` is the second
    /// listener.
    pub(super) settings: &'static [&'static str],
    /// The same for a look of a second.
    pub(super) quick: &'static [&'static str],
    pub(super) needs: Needs,
    pub(super) event: Option<Event>,
}

/// Of the length of a run: when what happens once does.
pub(super) const MOMENT: f64 = 0.25;

const NOTHING: Needs =
    Needs { mutual: false, rsa: false, stand_in: false, ticket_keys: false, ends_soon: false };

const B3: Script = Script {
    file: "B3",
    about: "The server hands over to a new process in its own way (USR2 for tlsgate and HAProxy, HUP for \
            nginx). The old one has 2 s to end; then all who are connected to it come back, half of \
            them with sessions. All servers have keys of tickets in a file.",
    settings: &["scale=0.1", "duration=8s"],
    quick: &[
        "scale=0.002",
        "duration=2s",
        "timeout=4s",
        "flow.full.spread=100ms",
        "flow.resumed.spread=100ms",
    ],
    needs: Needs { ticket_keys: true, ends_soon: true, ..NOTHING },
    event: Some(Event::HandOver),
};

const B3_CRASH_QUICK: &[&str] = &[
    "scale=0.002",
    "duration=700ms",
    "timeout=4s",
    "flow.full.spread=100ms",
    "flow.resumed.spread=100ms",
];

const B4: Script = Script {
    file: "B4",
    about: "As B2, with certificates of clients, a list of 1 MB of revoked ones, and a certificate of the \
            server with P-256.",
    settings: &[
        "scale=0.2",
        "duration=8s",
        "target.switched={address=\"SWITCHED\",trust=\"any\",certificates={count=1000,\
         ca=\"clients-ca.pem\",ca_key=\"clients-ca.key\"}}",
        "flow.servers.target=gateway",
        "flow.storm12.target=switched",
        "flow.storm12.on=loss",
        "flow.storm12.start=0s",
        "flow.storm13.target=switched",
        "flow.storm13.on=loss",
        "flow.storm13.start=0s",
    ],
    quick: &[
        "scale=0.02",
        "duration=700ms",
        "timeout=4s",
        "target.gateway.certificates.count=50",
        "target.switched.certificates.count=50",
        "flow.servers.connections=1000",
        "flow.storm12.spread=100ms",
        "flow.storm13.spread=100ms",
        "flow.storm12.retry={after=\"1s\",attempts=6}",
        "flow.storm13.retry={after=\"1s\",attempts=6}",
    ],
    needs: Needs { mutual: true, stand_in: true, ..NOTHING },
    event: Some(Event::Switchover),
};

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::B2,
        Self::B3,
        Self::B3Crash,
        Self::B4,
        Self::B4Rsa,
        Self::B7,
        Self::B8,
        Self::B9,
        Self::B10,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::B2 => "B2",
            Self::B3 => "B3",
            Self::B3Crash => "B3-crash",
            Self::B4 => "B4",
            Self::B4Rsa => "B4-RSA",
            Self::B7 => "B7",
            Self::B8 => "B8",
            Self::B9 => "B9",
            Self::B10 => "B10",
        }
    }

    pub(super) fn script(self) -> Script {
        match self {
            Self::B2 => b2(),
            Self::B3 => B3,
            Self::B3Crash => Script {
                quick: B3_CRASH_QUICK,
                about: "The server and all its processes are killed, and it is started again at once: \
                        all come back, half of them with sessions. All servers have keys of tickets in \
                        a file.",
                needs: Needs { ticket_keys: true, ..NOTHING },
                event: Some(Event::Crash),
                ..B3
            },
            Self::B4 => B4,
            Self::B4Rsa => Script {
                about: "As B4, with a certificate of the server with RSA, 2048 bits.",
                needs: Needs { rsa: true, ..B4.needs },
                ..B4
            },
            Self::B7 => Script {
                file: "B7",
                about: "50 connections, each with the next message of 200 bytes as soon as the last one \
                        has come back.",
                settings: &["duration=4s"],
                quick: &["duration=500ms"],
                needs: NOTHING,
                event: None,
            },
            Self::B8 => Script {
                file: "B8",
                about: "Connections that say something every 9 s.",
                settings: &["scale=0.08", "duration=12s"],
                quick: &["scale=0.002", "duration=500ms", "flow.idle.connection_rate=3"],
                needs: NOTHING,
                event: None,
            },
            Self::B9 => b9(),
            Self::B10 => b10(),
        }
    }
}

fn b2() -> Script {
    Script {
        file: "B2",
        about: "While the mix of B1 runs, the component behind a second listener dies. Its clients lose \
                their connections and come back within 2 s, and the server finds the one that stands in \
                for it.",
        settings: &[
            "scale=0.1",
            "duration=8s",
            "target.switched={address=\"SWITCHED\",trust=\"any\"}",
            "flow.agents.target=gateway",
            "flow.statistics.target=gateway",
            "flow.configuration.target=gateway",
            "flow.interactions.target=gateway",
            "flow.servers.target=gateway",
            "flow.storm.target=switched",
            "flow.storm.on=loss",
            "flow.storm.start=0s",
        ],
        quick: &[
            "scale=0.003",
            "duration=700ms",
            "timeout=4s",
            "flow.configuration.connection_rate=3",
            "flow.agents.connection_rate=3",
            "flow.statistics.connection_rate=3",
            "flow.storm.spread=100ms",
            "flow.storm.retry={after=\"1s\",attempts=6}",
        ],
        needs: Needs { stand_in: true, ..NOTHING },
        event: Some(Event::Switchover),
    }
}

fn b9() -> Script {
    Script {
        file: "B9",
        about: "Beside agents with good certificates: expired ones in a tight loop, hellos a byte a \
                second, hellos a byte a segment, bytes that are no TLS. The time for a handshake is 10 s, \
                which HAProxy cannot set apart from that of idle clients (timeout client).",
        settings: &[
            "scale=0.2",
            "duration=12s",
            "flow.loris.duration=5s",
            "flow.loris.timeout=15s",
            "flow.split.rate=100",
            "flow.garbage.rate=100",
            "flow.plaintext.rate=100",
        ],
        quick: &[
            "scale=0.1",
            "duration=700ms",
            "flow.agents.connection_rate=3",
            "flow.loris.duration=100ms",
            "flow.loris.timeout=300ms",
        ],
        needs: Needs { mutual: true, ..NOTHING },
        event: None,
    }
}

fn b10() -> Script {
    Script {
        file: "B10",
        about: "While the mix of B1 runs, with certificates of clients, the server's certificate and the \
                list of 1 MB of revoked ones are others every 5 s, and the server is told in its own way \
                (HUP for tlsgate and nginx, USR2 for HAProxy). All servers have keys of tickets in a file.",
        settings: &[
            "scale=0.05",
            "duration=17s",
            "target.gateway.certificates={count=100,ca=\"clients-ca.pem\",ca_key=\"clients-ca.key\"}",
            "flow.newcomers.connections=600",
            "flow.newcomers.rate=600",
        ],
        quick: &[
            "scale=0.003",
            "duration=700ms",
            "flow.configuration.connection_rate=3",
            "flow.agents.connection_rate=3",
            "flow.statistics.connection_rate=3",
            "flow.newcomers.rate=6000",
        ],
        needs: Needs { mutual: true, ticket_keys: true, ..NOTHING },
        event: Some(Event::Rotation),
    }
}

/// Time from one rotation to the next.
pub(crate) const ROTATION: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tlsgate_bench::scenario::{Scenario, shipped};

    use super::*;

    #[test]
    fn every_script_is_a_good_scenario_at_either_size() {
        for case in Case::ALL {
            let Script { file, settings, quick, needs, .. } = case.script();
            let shipped = shipped(file).expect("it comes with the program");
            for more in [&[][..], quick] {
                let said = settings.iter().chain(more);
                let said: Vec<String> =
                    said.map(|text| text.replace("SWITCHED", "127.0.0.1:2")).collect();
                let name = Path::new("directory").join(file).display().to_string();
                let scenario = Scenario::parse(&name, shipped.text, &said)
                    .unwrap_or_else(|problem| panic!("{problem}"));
                let wants_certificates =
                    scenario.flows.iter().any(|wanted| wanted.certificates.is_some());
                assert_eq!(wants_certificates, needs.mutual, "{}", case.name());
                let targets = scenario.flows.iter().map(|wanted| wanted.flow.plan.target.port());
                assert_eq!(
                    targets.clone().any(|port| port == 2),
                    needs.stand_in,
                    "{}",
                    case.name()
                );
                assert!(targets.clone().any(|port| port != 2), "{}", case.name());
            }
        }
    }
}
