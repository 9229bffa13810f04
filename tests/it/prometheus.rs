//! A real Prometheus scrapes a real run: alerts fire on what is staged, and whatever dashboard and
//! alerts ask for is there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tlsgate::telemetry::names;

use crate::support::backend::Backend;
use crate::support::ca::ca;
use crate::support::client::{Version, assert_echo, close, config, connect, try_connect};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::load::StopOnDrop;
use crate::support::process::{Process, run_with_input};
use crate::support::{Engine, SOON, has_tool, http, is_full, sized, wait_for, wait_until};

const STAGED_EXPIRY: [&str; 3] =
    ["TlsgateCertificateEnds", "TlsgateCertificateEndsNow", "TlsgateCrlEnds"];
/// What is staged, and what a storm may bring along.
const EXPECTED: [&str; 9] = [
    "TlsgateCertificateEnds",
    "TlsgateCertificateEndsNow",
    "TlsgateCrlEnds",
    "TlsgateShedding",
    "TlsgateUpstreamDown",
    "TlsgateHandshakesFail",
    "TlsgateHandshakesSlow",
    "TlsgateHandshakesWait",
    "TlsgateHeadroomShort",
];
/// The full size: five minutes of scraping, with alerts as they are.
const WHOLE_RUN: Duration = Duration::from_secs(300);

#[test]
#[ignore = "run by tests/run, beside others"]
fn prometheus_scrapes_and_alerts() {
    if !has_tool("prometheus") || !has_tool("promtool") {
        return;
    }
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        promtool(&arguments, b"");
    }
    let backend = Backend::echo();
    let setup = Setup::new(Engine::Epoll, backend.address()).engine("auto");
    let setup = setup.gateway("[handshakes]\nsource_failures = 1");
    let gateway =
        setup.listener("checks = { interval = \"200ms\", timeout = \"2s\", fall = 1 }").start();
    let prometheus = Prometheus::start(gateway.admin());
    let begin = std::time::Instant::now();

    prometheus.wait_for("it has scraped twice", "count_over_time(up[5m]) > 1 and up == 1");
    let mut early = prometheus.firing();
    // A machine that is busy with other things is told at once here.
    early
        .retain(|name| !["TlsgateHeadroomShort", "TlsgateHandshakesSlow"].contains(&name.as_str()));
    assert_eq!(early, BTreeSet::new(), "nothing has happened yet");
    let mut stream = connect(gateway.address(), &config(Version::V13));
    assert_echo(&mut stream, b"an ordinary connection");
    close(stream);
    stage_expiry(&gateway);
    prometheus.wait_until_told(&STAGED_EXPIRY);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| storm(&gateway, &stop));
        prometheus.wait_until_told(&["TlsgateShedding"]);
    });
    backend.stop();
    prometheus.wait_until_told(&["TlsgateUpstreamDown"]);
    if is_full() {
        std::thread::sleep(WHOLE_RUN.saturating_sub(begin.elapsed()));
    }
    let mut others = prometheus.firing();
    others.retain(|name| !EXPECTED.contains(&name.as_str()));
    assert_eq!(others, BTreeSet::new(), "nothing else is told");
    everything_is_there(&gateway, &prometheus);
    let answered = prometheus.value("avg_over_time(up[10m])").expect("it was scraped");
    // A scrape may time out on a machine that does many other things.
    assert!(answered >= sized(1.0, 0.8), "{answered} of the scrapes were answered");
}

/// A reload brings a certificate and a list of revoked ones that end within a day.
fn stage_expiry(gateway: &Gateway) {
    let directory = gateway.directory();
    let files = ca().issue_for(directory, "short", 0);
    let list = directory.join("short.crl");
    fs::write(&list, ca().crl_for(&[], Some(0))).expect("a writable directory");
    let listener = format!(
        "\n[[listener]]\nname = \"short\"\nlisten = \"127.0.0.1:{}\"\nupstream = \"127.0.0.1:1\"\n\
         [listener.tls]\ncertificate = {:?}\ncertificate_key = {:?}\nclient_cert = \"optional\"\n\
         trusted_ca = {:?}\ncrl_files = [{:?}]\n",
        free_port(),
        files.certificate,
        files.key,
        gateway.ca_file(),
        list
    );
    gateway.rewrite(|text| text + &listener);
    assert!(gateway.reload(), "{}", gateway.stderr());
}

/// Peers of one source that end their handshakes with an alert. It is sent away for that, and comes
/// again all the time.
fn storm(gateway: &Gateway, stop: &AtomicBool) {
    let config = config(Version::V13);
    while !stop.load(Ordering::Relaxed) {
        // The certificate has another name; or the gateway has closed at once.
        let failed = try_connect(gateway.address(), &config, "wrong.test");
        assert!(failed.is_err(), "a certificate for another name");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every metric that the dashboard and the alerts name was scraped, and Prometheus takes each of
/// their expressions.
fn everything_is_there(gateway: &Gateway, prometheus: &Prometheus) {
    let answer = http::get(gateway.admin(), "/metrics").expect("the admin port answers");
    promtool(&["check", "metrics"], answer.body.as_bytes());
    let known: Value = prometheus.ask("/api/v1/metadata");
    let known = known.as_object().expect("families by name");
    for name in named() {
        assert!(known.contains_key(&name), "{name} was not scraped");
    }
    let mut with_data = 0;
    let expressions = expressions();
    for expression in &expressions {
        let found = prometheus.query(expression);
        with_data += usize::from(!found.is_empty());
    }
    println!("{with_data} of {} expressions of the dashboard have data", expressions.len());
    assert!(with_data * 2 > expressions.len(), "{with_data} of {}", expressions.len());
}

/// Names of metrics in the dashboard and the alerts, without the endings of histograms.
fn named() -> BTreeSet<String> {
    let texts = ["grafana/tlsgate.json", "prometheus/alerts.yml"].map(read);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = texts.iter().flat_map(|text| text.split(|c| !is_word(c)));
    let words = words.filter(|word| word.starts_with("tlsgate_") || word.starts_with("process_"));
    let family = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.into_iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    words.map(family).collect()
}

/// Those of the dashboard, with its variables filled in.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/tlsgate.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    let fill = |text: &str| {
        text.replace("$instance", ".*").replace("$listener", ".*").replace("$__rate_interval", "1m")
    };
    expressions.map(fill).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    let known: BTreeSet<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    let named = named();
    assert!(named.len() > 40, "{named:?}");
    for name in &named {
        assert!(known.contains(name.as_str()), "{name}");
    }
    assert!(expressions().len() > 40);
    for expression in expressions() {
        assert!(!expression.contains('$'), "{expression}");
    }
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// # Panics
/// When it finds anything wrong.
fn promtool(arguments: &[&str], input: &[u8]) {
    let mut command = Command::new("promtool");
    command.current_dir(folder().join("prometheus")).args(arguments);
    let ended = run_with_input(&mut command, input, 2 * SOON);
    let said = format!("{arguments:?}: {}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code(), 0, "{said}");
    // Of metrics, it only writes what could be better.
    assert!(
        arguments[1] != "metrics" || ended.stdout.is_empty() && ended.stderr.is_empty(),
        "{said}"
    );
}

/// A Prometheus of its own, which scrapes one gateway.
struct Prometheus {
    address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Waits until it answers.
    fn start(target: SocketAddr) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut rules = read("prometheus/alerts.yml");
        let interval = if is_full() { "5s" } else { "500ms" };
        if !is_full() {
            // What takes a minute to be sure of, takes none here.
            let lines = rules.lines().filter(|line| !line.trim_start().starts_with("for: "));
            rules = lines.fold(String::new(), |mut text, line| {
                writeln!(text, "{line}").expect("a String");
                text
            });
        }
        let text = format!(
            "global: {{ scrape_interval: {interval}, scrape_timeout: {interval}, \
             evaluation_interval: {interval} }}\nrule_files: [alerts.yml]\nscrape_configs:\n  - \
             job_name: tlsgate\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        fs::write(directory.path().join("alerts.yml"), rules).expect("a writable directory");
        fs::write(directory.path().join("prometheus.yml"), text).expect("a writable directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("prometheus");
        command
            .current_dir(directory.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start(&mut command);
        wait_until("Prometheus is ready", 2 * SOON, || {
            assert_eq!(process.poll(), None, "{}", process.stderr().join("\n"));
            http::get(address, "/-/ready").is_ok_and(|answer| answer.status == 200)
        });
        Self { address, process, _directory: directory }
    }

    /// `data` of an answer.
    ///
    /// # Panics
    /// When it is an error.
    fn ask(&self, path: &str) -> Value {
        let answer = http::get(self.address, path);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {:?}", self.process.stderr()));
        // Long answers come in chunks, whose lengths stand between the lines of JSON.
        let body = match answer.head.contains("transfer-encoding: chunked") {
            true => unchunked(&answer.body),
            false => answer.body,
        };
        let mut value: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!(value["status"], "success", "{path}: {value}");
        value["data"].take()
    }

    /// The samples that an expression has now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            write!(path, "%{byte:02X}").expect("a String");
        }
        match self.ask(&path)["result"].take() {
            Value::Array(samples) => samples,
            other => panic!("{expression}: {other}"),
        }
    }

    fn value(&self, expression: &str) -> Option<f64> {
        let sample = self.query(expression).into_iter().next()?;
        sample["value"][1].as_str()?.parse().ok()
    }

    fn wait_for(&self, what: &str, expression: &str) {
        wait_for(what, SOON, || self.value(expression));
    }

    fn wait_until_told(&self, alerts: &[&str]) {
        let limit = if is_full() { WHOLE_RUN } else { 2 * SOON };
        wait_until(&format!("{alerts:?} are told"), limit, || {
            let firing = self.firing();
            alerts.iter().all(|alert| firing.contains(*alert))
        });
    }

    fn firing(&self) -> BTreeSet<String> {
        let samples = self.query("ALERTS{alertstate=\"firing\"}");
        let name = |sample: &Value| sample["metric"]["alertname"].as_str().map(str::to_owned);
        samples.iter().filter_map(name).collect()
    }
}

/// The content of a body in chunks (RFC 9112 §7.1).
fn unchunked(body: &str) -> String {
    let (mut content, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length in hex");
        content.push_str(&after[..length]);
        rest = after[length..].strip_prefix("\r\n").expect("the end of a chunk");
        if length == 0 {
            break;
        }
    }
    content
}
