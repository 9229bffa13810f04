//! The control socket: what is told there, who may change what, and what a change does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::ca::ca;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, local, showing,
};
use crate::support::gateway::{Gateway, Setup};
use crate::support::network::privileged;
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{SOON, engines, wait_until};

/// What `tlsgate` prints as JSON.
pub(crate) fn told(gateway: &Gateway, command: &[&str]) -> Value {
    let ended = tell(gateway, &[command, &["--json"]].concat());
    assert_eq!(ended.code(), 0, "{command:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{command:?}: {}", ended.stdout))
}

pub(crate) fn tell(gateway: &Gateway, command: &[&str]) -> Ended {
    let mut program = Command::new(gateway_program());
    run(program.args(command).arg("-c").arg(gateway.config_file()), SOON)
}

pub(crate) fn rows(gateway: &Gateway, filter: &[&str]) -> Vec<Value> {
    let shown = told(gateway, &[&["show", "connections"], filter].concat());
    assert_eq!(shown["workers_missing"], 0);
    shown["connections"].as_array().expect("a list").clone()
}

#[test]
#[ignore = "run by tests/run"]
fn control_shows_what_is_there() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).controlled().workers(2);
        let setup = setup.tls("client_cert = \"optional\"\ntrusted_ca = \"ca.pem\"");
        let gateway = setup.start();
        let phone = ca().client("phone");
        let mut open: Vec<TlsStream> = [config(Version::V13), showing(Version::V12, &phone)]
            .iter()
            .map(|config| connect(gateway.address(), config))
            .collect();
        open.iter_mut().for_each(|stream| assert_echo(stream, b"here"));
        assert_eq!(rows(&gateway, &[]).len(), 2, "{engine:?}");
        for (filter, expected) in [
            (&["--listener", "main", "--phase", "relay"][..], 2),
            (&["--route", "other"], 0),
            (&["--source", "127.0.0.0/8"], 2),
            (&["--source", "192.0.2.1"], 0),
            (&["--identity", "CN=phone"], 1),
            (&["--identity", "CN=phon"], 0),
            (&["--generation", "1"], 2),
            (&["--generation", "old"], 0),
        ] {
            assert_eq!(rows(&gateway, filter).len(), expected, "{engine:?} {filter:?}");
        }
        let cut = told(&gateway, &["show", "connections", "--limit", "1"]);
        assert_eq!((&cut["truncated"], cut["connections"][1].is_null()), (&true.into(), true));
        let info = told(&gateway, &["show", "info"]);
        assert_eq!((&info["workers"], &info["generations"]["1"]), (&2.into(), &2.into()));
        let routes = told(&gateway, &["show", "routes"]);
        assert_eq!((&routes[0]["route"], &routes[0]["open"]), (&"main".into(), &2.into()));
        let endpoint = backend.address().to_string();
        assert_eq!(told(&gateway, &["show", "upstreams"])[0]["endpoint"], endpoint.as_str());
        let ours = &told(&gateway, &["show", "certificates"])["certificates"];
        assert_eq!(ours.as_array().map(Vec::len), Some(1));
        assert_eq!(told(&gateway, &["show", "shards"]).as_array().map(Vec::len), Some(2));
        assert!(told(&gateway, &["show", "sessions"])["store"]["entries"].is_u64());
        assert_eq!(told(&gateway, &["show", "errors"])["listeners"][0]["name"], "main");
        assert_eq!(told(&gateway, &["show", "crls"]), Value::Array(Vec::new()));
        for part in ["info", "connections", "routes", "sessions", "errors"] {
            let ended = tell(&gateway, &["show", part]);
            assert_eq!((ended.code(), ended.stdout.is_empty()), (0, false), "{part}");
        }
        open.into_iter().for_each(close);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn control_switches_upstreams_and_log_level() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let names = [first.address().to_string(), second.address().to_string()];
    for engine in engines() {
        let setup = Setup::new(engine, first.address()).controlled();
        let gateway = setup.upstreams(&[&names[0], &names[1]]).start();
        let taken = |count: usize| {
            let mut by = [0; 2];
            for _ in 0..count {
                let stream = connect(gateway.address(), &config(Version::V13));
                let peer = local(&stream);
                close(stream);
                let upstream = gateway.line_of(peer).text("upstream").to_owned();
                by[usize::from(upstream == names[1])] += 1;
            }
            by
        };
        let change = |command: &[&str]| told(&gateway, &[&["upstream"], command].concat());
        assert_eq!(taken(4), [2, 2]);
        change(&["disable", "main", &names[0]]);
        assert_eq!(taken(4), [0, 4], "{engine:?}");
        // It is what operators want, not what the file says.
        assert!(gateway.reload());
        assert_eq!(taken(2), [0, 2], "{engine:?}: after a reload");
        let shown = told(&gateway, &["show", "upstreams"]);
        let disabled: Vec<&Value> =
            shown.as_array().expect("a list").iter().map(|one| &one["disabled"]).collect();
        assert_eq!(disabled, [&Value::Bool(true), &Value::Bool(false)]);
        change(&["enable", "main", &names[0]]);
        change(&["weight", "main", &names[0], "3"]);
        assert_eq!(taken(8), [6, 2], "{engine:?}");
        change(&["weight", "main", &names[0], "configured"]);
        let unknown = tell(&gateway, &["upstream", "disable", "main", "nobody:1"]);
        assert_eq!(unknown.code(), 1);
        assert!(unknown.stderr.contains(&names[0]), "{}", unknown.stderr);
        told(&gateway, &["set", "log-level", "error"]);
        change(&["weight", "main", &names[1], "7"]);
        told(&gateway, &["set", "log-level", "info"]);
        change(&["weight", "main", &names[1], "configured"]);
        let is_told = |words: &str| gateway.stderr().contains(words);
        wait_until("it is in the log", SOON, || is_told(&format!("{} as configured", names[1])));
        assert!(!is_told(&format!("{} 7", names[1])), "{engine:?}: below an error");
    }
}

/// Another user, who is in no group: `command` as it may ask at `socket`.
fn as_another(user: &str, socket: &Path, command: &[&str]) -> Ended {
    let program = socket.with_file_name("tlsgate");
    let mut words = privileged("setpriv");
    words.args(["--reuid", user, "--regid", "61000", "--clear-groups"]).arg(program);
    run(words.args(command).arg("--socket").arg(socket), SOON)
}

#[test]
#[ignore = "run by tests/run"]
fn control_levels() {
    let backend = Backend::echo();
    let setup = Setup::new(engines()[0], backend.address()).controlled();
    let socket = setup.directory().join("control.sock");
    // Others than the owner reach it, and a program that they may run.
    let open =
        |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    open(setup.directory());
    fs::copy(gateway_program(), setup.directory().join("tlsgate")).expect("a copy");
    open(&setup.directory().join("tlsgate"));
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: giving the socket to another group needs root");
        return;
    }
    let gateway = setup
        .admin("control_group = \"61000\"\ncontrol_operators = [\"61001\"]\ncontrol_admins = [\"61002\"]")
        .start();
    let mode = fs::metadata(&socket).expect("bound").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for (user, may_operate, may_replace) in
        [("61003", false, false), ("61001", true, false), ("61002", true, true)]
    {
        assert_eq!(as_another(user, &socket, &["show", "info"]).code(), 0, "{user} may look");
        let ended = as_another(user, &socket, &["set", "log-level", "info"]);
        assert_eq!(ended.code() == 0, may_operate, "{user}: {}", ended.stderr);
        let ended = as_another(user, &socket, &["certificates", "begin"]);
        assert_eq!(ended.code() == 0, may_replace, "{user}: {}", ended.stderr);
    }
    let refused = as_another("61003", &socket, &["reload"]);
    assert!(
        refused.stderr.contains("is for level operator, and yours is user"),
        "{}",
        refused.stderr
    );
    // Who did what is in the log, and who wanted to.
    let log = gateway.stderr();
    for words in ["user 61001, group 61000", "user 61003, group 61000", "set log-level info"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    // One who is not in the group does not even reach it.
    let mut stranger = privileged("setpriv");
    stranger.args(["--reuid", "61003", "--regid", "61009", "--clear-groups"]);
    stranger.arg(socket.with_file_name("tlsgate")).args(["show", "info", "--socket"]).arg(&socket);
    assert_eq!(run(&mut stranger, SOON).code(), 1);
    assert_eq!(gateway.status()["config"]["generation"], 1);
}
