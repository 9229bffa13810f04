//! The walls of ARCHITECTURE.md: what may be named where.

use super::finding::Finding;
use super::source::{File, Kind, Token, Tree};

/// What pure code may not name, and what it is.
const IMPURE: &[(&str, &str)] = &[
    ("std::net::Tcp", "sockets"),
    ("std::net::Udp", "sockets"),
    ("std::net::ToSocketAddrs", "the resolver"),
    ("std::os", "descriptors and files"),
    ("std::fs", "files"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::sync::mpsc", "threads"),
    ("std::sync::Condvar", "threads"),
    ("std::time::Instant", "clocks"),
    ("std::time::SystemTime", "clocks"),
    ("core_affinity", "threads"),
    ("hyper", "sockets"),
    ("io_uring", "sockets"),
    ("libc", "system calls"),
    ("mio", "sockets"),
    ("rustix", "system calls"),
    ("signal_hook", "signals"),
    ("socket2", "sockets"),
    ("tokio", "sockets and threads"),
    ("axum", "sockets"),
    ("unsafe", "unsafe code"),
];

/// What a folder may name of the rest of the crate.
struct Below {
    folder: &'static str,
    names: &'static [&'static str],
    why: &'static str,
}

/// Folders that stand on few others. What is not listed here is held by [`RESERVED`].
const BELOW: &[Below] = &[
    Below {
        folder: "src/config",
        names: &["genesys", "policy::rules"],
        why: "the configuration is text and values: everything stands on it, it on nothing but \
              the form that rules have and what the vendor's options mean",
    },
    Below {
        folder: "src/audit",
        names: &[
            "conn::outcome",
            "telemetry::access_log::rfc3339",
            "time",
            "tls::lane",
            "tls::trust",
        ],
        why: "an audit is counting and sorting what shards hand over; it knows none of them",
    },
    Below {
        folder: "src/catalogue",
        names: &["genesys::write"],
        why: "the catalogue is data, and what it writes is text",
    },
    Below {
        folder: "src/doctor",
        names: &[
            "audit::expiry::SOON_DAYS",
            "config",
            "engine::probe",
            "sandbox",
            "sys",
            "tls::identity::account_number",
            "upstream::resolver",
        ],
        why: "a doctor judges what it is shown; it runs nothing and starts no gateway",
    },
    Below {
        folder: "src/sandbox",
        names: &["sys"],
        why: "what a process gives up is said in the kernel's words; what it needs is for app to know",
    },
    Below {
        folder: "src/buf",
        names: &[],
        why: "a buffer is memory: what is in it is for those who have it",
    },
    Below {
        folder: "src/genesys",
        names: &[],
        why: "the configuration stands on it, and so does the command line",
    },
    Below {
        folder: "src/admission",
        names: &["config::model::HandshakeLimits", "time"],
        why: "admission counts memory and time, and knows nothing about connections",
    },
    Below {
        folder: "src/policy",
        names: &["config::model", "tls", "upstream"],
        why: "the policy is what the configuration means, for every engine and shard alike",
    },
    Below {
        folder: "src/proxy",
        names: &[],
        why: "a header is bytes and what they say; who trusts it is for the connection",
    },
    Below {
        folder: "src/upstream",
        names: &["config::model", "engine::Address", "engine::Source", "time"],
        why: "choosing an endpoint is arithmetic on what is known about it and the time",
    },
    Below {
        folder: "src/tls",
        names: &["buf", "config::model", "conn::outcome", "fields", "lane", "time"],
        why: "TLS turns bytes into bytes; it knows no connection, engine or shard",
    },
    Below {
        folder: "src/conn",
        names: &[
            "admission",
            "buf",
            "config::model",
            "engine::Address",
            "engine::CloseMode",
            "engine::Operation",
            "engine::Side",
            "engine::Source",
            "lane::Profile",
            "lane::Unpassed",
            "lane::frame",
            "policy",
            "proxy",
            "telemetry",
            "time",
            "tls",
            "upstream",
        ],
        why: "a connection returns actions and never calls an engine, a shard or the kernel",
    },
];

/// What only some files may name.
struct Reserved {
    /// Beginnings of paths; a word by itself is one, too.
    names: &'static [&'static str],
    /// Files or folders that may.
    to: &'static [&'static str],
    why: &'static str,
    instead: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        names: &["unsafe"],
        // rust-openssl's only way to resume a session.
        to: &["src/engine/uring", "src/sys", "bench/src/client/openssl.rs"],
        why: "unsafe code is read with a SAFETY argument in hand, in as few places as can be",
        instead: "use the safe call of std or rustix, or add one to src/sys",
    },
    Reserved {
        names: &[
            "rustls::server::ServerConnection",
            "rustls::server::UnbufferedServerConnection",
            "rustls::server::UnbufferedConnectionCommon",
            "rustls::ServerConnection",
            "rustls::ClientConnection",
            "rustls::Connection",
            "rustls::client::ClientConnection",
            "rustls::client::UnbufferedClientConnection",
            "rustls::unbuffered",
        ],
        // A check of an upstream shakes hands and ends: no byte is relayed.
        to: &["src/tls/modern/session.rs", "src/upstream/probe.rs"],
        why: "tls/modern hides how rustls moves bytes, so that one file changes when that does",
        instead: "use tls::modern::ModernConn",
    },
    Reserved {
        names: &[
            "dangerous_into_kernel_connection",
            "dangerous_extract_secrets",
            "rustls::crypto::cipher",
        ],
        to: &["src/tls/modern/session.rs", "src/tls/modern/suites.rs"],
        why: "the keys of a session leave rustls for our record layer, and for nothing else",
        instead: "use tls::modern::ModernConn",
    },
    Reserved {
        names: &["crate::engine::uring", "crate::engine::epoll", "crate::engine::sim"],
        to: &["src/engine", "src/app"],
        why: "whoever names one engine does not run on the other",
        instead: "be generic over engine::Engine; app chooses",
    },
    Reserved {
        names: &["crate::shard"],
        // The child's loop has a shard's tables and timers.
        to: &["src/shard", "src/app", "src/lane/child.rs"],
        why: "a shard is made and told by app alone",
        instead: "take what is needed of it as an argument",
    },
    Reserved {
        names: &["crate::app"],
        to: &["src/app", "src/cli"],
        why: "app puts everything together: what it is made of cannot stand on it",
        instead: "take it as an argument, or through a trait that app implements",
    },
    Reserved {
        names: &["crate::cli"],
        to: &["src/cli", "src/main.rs"],
        why: "the command line is the outermost part",
        instead: "move what is wanted of it inwards",
    },
    Reserved {
        names: &["landlock", "seccompiler"],
        to: &["src/sandbox"],
        why: "what a process may do is read in one place",
        instead: "use sandbox::Sandbox",
    },
    Reserved {
        names: &["std::process::Command"],
        // The last two are what the starter calls.
        to: &["src/sandbox/starter.rs", "src/handover/predecessor.rs", "src/app/legacy.rs"],
        why: "inside its sandbox, a gateway starts no process",
        instead: "use sandbox::Starter",
    },
    Reserved {
        names: &["tokio", "axum", "hyper", "hyper_util"],
        to: &["src/admin", "src/upstream/lookout.rs", "src/upstream/probe.rs"],
        why: "asynchronous Rust serves the admin port, watches upstreams, and is kept away from the data \
              path",
        instead: "use an engine, or a thread",
    },
];

/// Where metric names are, and how they begin.
const NAMES: &str = "src/telemetry/names.rs";
const PREFIX: &str = "tlsgate_";

/// Folders that ARCHITECTURE.md calls pure, with the files in them that it excepts.
pub(crate) fn pure_folders(tree: &Tree) -> Vec<(String, Vec<String>)> {
    let table = &tree.file("ARCHITECTURE.md").text;
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [folder, _, pure] = cells[..] else { return None };
        let folder = folder.strip_prefix('`')?.strip_suffix('`')?;
        let rest = pure.strip_prefix("yes")?;
        let excepted = rest.split('`').skip(1).step_by(2);
        let files = excepted.map(|name| {
            let (_, top) = folder.rsplit_once('/').unwrap_or(("", folder));
            // Named from the folder, or from above it.
            let inner = name.strip_prefix(&format!("{top}/")).unwrap_or(name);
            format!("{folder}/{inner}.rs")
        });
        Some((folder.to_owned(), files.collect()))
    });
    rows.collect()
}

/// No sockets, clocks, threads or unsafe code in pure modules.
pub(crate) fn purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, excepted) in pure_folders(tree) {
        for file in tree.rust().filter(|file| is_in(&file.path, &folder)) {
            if excepted.contains(&file.path) {
                continue;
            }
            for (token, path) in named(file) {
                let broken = IMPURE.iter().find(|(name, _)| begins(&path, name));
                let broken = broken.filter(|_| !is_constant(&path));
                findings.extend(broken.map(|(_, what)| {
                    Finding {
                        path: file.path.clone(),
                        line: token.line,
                        what: format!("{folder} is pure and names {what}: {path}"),
                        why: "pure code runs in a simulator, and in tests without a kernel",
                        instead:
                            "take it as an argument (time, text, an event) and let the edge that \
                              calls it do this"
                                .to_owned(),
                    }
                }));
            }
        }
    }
    findings
}

/// Dependencies point one way.
pub(crate) fn directions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for below in BELOW {
        let own = below.folder.trim_start_matches("src/");
        for file in tree.rust().filter(|file| is_in(&file.path, below.folder)) {
            for (token, path) in named(file) {
                let Some(inner) = path.strip_prefix("crate::") else { continue };
                if begins(inner, own) || below.names.iter().any(|name| begins(inner, name)) {
                    continue;
                }
                let names = match below.names {
                    [] => "nothing".to_owned(),
                    names => names.join(", "),
                };
                findings.push(Finding {
                    path: file.path.clone(),
                    line: token.line,
                    what: format!("{} may not name {path}", below.folder),
                    why: below.why,
                    instead: format!(
                        "of the crate it may name {names}; take the rest as an argument, or change \
                         BELOW in tests/tidy/walls.rs with a reason"
                    ),
                });
            }
        }
    }
    findings
}

/// Some things are named in one place only.
pub(crate) fn reserved(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        for (token, path) in named(file) {
            let broken = RESERVED.iter().find(|reserved| {
                reserved.names.iter().any(|name| begins(&path, name))
                    && !reserved.to.iter().any(|place| is_in(&file.path, place))
            });
            findings.extend(broken.map(|reserved| Finding {
                path: file.path.clone(),
                line: token.line,
                what: format!("{path} is for {} only", reserved.to.join(", ")),
                why: reserved.why,
                instead: reserved.instead.to_owned(),
            }));
        }
    }
    findings
}

/// Every metric name is written once.
pub(crate) fn metric_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/") && file.path != NAMES) {
        for token in file.tokens.iter().filter(|token| !token.is_test) {
            if matches!(&token.kind, Kind::Literal(text) if text.contains(PREFIX)) {
                findings.push(Finding {
                    path: file.path.clone(),
                    line: token.line,
                    what: "a metric's name in a string".to_owned(),
                    why: "dashboards break when a name differs: each is written once",
                    instead: format!("use its constant in {NAMES}"),
                });
            }
        }
    }
    findings
}

/// What code that is not for tests names, with `self` and `super` resolved.
fn named(file: &File) -> impl Iterator<Item = (&Token, String)> {
    let module = file.folder().replace('/', "::");
    let module = module.strip_prefix("src").unwrap_or(&module).trim_start_matches("::").to_owned();
    let paths = file.paths().into_iter().filter(|(token, _)| !token.is_test);
    paths.map(move |(token, path)| (token, absolute(&path, &module)))
}

/// `super::x` in the module `a::b` is `crate::a::x`.
fn absolute(path: &str, module: &str) -> String {
    let mut at: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest = path.strip_suffix("::self").unwrap_or(path);
    if !rest.starts_with("super::") && !rest.starts_with("self::") {
        return rest.to_owned();
    }
    loop {
        if let Some(inner) = rest.strip_prefix("super::") {
            at.pop();
            rest = inner;
        } else if let Some(inner) = rest.strip_prefix("self::") {
            rest = inner;
        } else {
            at.insert(0, "crate");
            at.push(rest);
            return at.join("::");
        }
    }
}

/// Numbers of errors and the like, such as `libc::EPIPE`, call nothing.
fn is_constant(path: &str) -> bool {
    path.rsplit_once("::").is_some_and(|(_, last)| !last.contains(|c: char| c.is_lowercase()))
}

/// Whether a file is this one, or in this folder.
fn is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is this one, or goes on from it; a last part in the middle of a word, such as
/// `std::net::Tcp`, stands for all that begin so.
fn begins(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with("::") || name.ends_with("Tcp") || name.ends_with("Udp")
    })
}
