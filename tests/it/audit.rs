//! What the gateway tells of live traffic: who speaks what, why, until when.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::legacy_child::legacy;
use crate::modes::{OpenSsl, assert_reversed};
use crate::support::backend::Backend;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::connect_plain;
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::old_peers::OldClient;
use crate::support::process::{Process, gateway_program, run};
use crate::support::{Engine, SOON, engines, has_tool, wait_for, wait_until};

/// Exit code of a command that found what should not be.
const FOUND: i32 = 6;

/// What a command says, with its exit code.
fn says(gateway: &Gateway, command: &[&str]) -> (i32, Value) {
    let mut program = Command::new(gateway_program());
    program.args(command).args(["--json", "-c"]).arg(gateway.config_file());
    let ended = run(&mut program, SOON);
    let json = serde_json::from_str(&ended.stdout);
    (
        ended.code(),
        json.unwrap_or_else(|_| panic!("{command:?}: {} {}", ended.stdout, ended.stderr)),
    )
}

/// A peer made of `openssl s_client` that stays connected.
struct Peer {
    process: Process,
    _input: ChildStdin,
}

impl Peer {
    fn connect(
        gateway: &Gateway,
        address: SocketAddr,
        more: &[&str],
        shown: Option<&Files>,
    ) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &address.to_string()]);
        command.args(["-servername", NAME, "-CAfile"]).arg(gateway.ca_file()).args(more);
        if let Some(files) = shown {
            command.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
        }
        let mut process = Process::start(&mut command);
        let mut input = process.stdin();
        input.write_all(b"hello\n").expect("it waits for input");
        wait_until("an echo", SOON, || process.stdout().iter().any(|line| line == "hello"));
        Self { process, _input: input }
    }

    fn close(self) {
        let Self { process, _input: input } = self;
        drop(input);
        process.wait(SOON);
    }
}

fn address_of(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Rows of a section; each as "downstream|upstream|shown|unauthenticated" and its connections.
fn told(report: &Value) -> Vec<(String, u64)> {
    let rows = report["pairs"]["rows"].as_array().expect("rows");
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut told: Vec<(String, u64)> = rows
        .iter()
        .map(|row| {
            let side = |side: &Value| match &side["version"] {
                Value::Null => word(&side["security"]),
                version => format!("{} {}", word(version), word(&side["checks"])),
            };
            let (down, up) = (&row["downstream"], &row["upstream"]);
            let text = format!("{}: {} | {}", word(&row["listener"]), side(down), side(up));
            assert_eq!(row["source"], "127.0.0.1");
            (text, row["connections"].as_u64().expect("a count"))
        })
        .collect();
    told.sort();
    told
}

#[test]
#[ignore = "run by tests/run"]
fn audit_says_who_speaks_what() {
    if !has_tool("openssl") {
        return;
    }
    let (backend, component) = (Backend::echo(), OpenSsl::start(&[]));
    let directory = TempDir::new().expect("a temporary directory");
    let phone = ca().issue(directory.path(), "phone-7", KeyKind::Ecdsa, &["phone-7.test"]);
    for engine in engines() {
        let (originate, autodetect) = (address_of(free_port()), address_of(free_port()));
        let gateway = estate(engine, &backend, &component, [originate, autodetect]);
        let main = gateway.address();
        Peer::connect(&gateway, main, &["-tls1_2"], None).close();
        Peer::connect(&gateway, main, &["-tls1_3"], None).close();
        Peer::connect(&gateway, main, &["-tls1_3"], Some(&phone)).close();
        Peer::connect(&gateway, autodetect, &["-tls1_3"], None).close();
        let mut plain = connect_plain(autodetect);
        plain.write_all(b"hello").expect("sent");
        plain.read_exact(&mut [0; 5]).expect("an echo");
        let mut open = connect_plain(originate);
        assert_reversed(&mut open);
        drop(plain);
        wait_until("five have ended", SOON, || gateway.lines().len() == 5);
        let (code, report) = says(&gateway, &["audit"]);
        assert_eq!(code, 0);
        let expected = [
            ("auto: TLSv1.3 none | plaintext", 1),
            ("auto: plaintext | plaintext", 1),
            ("main: TLSv1.2 optional | plaintext", 1),
            ("main: TLSv1.3 optional | plaintext", 1),
            ("main: TLSv1.3 optional | plaintext", 1),
            ("orig: plaintext | TLSv1.3 none", 1),
        ];
        assert_eq!(told(&report), expected.map(|(text, count)| (text.to_owned(), count)));
        let rows = report["pairs"]["rows"].as_array().expect("rows");
        let row = |of: &str, pointer: &str, value: Value| {
            let found = rows.iter().find(|row| {
                row["listener"] == of && row.pointer(pointer).is_some_and(|found| *found == value)
            });
            found.unwrap_or_else(|| panic!("{engine:?} {of} {pointer} {value}: {report:#}"))
        };
        let mutual = row("main", "/downstream/subject", "CN=phone-7".into());
        assert_eq!(mutual["downstream"]["security"], "mutual");
        assert_eq!(mutual["downstream"]["serial"], serial(&phone).as_str());
        let unverified = row("orig", "/upstream/unauthenticated", true.into());
        assert_eq!(unverified["upstream"]["subject"], "CN=component");
        assert_eq!(unverified["open"], 1);
        assert_eq!(unverified["address"], component.address.to_string());
        let line = wait_for("the phone's line", SOON, || {
            gateway.lines().into_iter().find(|line| line.value("client_serial").is_string())
        });
        assert_eq!(line.text("client_serial"), serial(&phone));
        assert_filters(&gateway);
        drop(open);
        // What was seen outlives a configuration.
        assert!(gateway.reload());
        assert_eq!(told(&says(&gateway, &["audit"]).1).len(), expected.len());
    }
}

/// Three listeners: TLS, plaintext to a component that nobody verifies, and either of them.
fn estate(engine: Engine, echo: &Backend, component: &OpenSsl, ports: [SocketAddr; 2]) -> Gateway {
    let [originate, autodetect] = ports;
    let setup = Setup::new(engine, echo.address()).controlled().tls("client_cert = \"optional\"");
    let tables = format!(
        "[[listener]]\nname = \"orig\"\nmode = \"originate\"\nlisten = \"{originate}\"\n\
         upstream = \"{}\"\n[listener.upstream_tls]\nverify = \"none\"\n\
         verify_until = \"2099-12-31\"\n\
         [[listener]]\nname = \"auto\"\nmode = \"autodetect\"\nlisten = \"{autodetect}\"\n\
         upstream = \"{}\"\nfirst_speaker = \"client\"\nautodetect_until = \"2099-12-31\"\n\
         [listener.tls]\ncertificate = \"server.pem\"\ncertificate_key = \"server.key\"\n",
        component.address,
        echo.address()
    );
    setup.tls("trusted_ca = \"ca.pem\"").keepalive(&tables).start()
}

fn assert_filters(gateway: &Gateway) {
    for (filter, expected) in [
        (&["--plaintext"][..], (FOUND, 6)),
        (&["--plaintext", "--listener", "auto"], (FOUND, 2)),
        // Those that were asked for a certificate and have none, and the component.
        (&["--unauthenticated"], (FOUND, 3)),
        (&["--below", "1.3"], (FOUND, 1)),
        (&["--below", "1.2"], (0, 0)),
        (&["--unauthenticated", "--from", "192.0.2.1"], (0, 0)),
    ] {
        let (code, report) = says(gateway, &[&["audit"], filter].concat());
        assert_eq!((code, told(&report).len()), expected, "{filter:?}");
    }
}

fn serial(files: &Files) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-serial", "-in"]).arg(&files.certificate);
    let text = run(&mut command, SOON).stdout;
    let (_, hex) = text.trim().split_once('=').expect("serial=");
    let bytes = hex.as_bytes().chunks(2).map(|byte| String::from_utf8_lossy(byte).to_lowercase());
    bytes.collect::<Vec<_>>().join(":")
}

const RULES: &str = "[[listener.rule]]\nname = \"chatty\"\nalpn = \"chat\"\n\
    [[listener.rule]]\nname = \"old\"\noffers = \"1.2\"\nsource = \"127.0.0.0/8\"\n\
    [[listener.rule]]\nname = \"phones\"\nclient = \"cn:phone-7\"\n";

#[test]
#[ignore = "run by tests/run"]
fn explain_of_a_live_connection_agrees() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let phone = ca().issue(directory.path(), "phone-7", KeyKind::Ecdsa, &["phone-7.test"]);
    let shown = phone.certificate.display().to_string();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).controlled().workers(2);
        let setup = setup.tls("client_cert = \"optional\"\ntrusted_ca = \"ca.pem\"");
        let mut gateway = setup.timeouts("idle = \"1h\"").keepalive(RULES).start();
        let facts = ["explain", "--route", "main", "--from", "127.0.0.1", "--sni", NAME];
        for (peer, files, facts_too, rule) in [
            (&["-tls1_3"][..], None, &[][..], None),
            (
                &["-tls1_3", "-alpn", "mail,chat"],
                None,
                &["--alpn", "mail", "--alpn", "chat"],
                Some("chatty"),
            ),
            (&["-tls1_2"], None, &["--offers", "1.2"], Some("old")),
            (
                &["-tls1_2"],
                Some(&phone),
                &["--offers", "1.2", "--client-cert", &shown],
                Some("phones"),
            ),
        ] {
            let peer = Peer::connect(&gateway, gateway.address(), peer, files);
            let live = only_connection(&gateway);
            let id = live["id"].as_str().expect("an id").to_owned();
            let (code, explained) = says(&gateway, &["explain", "--connection", &id]);
            assert_eq!((code, &explained["connection"]["id"]), (0, &live["id"]));
            let (_, offline) = says(&gateway, &[&facts[..], facts_too].concat());
            assert_eq!(explained["decision"], offline["decision"], "{engine:?} {facts_too:?}");
            assert_eq!(explained["options"], offline["options"]);
            assert_eq!(explained["decision"]["rule"].as_str(), rule, "{explained:#}");
            assert_eq!(explained["notes"], Value::Array(Vec::new()));
            if rule.is_none() {
                assert_explained_under_its_generation(&gateway, &id, &explained);
            }
            peer.close();
            let line = gateway.next_line();
            let logged = format!("{}/{}", line.number("shard"), line.number("connection"));
            assert_eq!(logged, id, "the id is that of the access log");
            assert_eq!(line.text("route"), rule.unwrap_or("main"));
            let gone = ["explain", "--connection", &id, "-c"];
            let ended =
                run(Command::new(gateway_program()).args(gone).arg(gateway.config_file()), SOON);
            assert_eq!(ended.code(), 1);
            assert!(ended.stderr.contains("no connection"), "{}", ended.stderr);
        }
        assert_lanes_explained(engine, &backend);
    }
}

/// Who would take the legacy lane, who may not, and who has.
fn assert_lanes_explained(engine: Engine, backend: &Backend) {
    let (setup, _files) = legacy(engine, backend.address());
    let gateway = setup.controlled().start();
    let asked = |source: &str, more: &[&str]| {
        let facts = ["explain", "--route", "main", "--from", source];
        let (code, explained) = says(&gateway, &[&facts[..], more].concat());
        assert_eq!(code, 0, "{explained:#}");
        explained
    };
    let lane = |lane: &str, reason: &str| json!({ "lane": lane, "reason": reason });
    let old = asked("127.0.0.1", &["--offers", "1.0"]);
    assert_eq!(old["decision"]["lane"], lane("legacy", "version"), "{old:#}");
    assert_eq!((&old["client"]["offers"], &old["client"]["usual"]), (&json!("1.0"), &json!(true)));
    let cbc = "TLS_RSA_WITH_AES_128_CBC_SHA";
    let weak = asked("127.0.0.1", &["--offers", "1.2", "--suite", cbc]);
    assert_eq!(weak["decision"]["lane"], lane("legacy", "suite"));
    assert_eq!(weak["client"]["suites"], json!([cbc]));
    let modern = asked("192.0.2.1", &[]);
    assert_eq!(modern["decision"]["lane"], lane("modern", "able"));
    let foreign = asked("192.0.2.1", &["--offers", "1.0"]);
    assert_eq!(foreign["decision"]["verdict"], "refuse");
    assert_eq!(foreign["decision"]["refused"]["reason"], "legacy_source", "{foreign:#}");
    assert_eq!(foreign["decision"]["lane"], Value::Null);
    let mut client = OldClient::quiet(gateway.address());
    client.echo();
    let live = only_connection(&gateway);
    let id = live["id"].as_str().expect("an id");
    let (code, explained) = says(&gateway, &["explain", "--connection", id]);
    assert_eq!((code, &explained["decision"]), (0, &old["decision"]), "{explained:#}");
    assert_eq!(explained["connection"]["downstream"]["version"], "TLSv1");
    let mut command = Command::new(gateway_program());
    command.args(["explain", "--connection", id, "-c"]).arg(gateway.config_file());
    let text = run(&mut command, SOON).stdout;
    assert!(
        text.contains("lane: legacy, since the modern lane cannot serve its version"),
        "{text}"
    );
    client.end();
}

fn only_connection(gateway: &Gateway) -> Value {
    wait_for("one open connection", SOON, || {
        let (_, report) = says(gateway, &["audit", "--connections", "--listener", "main"]);
        let rows = report["connections"]["rows"].as_array().expect("rows").clone();
        match rows.as_slice() {
            [row] if row["stage"] == "relay" => Some(row.clone()),
            _ => None,
        }
    })
}

/// What holds for it does not change when the configuration does.
fn assert_explained_under_its_generation(gateway: &Gateway, id: &str, before: &Value) {
    gateway.rewrite(|text| text.replace("idle = \"1h\"", "\n\nidle = \"2h\""));
    assert!(gateway.reload());
    let (_, after) = says(gateway, &["explain", "--connection", id]);
    assert_eq!(after["options"], before["options"], "values and lines of its own generation");
    let idle = |explained: &Value| {
        let options = explained["options"].as_array().expect("options").clone();
        let idle = options.into_iter().find(|option| option["option"] == "timeouts.idle");
        idle.expect("an option")["value"].clone()
    };
    assert_eq!(idle(&after), "\"1h\"");
    let note = after["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("admitted under generation 1: generation 2 runs"), "{note}");
    gateway.rewrite(|text| text.replace("\n\nidle = \"2h\"", "idle = \"1h\""));
    assert!(gateway.reload());
}

#[test]
#[ignore = "run by tests/run"]
fn autodetect_report_says_when_it_is_safe() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).controlled().workers(2);
        let setup = setup.listener("mode = \"autodetect\"\nautodetect_until = \"2099-12-31\"");
        let gateway = setup.listener("first_speaker = \"client\"").start();
        let verdict = |quiet: &str| {
            let (code, report) = says(&gateway, &["audit", "--autodetect", "--quiet", quiet]);
            let watch = report["autodetect"][0].clone();
            assert_eq!(watch["until"], "2099-12-31");
            (code, watch["verdict"].as_str().expect("a verdict").to_owned(), watch)
        };
        assert_eq!(verdict("0s").1, "unknown", "nobody has come");
        Peer::connect(&gateway, gateway.address(), &[], None).close();
        let (code, word, watch) = verdict("0s");
        assert_eq!((code, word.as_str()), (0, "safe"), "{watch}");
        assert_eq!(verdict("1h").1, "unknown", "not watched for an hour");
        let mut plain = connect_plain(gateway.address());
        plain.write_all(b"hello").expect("sent");
        plain.read_exact(&mut [0; 5]).expect("an echo");
        let (code, word, watch) = verdict("0s");
        assert_eq!((code, word.as_str()), (FOUND, "not_safe"), "{watch}");
        assert_eq!(watch["plaintext_open"], 1);
        drop(plain);
        gateway.wait_until_idle();
        // A reload does not begin anew.
        assert!(gateway.reload());
        let (code, word, watch) = verdict("1h");
        assert_eq!((code, word.as_str()), (FOUND, "not_safe"), "{watch}");
        assert_eq!(watch["plaintext_sources"]["rows"][0]["source"], "127.0.0.1");
        assert_eq!(watch["tls_sources"]["rows"], Value::Array(Vec::new()), "it is the same one");
        wait_until("two quiet seconds", SOON, || verdict("2s").1 == "safe");
        let status = gateway.status();
        assert_eq!(status["autodetect"][0]["plaintext_connections"], 1);
        assert_eq!(status["autodetect"][0]["verdict"], "not_safe", "not quiet for a week");
        let last = "tlsgate_autodetect_plaintext_last_timestamp_seconds";
        assert!(gateway.metrics().count(last, &[("listener", "main")]) > 1_700_000_000);
    }
}

/// A certificate with an OCSP response that is good for six days and a quarter, by an authority of its own.
fn stapled(directory: &Path) -> String {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(directory);
        let ended = run(&mut command, SOON);
        assert_eq!(ended.code(), 0, "{arguments}: {}", ended.stderr);
        ended.stdout
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=stapler -keyout own.key -out own.pem");
    openssl(
        "req -newkey rsa:2048 -nodes -subj /CN=stapled -addext subjectAltName=DNS:stapled.test \
         -keyout stapled.key -out stapled.csr",
    );
    openssl(
        "x509 -req -in stapled.csr -CA own.pem -CAkey own.key -days 900 -set_serial 77 \
         -copy_extensions copy -out stapled.pem",
    );
    let entry = "V\t350101000000Z\t\t4D\tunknown\t/CN=stapled\n";
    fs::write(directory.join("index.txt"), entry).expect("a writable directory");
    openssl("ocsp -issuer own.pem -cert stapled.pem -reqout request -no_nonce");
    openssl(
        "ocsp -index index.txt -rsigner own.pem -rkey own.key -CA own.pem -reqin request \
         -respout staple -nmin 9000",
    );
    let key = directory.join("stapled.key");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(key, private).expect("a file of our own");
    "certificate = \"stapled.pem\"\ncertificate_key = \"stapled.key\"\nocsp_file = \"staple\"\n"
        .to_owned()
}

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn audit_lists_expiring_certificates_and_crls() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let phone = ca().issue_for(directory.path(), "phone-7", 10);
    for engine in engines() {
        let setup =
            Setup::new(engine, backend.address()).controlled().tls("client_cert = \"required\"");
        fs::write(setup.directory().join("ca.crl"), ca().crl_for(&[], Some(5))).expect("writable");
        let tables = format!(
            "[[listener]]\nname = \"stapled\"\nlisten = \"127.0.0.1:{}\"\nupstream = \"{}\"\n\
             [listener.tls]\n{}",
            free_port(),
            backend.address(),
            stapled(setup.directory())
        );
        let setup = setup.tls("trusted_ca = \"ca.pem\"\ncrl_files = \"ca.crl\"");
        let gateway = setup.keepalive(&tables).start();
        let expiring = |days: &str| {
            let (code, report) = says(&gateway, &["audit", "--expiring", days]);
            let row = |row: &Value| {
                let name = row["subject"].as_str().or(row["issuer"].as_str()).expect("a name");
                let staple = row["staple_days_left"].as_i64();
                format!("{name} {}", staple.or(row["days_left"].as_i64()).expect("days"))
            };
            let rows = |section: &str| report[section]["rows"].as_array().expect("rows").clone();
            let all = [rows("certificates"), rows("crls")].concat();
            (code, all.iter().map(row).collect::<Vec<_>>())
        };
        let (staple, list) = ("CN=stapled 6".to_owned(), "CN=tlsgate checks 5".to_owned());
        assert_eq!(expiring("30"), (FOUND, vec![staple.clone(), list.clone()]), "nobody has come");
        let peer = Peer::connect(&gateway, gateway.address(), &[], Some(&phone));
        assert_eq!(expiring("30"), (FOUND, vec!["CN=phone-7 10".to_owned(), staple, list.clone()]));
        assert_eq!(expiring("5"), (0, Vec::new()));
        assert_eq!(expiring("6"), (FOUND, vec![list]));
        assert_told_to_metrics(&gateway);
        let said = |words: &str| gateway.stderr().matches(words).count();
        assert_eq!(said("CRL of CN=tlsgate checks: expires in 5 days"), 1);
        assert_eq!(said("OCSP response for CN=stapled: expires in 6 days"), 1);
        let words = "certificate of a peer (downstream) CN=phone-7";
        wait_until("a warning about the peer", SOON, || said(words) > 0);
        // One look of the gateway's has passed since, and what was told before is not told again.
        assert_eq!((said(words), said("CRL of CN=tlsgate checks")), (1, 1), "once a day");
        peer.close();
    }
}

fn assert_told_to_metrics(gateway: &Gateway) {
    let metrics = gateway.metrics();
    let side = [("listener", "main"), ("side", "downstream")];
    let peers = metrics.count("tlsgate_peer_certificate_not_after_seconds", &side);
    let staple = metrics.count("tlsgate_ocsp_next_update_seconds", &[("listener", "stapled")]);
    let made = metrics.count("tlsgate_ocsp_this_update_seconds", &[("listener", "stapled")]);
    assert!(peers > staple && staple == made + 9_000 * 60, "{peers} {staple} {made}");
    let status = gateway.status();
    assert_eq!(status["peer_certificates"][0]["subject"], "CN=phone-7");
    assert_eq!(status["peer_certificates"][0]["days_left"], 10);
}
