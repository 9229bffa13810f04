//! Options of the whole process.

use std::time::Duration;

use super::super::options::{Kind, OptionDoc, Presence};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const ACCOUNTS: Kind = Kind::List { item: &Kind::Text { max: 64 }, min: 0, max: 64, single: true };

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "gateway",
        key: "workers",
        kind: Kind::Or("auto", &Kind::Integer { min: 1, max: 1024, unit: "threads" }),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "Worker threads, each pinned to one CPU. \"auto\" is one for each CPU that the \
              affinity mask and the cgroup quota allow.",
    },
    OptionDoc {
        table: "gateway",
        key: "engine",
        kind: Kind::Word(&["auto", "io_uring", "epoll"]),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "How bytes are moved. \"auto\" takes io_uring where the kernel and the container \
              allow it, else epoll, and logs the reason.",
    },
    OptionDoc {
        table: "gateway",
        key: "max_connections",
        kind: Kind::Or("auto", &Kind::Integer { min: 1, max: 16_777_216, unit: "connections" }),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "Connections over all workers. \"auto\" derives it from the limit of open files.",
    },
    OptionDoc {
        table: "gateway",
        key: "drain_timeout",
        kind: Kind::Duration { min: Duration::ZERO, max: DAY, step: MILLISECOND },
        presence: Presence::Default("\"30s\""),
        reload: true,
        doc: "How long the gateway, told to stop, waits for connections to end by themselves.",
    },
    OptionDoc {
        table: "gateway",
        key: "certificate_watch",
        kind: Kind::Or("off", &Kind::Duration { min: SECOND, max: HOUR, step: MILLISECOND }),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "How often the files of certificates, keys, CAs and ticket secrets are looked at. \
              When one has changed, all are read again, as by a reload, and the rest of the \
              configuration stays.",
    },
    OptionDoc {
        table: "gateway",
        key: "crl_watch",
        kind: Kind::Or(
            "off",
            &Kind::Duration { min: Duration::from_millis(50), max: HOUR, step: MILLISECOND },
        ),
        presence: Presence::Default("\"250ms\""),
        reload: true,
        doc: "How often the files of revoked certificates (crl_files) are looked at. One that has \
              changed counts from then on, without a reload, also for connections that are up \
              (revalidate). One that cannot be used, or is older than the list in use, is told \
              and not taken. With \"off\", they are looked at together with certificates.",
    },
    OptionDoc {
        table: "gateway",
        key: "restart_timeout",
        kind: Kind::Duration { min: SECOND, max: HOUR, step: MILLISECOND },
        presence: Presence::Default("\"60s\""),
        reload: true,
        doc: "How long the new process of a restart (USR2) may take to be ready. After that it is \
              killed, and the running one goes on.",
    },
    OptionDoc {
        table: "gateway",
        key: "buffer_memory",
        // io_uring alone holds 6.1 MiB of provided buffers ready.
        kind: Kind::Size { min: 16 * MIB, max: 1024 * GIB },
        presence: Presence::Default("\"256MiB\""),
        reload: false,
        doc: "Receive and send buffers in use, for each worker. Above it, receiving pauses.",
    },
    OptionDoc {
        table: "gateway",
        key: "record_layer",
        kind: Kind::Word(&["own", "rustls"]),
        presence: Presence::Default("\"own\""),
        reload: true,
        doc: "What encrypts and decrypts records of TLS 1.2 and 1.3 once rustls has shaken hands. \
              \"own\" does it in the buffers of the engine. \"rustls\" copies them, and is there \
              to compare with. Connections that are up keep theirs.",
    },
    OptionDoc {
        table: "gateway",
        key: "sandbox",
        kind: Kind::Word(&["on", "off"]),
        presence: Presence::Default("\"on\""),
        reload: false,
        doc: "What the process gives up once it has started: every system call that it does not \
              need (seccomp), every file outside of the folders that the configuration names \
              (landlock), capabilities. A configuration that is loaded later and names files in \
              other folders is refused: USR2 starts a process that begins anew.",
    },
    OptionDoc {
        table: "gateway",
        key: "hello_memory",
        kind: Kind::Size { min: 128 * KIB, max: 64 * GIB },
        presence: Presence::Default("\"16MiB\""),
        reload: false,
        doc: "Unfinished ClientHellos, for each worker. Above it, new ones are refused.",
    },
    OptionDoc {
        table: "gateway",
        key: "hello_memory_per_source",
        kind: Kind::Size { min: 64 * KIB, max: 64 * GIB },
        presence: Presence::Default("\"1MiB\""),
        reload: false,
        doc: "Unfinished ClientHellos from one source address, for each worker. At most \
              hello_memory; where that is less than the default, it is the default.",
    },
    OptionDoc {
        table: "admin",
        key: "listen",
        kind: Kind::Or("off", &Kind::SocketAddress),
        presence: Presence::Default("\"127.0.0.1:9440\""),
        reload: false,
        doc: "Where the admin port listens. It asks for no password: keep it on a private \
              address.",
    },
    OptionDoc {
        table: "admin",
        key: "control",
        kind: Kind::Or("off", &Kind::Path),
        presence: Presence::Default("\"off\""),
        reload: false,
        doc: "Path of a unix socket for `tlsgate show`, `drain`, `reload` and others. The user that \
              the gateway runs as, and root, may do everything there.",
    },
    OptionDoc {
        table: "admin",
        key: "control_group",
        kind: Kind::Text { max: 64 },
        presence: Presence::Optional { example: "\"adm\"" },
        reload: false,
        doc: "Group, by name or number, that the control socket belongs to: its members may look. \
              Without it, that is the group that the gateway runs as.",
    },
    OptionDoc {
        table: "admin",
        key: "control_operators",
        kind: ACCOUNTS,
        presence: Presence::Default("[]"),
        reload: false,
        doc: "Who may also reload, drain and close connections, switch upstreams, and set the log \
              level at the control socket: users, and groups as \"group:NAME\"; names or numbers. \
              They need to reach the socket, too: see control_group.",
    },
    OptionDoc {
        table: "admin",
        key: "control_admins",
        kind: ACCOUNTS,
        presence: Presence::Default("[]"),
        reload: false,
        doc: "Who may also replace certificates, keys, CAs and lists of revoked certificates there. \
              Written as control_operators.",
    },
    OptionDoc {
        table: "resumption",
        key: "max_entries",
        kind: Kind::Integer { min: 1, max: 100_000_000, unit: "sessions" },
        presence: Presence::Default("100000"),
        reload: false,
        doc: "Sessions in the store. Above it, the least recently used one goes.",
    },
    OptionDoc {
        table: "resumption",
        key: "max_bytes",
        kind: Kind::Size { min: MIB, max: 1024 * GIB },
        presence: Presence::Default("\"64MiB\""),
        reload: false,
        doc: "Memory of the store. Above it, the least recently used session goes.",
    },
    OptionDoc {
        table: "resumption",
        key: "lifetime",
        kind: Kind::Duration { min: SECOND, max: Duration::from_secs(7 * 86_400), step: SECOND },
        presence: Presence::Default("\"6h\""),
        reload: true,
        doc: "How long after it was made a session may be resumed; in TLS 1.3 a resumption makes \
              a new one. RFC 8446 section 4.6.1 allows 7 days. A change makes tickets that were \
              made before it useless: peers shake hands in full once. Nodes that share \
              ticket_secret need the same lifetime, and clocks that differ by less.",
    },
    OptionDoc {
        table: "resumption",
        key: "ticket_secret",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"ticket.secret\"" },
        reload: true,
        doc: "File of the secrets that ticket keys are derived from, 1 to 4 of them, one on each \
              line, as `tlsgate secret` prints them; mode 0600 or 0400. With the same file, \
              tickets are good on all nodes and after a restart. The first secret makes tickets, \
              all of them read tickets. Without a file, secrets are random and change with each \
              lifetime.",
    },
];
