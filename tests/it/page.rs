//! The page in a browser, the same in a terminal, and what both cost.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::legacy_child::legacy;
use crate::modes::OpenSsl;
use crate::support::browser::{BROWSER, Browser};
use crate::support::ca::NAME;
use crate::support::client::connect_plain;
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::old_peers::OldClient;
use crate::support::process::{Process, bench_program, gateway_program, run};
use crate::support::{Engine, SOON, has_tool, http, sized, wait_for, wait_until};

/// What is shown does not depend on it.
const ENGINE: Engine = Engine::Epoll;
/// Widths of a desk and a phone, light and dark.
const LOOKS: [(u32, &str); 4] = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")];

/// A gateway with something of everything to be seen, and traffic while this lives.
struct Estate {
    _load: Vec<Process>,
    _old: OldClient,
    _plain: std::net::TcpStream,
    // Behind its peers, so that it ends in order.
    gateway: Gateway,
    _component: Component,
    _openssl: OpenSsl,
}

fn estate() -> Estate {
    let (component, openssl) = (Component::start(), OpenSsl::start(&[]));
    let originate = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (setup, _files) = legacy(ENGINE, component.address());
    let down = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tables = format!(
        "[[listener]]\nname = \"tds\"\nmode = \"originate\"\nlisten = \"{originate}\"\n\
         proxy_in = \"v1\"\nproxy_trusted = \"127.0.0.1\"\nupstream = \"{}\"\n[listener.upstream_tls]\nverify = \"none\"\n\
         verify_until = \"2099-12-31\"\n\
         [[listener]]\nname = \"reports\"\nlisten = \"127.0.0.1:{}\"\nupstream = \"{down}\"\n\
         [listener.tls]\ncertificate = \"server.pem\"\ncertificate_key = \"server.key\"\n",
        openssl.address,
        free_port(),
    );
    let gateway = setup.workers(2).keepalive(&tables).start();
    let load = |words: &[&str]| {
        let mut command = Command::new(bench_program());
        command.args(["load", &gateway.address().to_string(), "--server-name", NAME, "--ca"]);
        Process::start(command.arg(gateway.ca_file()).args(["-d", "300s"]).args(words))
    };
    let loads = vec![
        load(&["-w", "handshakes", "--rate", "40", "--resumed", "0.7", "-c", "8"]),
        load(&["-w", "messages", "--rate", "300", "-c", "12"]),
    ];
    let mut old = OldClient::quiet(gateway.address());
    old.echo();
    // From another machine, as a trusted peer says: plaintext on this one is no concern.
    let mut plain = connect_plain(originate);
    let header = format!("PROXY TCP4 192.0.2.7 192.0.2.1 5000 {}\r\n", originate.port());
    std::io::Write::write_all(&mut plain, header.as_bytes()).expect("connected");
    Estate {
        gateway,
        _component: component,
        _openssl: openssl,
        _load: loads,
        _old: old,
        _plain: plain,
    }
}

/// Where pictures go: with `TLSGATE_PICTURES=1` to where the documents have them.
fn pictures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let keep = std::env::var_os("TLSGATE_PICTURES").is_some_and(|value| value == "1");
    let folder = root.join(if keep { "docs" } else { "target/pictures" });
    fs::create_dir_all(&folder).expect("a writable directory");
    folder
}

#[test]
#[ignore = "run by tests/run"]
fn page_in_a_browser() {
    if !has_tool(BROWSER) || !has_tool("openssl") {
        return;
    }
    let estate = estate();
    let admin = estate.gateway.admin();
    let mut browser = Browser::start();
    browser.appear(1280, "light");
    browser.open(&format!("http://{admin}/"));
    wait_until("the page shows figures", SOON, || {
        browser.value("document.querySelectorAll('#links-table tbody th').length") != 0
            && browser.value("document.querySelector('#state').textContent") == "accepting"
    });
    assert_lives(&mut browser);
    assert_keeps_its_past(&mut browser);
    assert_shows_what_stands_out(&mut browser);
    assert_accessible(&mut browser);
    browser.value("document.activeElement.blur()");
    let longer = Duration::from_secs(sized(60, 0));
    std::thread::sleep(longer);
    for (width, scheme) in LOOKS {
        browser.appear(width, scheme);
        let overflow =
            "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(overflow), 0, "{width}: everything is within the window");
        assert_contrast(&mut browser, scheme);
        let file = pictures().join(format!("page-{width}-{scheme}.png"));
        browser.picture(&file);
        println!("{}: {} bytes", file.display(), fs::metadata(&file).expect("written").len());
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(requests.len() > 6, "{requests:?}");
    let own = format!("http://{admin}/");
    let others: Vec<_> = requests.iter().filter(|url| !url.starts_with(&own)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_policy(&mut browser);
}

/// Two looks under traffic differ, and a paused page does not.
fn assert_lives(browser: &mut Browser) {
    let figures = "document.querySelector('#listeners-table tbody').textContent";
    let in_all = "[...document.querySelectorAll('#percentiles-table tbody tr')]\
                  .map((row) => row.textContent).join()";
    for expression in [figures, in_all, "document.querySelector('#tiles path.line').outerHTML"] {
        let first = browser.value(expression);
        wait_until("it changes", SOON, || browser.value(expression) != first);
    }
    // By keyboard: past the link to the figures, to the button.
    browser.press("Tab", 9, "");
    assert_eq!(browser.value("document.activeElement.className"), "skip");
    browser.press("Tab", 9, "");
    assert_eq!(browser.value("document.activeElement.id"), "pause");
    browser.press(" ", 32, " ");
    let pressed = "document.querySelector('#pause').getAttribute('aria-pressed')";
    assert_eq!(browser.value(pressed), "true");
    let held = browser.value(figures);
    let before = browser.requests().len();
    wait_until("it goes on asking", SOON, || {
        browser.value("1");
        browser.requests().len() >= before + 2
    });
    assert_eq!(browser.value(figures), held);
    browser.press(" ", 32, " ");
    assert_eq!(browser.value(pressed), "false");
}

/// Another listener, chosen while an answer is awaited: the next question is about all of the past.
fn assert_keeps_its_past(browser: &mut Browser) {
    browser.value(
        "(() => {
            const ask = window.fetch;
            window.asked = [];
            window.fetch = async (url, how) => {
                window.asked.push(url);
                if (window.asked.length === 1) window.choose('tds');
                return ask(url, how);
            };
            window.choose = (listener) => {
                const choice = document.querySelector('#listener');
                choice.value = listener;
                choice.dispatchEvent(new Event('change'));
            };
        })()",
    );
    let asked = wait_for("two questions", SOON, || {
        let asked = browser.value("window.asked");
        asked.as_array().filter(|all| all.len() >= 2).cloned()
    });
    let [first, second] = [&asked[0], &asked[1]].map(|url| url.as_str().unwrap_or_default());
    assert!(first.contains("since=") && !first.contains("listener=tds"), "{first}");
    assert!(!second.contains("since=") && second.contains("listener=tds"), "{second}");
    browser.value("window.choose('main')");
    let title = "document.querySelector('#percentiles-table caption').textContent";
    wait_until("the first one again", SOON, || browser.value(title) == "All phases of main");
}

/// What should not be is marked, comes first, and can be searched for.
fn assert_shows_what_stands_out(browser: &mut Browser) {
    let marks = "[...document.querySelectorAll('#links-table tbody tr')].map((row) => \
                 [...row.querySelectorAll('.mark')].map((mark) => mark.className.split(' ')[1]).join())";
    let rows = wait_for("old and plaintext links", SOON, || {
        let rows = browser.value(marks);
        let text = rows.to_string();
        (text.contains("plaintext") && text.contains("legacy") && text.contains("unauthenticated"))
            .then_some(rows)
    });
    assert!(rows[0].as_str().is_some_and(|first| first.contains("plaintext")), "{rows}");
    let drawn = browser.value("document.querySelectorAll('#map .edge').length");
    assert!(drawn.as_u64().is_some_and(|edges| edges >= 4), "{drawn}");
    let routes =
        "[...document.querySelectorAll('#routes-table tbody th')].map((one) => one.textContent)";
    let search = |text: &str| {
        format!(
            "(() => {{ const box = document.querySelector('#search'); box.value = {text:?}; \
             box.dispatchEvent(new Event('input')); }})()"
        )
    };
    browser.value(&search("TDS"));
    wait_until("only that route", SOON, || browser.value(routes) == serde_json::json!(["tds"]));
    browser.value(&search(""));
    wait_until("all routes", SOON, || browser.value(routes).as_array().map(Vec::len) == Some(3));
}

/// Names, headings and captions for those who do not see it.
fn assert_accessible(browser: &mut Browser) {
    for (what, expression) in [
        (
            "tables without caption",
            "[...document.querySelectorAll('table')].filter((one) => !one.caption)",
        ),
        (
            "pictures without name",
            "[...document.querySelectorAll('svg')].filter((one) => !one.closest('[aria-hidden]') && !(one.getAttribute('role') === 'img' && one.getAttribute('aria-label')))",
        ),
        (
            "fields without label",
            "[...document.querySelectorAll('input, select')].filter((one) => one.labels.length === 0)",
        ),
        (
            "sections without heading",
            "[...document.querySelectorAll('section')].filter((one) => !document.getElementById(one.getAttribute('aria-labelledby')))",
        ),
        (
            "links to nowhere",
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter((one) => !document.querySelector(one.hash))",
        ),
        (
            "header cells without scope",
            "[...document.querySelectorAll('th')].filter((one) => !one.scope)",
        ),
        (
            "marks without sign",
            "[...document.querySelectorAll('.mark')].filter((one) => !one.dataset.sign)",
        ),
    ] {
        let found = browser.value(&format!("{expression}.map((one) => one.outerHTML).join(' ')"));
        assert_eq!(found, "", "{what}");
    }
    assert_eq!(browser.value("document.querySelectorAll('h1').length"), 1);
    assert_eq!(browser.value("document.documentElement.lang"), "en");
}

/// WCAG 2.2, 1.4.3: 4.5 to 1 for every text.
fn assert_contrast(browser: &mut Browser, scheme: &str) {
    let low = browser.value(
        "(() => {
            const parts = (text) => text.match(/[0-9.]+/g).map(Number);
            const light = (rgb) => rgb.slice(0, 3).map((part) => part / 255)
                .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
                .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
            const behind = (one) => {
                for (let at = one; at; at = at.parentElement) {
                    const rgb = parts(getComputedStyle(at).backgroundColor);
                    if (rgb.length < 4 || rgb[3] > 0) return rgb;
                }
                return [255, 255, 255];
            };
            const low = new Set();
            for (const one of document.querySelectorAll('body *')) {
                const says = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
                if (!says || one.closest('noscript, title, option')) continue;
                const style = getComputedStyle(one);
                const ink = one.closest('svg') ? style.fill : style.color;
                const [a, b] = [light(parts(ink)), light(behind(one))].sort((x, y) => y - x);
                if ((a + 0.05) / (b + 0.05) < 4.5) low.add(`${one.tagName}.${one.getAttribute('class')}: ${ink}`);
            }
            return [...low].join('; ');
        })()",
    );
    assert_eq!(low, "", "{scheme}: too little contrast");
}

/// What an intruder would put into the page is not run, and nobody else is asked.
fn assert_policy(browser: &mut Browser) {
    let ran = browser.value(
        "(() => { const one = document.createElement('script'); one.textContent = 'window.ran = 1'; \
         document.head.append(one); return window.ran ?? 0; })()",
    );
    assert_eq!(ran, 0);
    let asked =
        browser.value("fetch('http://127.0.0.1:9/').then(() => 'asked', (error) => error.name)");
    assert_eq!(asked, "TypeError");
    let complaints = browser.complaints().join(" ");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
}

#[test]
#[ignore = "run by tests/run"]
fn page_in_a_terminal() {
    if !has_tool("openssl") {
        return;
    }
    let estate = estate();
    let top = |words: &[&str]| {
        let mut command = Command::new(gateway_program());
        command.args(["top", "-c"]).arg(estate.gateway.config_file()).args(words);
        run(&mut command, SOON)
    };
    let frame = wait_for("a frame with all links", SOON, || {
        let ended = top(&["--once"]);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let wanted = ["✕ plaintext ", "▼ TLSv1 server", "! TLSv1.3 unauthenticated"];
        let is_complete = wanted.iter().all(|part| ended.stdout.contains(part));
        (is_complete && has_rates(&ended.stdout)).then_some(ended.stdout)
    });
    assert!(frame.starts_with(&format!("tlsgate {}", env!("CARGO_PKG_VERSION"))), "{frame}");
    for part in ["accepting", ENGINE.name(), "certificate"] {
        assert!(frame.contains(part), "{part}: {frame}");
    }
    let searched = top(&["--once", "--search", "tds", "--listener", "tds"]).stdout;
    let routes: Vec<&str> = searched.lines().filter(|line| line.contains(" 1 of 1 ")).collect();
    assert!(matches!(routes[..], [only] if only.trim_start().starts_with("tds ")), "{searched}");
    assert!(searched.contains("how long it takes: tds"), "{searched}");
    // Without a terminal, and without a gateway.
    assert_eq!(top(&[]).code(), 1);
    let mut command = Command::new(gateway_program());
    let nobody = run(command.args(["top", "--once", "--admin", "127.0.0.1:9"]), SOON);
    assert_eq!(nobody.code(), 1);
    assert!(nobody.stderr.contains("does not answer"), "{}", nobody.stderr);
    if has_tool("script") {
        assert_in_a_terminal(&estate.gateway);
    }
}

/// Whether each of these is more than nothing, and has a sparkline.
fn has_rates(frame: &str) -> bool {
    let rates = ["full handshakes /s", "resumed handshakes /s", "messages /s", "bytes in /s"];
    rates.iter().all(|rate| {
        let value = frame.lines().find_map(|line| line.trim_start().strip_prefix(rate));
        value.is_some_and(|value| !value.trim_start().starts_with("0 ") && value.contains('█'))
    })
}

/// On a terminal of its own, which `script` makes: it draws, obeys keys, and gives the screen back.
fn assert_in_a_terminal(gateway: &Gateway) {
    let words =
        [gateway_program().display().to_string(), format!("top --admin {}", gateway.admin())];
    let mut command = Command::new("script");
    command.args([
        "-qec",
        &format!("stty rows 30 cols 100; exec {}", words.join(" ")),
        "/dev/null",
    ]);
    let mut process = Process::start(command.env("TERM", "xterm"));
    let mut input = process.stdin();
    let seen =
        |process: &Process, text: &str| process.stdout().iter().any(|line| line.contains(text));
    wait_until("a frame", SOON, || seen(&process, "open connections"));
    assert!(seen(&process, "\u{1b}[?1049h"), "it draws on the other screen");
    std::io::Write::write_all(&mut input, b"  ").expect("it reads keys");
    wait_until("what is further down", SOON, || seen(&process, "what expires"));
    std::io::Write::write_all(&mut input, b"q").expect("it reads keys");
    let ended = process.wait(SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stdout);
    assert!(ended.stdout.contains("\u{1b}[?25h\u{1b}[?1049l"), "the screen is given back");
}

#[test]
#[ignore = "run by tests/run"]
fn page_is_cheap() {
    let (routes, connections) = (sized(10_000, 1_000), sized(9_000, 500));
    let component = Component::start();
    let setup = Setup::new(ENGINE, component.address());
    let mut rules = String::new();
    for route in 0..routes {
        // Each with an endpoint of its own.
        let (high, low) = (route / 200, route % 200 + 1);
        write!(
            rules,
            "[[listener.rule]]\nname = \"route-{route}\"\nsni = \"r{route}.test\"\n\
             upstream = \"127.1.{high}.{low}:9\"\n"
        )
        .expect("a String");
    }
    let gateway = setup.keepalive(&rules).start();
    let mut client = Process::start(
        Command::new(bench_program())
            .arg("load")
            .arg(gateway.address().to_string())
            .args(["-w", "idle", "--hold", "120s", "--timeout", "120s", "--server-name", NAME])
            .args(["--concurrency", &connections.to_string(), "--ca"])
            .arg(gateway.ca_file()),
    );
    // A machine that is busy sheds some of those that come at once.
    wait_until("most are connected", 6 * SOON, || {
        assert!(client.poll().is_none(), "{:?}", client.stderr());
        std::thread::sleep(Duration::from_millis(200));
        gateway.open_connections() >= connections / 2
    });
    let connections = gateway.open_connections();
    let seconds = Duration::from_secs(sized(30, 3));
    let idle = cost(&gateway, seconds, |_| ());
    let mut sizes = Vec::new();
    // Three browsers, each once a second.
    let mut inventory = 0;
    let watched = cost(&gateway, seconds, |second| {
        for browser in 0..3 {
            let since = if second == 0 { String::new() } else { format!("&since={}", 0) };
            let path = format!("/page/data?inventory={inventory}{since}");
            let answer = http::get(gateway.admin(), &path).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            sizes.push(answer.body.len());
            let data: Value = serde_json::from_str(&answer.body).expect("JSON");
            if browser == 2 {
                inventory = data["inventory"]["number"].as_u64().unwrap_or(inventory);
            }
        }
    });
    let scraped = cost(&gateway, seconds, |second| {
        if second % 15 == 0 {
            gateway.metrics();
        }
    });
    let largest = sizes.iter().max().copied().unwrap_or_default();
    println!(
        "{routes} routes, {connections} connections: of a core, {:.2} % are taken when nobody \
         looks, {:.2} % more by three pages, {:.2} % more by a scrape in {seconds:?}; answers of at most \
         {largest} bytes",
        idle * 100.0,
        (watched - idle) * 100.0,
        (scraped - idle) * 100.0,
    );
    assert!(largest < 200_000, "{largest} bytes");
    // With room for a noisy machine; what is printed is what it costs.
    assert!(watched - idle < sized(0.01, 0.05), "{watched} of a core");
}

/// Share of a core that the threads of the admin port and of telemetry take while `ask` is called once
/// a second.
fn cost(gateway: &Gateway, time: Duration, mut ask: impl FnMut(u64)) -> f64 {
    let mut threads = HashMap::new();
    let first = ran(gateway.id(), &mut threads);
    let began = Instant::now();
    let mut last = first;
    for second in 0.. {
        ask(second);
        let next = Duration::from_secs(second + 1).min(time);
        while began.elapsed() < next {
            std::thread::sleep(Duration::from_millis(50));
            // Often, since threads end.
            last = ran(gateway.id(), &mut threads);
        }
        if next == time {
            break;
        }
    }
    (last - first).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// CPU time of these threads so far, those that have ended included.
fn ran(pid: u32, threads: &mut HashMap<String, u64>) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    for task in tasks.filter_map(Result::ok) {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        let (Some(name), Some(stat)) = (read("comm"), read("schedstat")) else { continue };
        if !["admin", "admin-reader", "telemetry"].contains(&name.trim()) {
            continue;
        }
        let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
        let id = task.file_name().to_string_lossy().into_owned();
        threads.insert(id, nanos.expect("nanoseconds"));
    }
    Duration::from_nanos(threads.values().sum())
}
