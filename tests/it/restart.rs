//! A new process takes over from the running one: nobody who connects notices, and what goes wrong
//! with the new one leaves the old one running.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::{ClientConfig, HandshakeKind, Stream};

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, connection, handshake, local,
    resuming_config,
};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::load::{Load, StopOnDrop};
use crate::support::process::{gateway_program, open_descriptors, run};
use crate::support::{Engine, SOON, engines, http, settled, sized, wait_until};

#[test]
#[ignore = "run by tests/run"]
fn usr2_under_load() {
    const DRAIN: Duration = Duration::from_secs(4);
    let backend = Backend::echo();
    for engine in engines() {
        let drain = format!("drain_timeout = \"{}s\"", DRAIN.as_secs());
        let mut gateway = Setup::new(engine, backend.address()).workers(2).gateway(&drain).start();
        let address = gateway.address();
        let restarts = sized(20, 5);
        let (stop, load) = (AtomicBool::new(false), Load::default());
        let mut last = Instant::now();
        let mut kept: Vec<TlsStream> = Vec::new();
        std::thread::scope(|scope| {
            load.start(scope, address, &stop, clients());
            // Whatever ends this ends the load, too.
            let _stop = StopOnDrop(&stop);
            for number in 0..restarts {
                kept = (0..20).map(|_| connect(address, &config(Version::V13))).collect();
                kept.iter_mut().for_each(|stream| assert_echo(stream, b"before"));
                last = Instant::now();
                gateway.restart();
                kept.iter_mut().for_each(|stream| assert_echo(stream, &[7; 20_000]));
                load.wait_for(100);
                println!("{engine:?}: restart {number}, {} connections", load.done());
            }
            // Those that were open before the last restart stay open until the deadline.
            while last.elapsed() < DRAIN.mul_f32(0.8) {
                kept.iter_mut().for_each(|stream| assert_echo(stream, b"unharmed"));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        for stream in &mut kept {
            let end = stream.read(&mut [0; 1]);
            assert!(end.is_err(), "{engine:?}: an end without close_notify, not {end:?}");
            assert!(last.elapsed() >= DRAIN, "{engine:?}: after {:?}", last.elapsed());
        }
        wait_until("the log says so of each", SOON, || {
            let lines = gateway.lines();
            let drained = lines.iter().filter(|line| line.text("reason") == "drained");
            let drained: Vec<_> = drained.collect();
            kept.iter().all(|stream| drained.iter().any(|line| line.is_of(local(stream))))
        });
        let (done, took) = (load.done(), load.took());
        println!("{engine:?}: {restarts} restarts, {done} connections in {took:?}, none failed");
    }
}

/// Of each version, and with sessions or not.
fn clients() -> impl Iterator<Item = Arc<ClientConfig>> {
    Version::BOTH.into_iter().flat_map(|version| [config(version), resuming_config(version)])
}

#[test]
#[ignore = "run by tests/run"]
fn usr2_keeps_sessions() {
    const SESSIONS: usize = 20;
    let backend = Backend::echo();
    for engine in engines() {
        for mode in ["tickets", "store"] {
            let mut gateway = Setup::new(engine, backend.address())
                .tls(&format!("resumption = \"{mode}\""))
                .start();
            let clients: Vec<_> =
                (0..SESSIONS).map(|number| resuming_config(Version::BOTH[number % 2])).collect();
            let resumed = |address| {
                let kinds = clients.iter().map(|config| {
                    let mut stream = connect(address, config);
                    assert_echo(&mut stream, b"hello");
                    let kind = stream.conn.handshake_kind();
                    close(stream);
                    kind
                });
                kinds.filter(|kind| *kind == Some(HandshakeKind::Resumed)).count()
            };
            assert_eq!(resumed(gateway.address()), 0, "{engine:?} {mode}: sessions are new");
            let mut descriptors = Vec::new();
            for _ in 0..3 {
                gateway.restart();
                // What the old process accepts last, it does not hand over.
                gateway.wait_for_predecessor();
                assert_eq!(resumed(gateway.address()), SESSIONS, "{engine:?} {mode}");
                gateway.wait_until_idle();
                let (calm, pid) = (Duration::from_millis(200), gateway.id());
                descriptors.push(settled("descriptors", calm, SOON, || open_descriptors(pid)));
            }
            // Nothing is passed on that is not wanted.
            assert_eq!(descriptors, [descriptors[0]; 3], "{engine:?} {mode}");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn usr2_failed_start_keeps_the_old() {
    let backend = Backend::echo();
    for engine in engines() {
        let mut gateway = Setup::new(engine, backend.address())
            .apart()
            .workers(2)
            .gateway("restart_timeout = \"1s\"")
            .start();
        let mut kept = connect(gateway.address(), &config(Version::V13));
        let (stop, load) = (AtomicBool::new(false), Load::default());
        let address = gateway.address();
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = holder.local_addr().expect("bound");
        let good = fs::read_to_string(gateway.config_file()).expect("a file");
        std::thread::scope(|scope| {
            load.start(scope, address, &stop, clients());
            let _stop = StopOnDrop(&stop);
            let mut fails = |gateway: &Gateway, why: &str| {
                let before = failures(gateway).len();
                gateway.signal(Signal::USR2);
                wait_until("the restart fails", SOON, || failures(gateway).len() > before);
                let reason = failures(gateway).pop().expect("just seen");
                println!("{engine:?}: {reason}");
                assert!(reason.contains(why), "{engine:?}: {why:?} is not in: {reason}");
                assert_echo(&mut kept, b"still here");
                load.wait_for(20);
            };
            replace(gateway.program(), "#!/bin/sh\nexit 1\n", 0o755);
            fails(&gateway, "it ended (exit status: 1) before it was ready");
            replace(gateway.program(), "#!/bin/sh\nexit 1\n", 0o644);
            fails(&gateway, "Permission denied");
            replace(gateway.program(), "neither a program nor a script", 0o755);
            fails(&gateway, "cannot start");
            fs::remove_file(gateway.program()).expect("it is there");
            fails(&gateway, "No such file");
            replace(gateway.program(), "#!/bin/sh\nsleep 1000\n", 0o755);
            fails(&gateway, "it was not ready within 1s");
            fs::remove_file(gateway.program()).expect("it is there");
            fs::copy(gateway_program(), gateway.program()).expect("a writable directory");
            gateway.rewrite(|text| text.replace("server.pem", "nowhere.pem"));
            fails(&gateway, "nowhere.pem cannot be used");
            fs::write(gateway.config_file(), good.replace("[admin]", "[admni]")).expect("written");
            fails(&gateway, "admni");
            fs::remove_file(gateway.config_file()).expect("it is there");
            fails(&gateway, "tlsgate.toml: No such file");
            // More workers and one more listener, which cannot be bound.
            let more = format!(
                "[[listener]]\nname = \"taken\"\nlisten = \"{taken}\"\nupstream = \"{taken}\"\n\
                 [listener.tls]\ncertificate = \"server.pem\"\ncertificate_key = \"server.key\"\n"
            );
            let more = good.replace("workers = 2", "workers = 4") + &more;
            fs::write(gateway.config_file(), more).expect("a writable directory");
            fails(&gateway, "Address already in use");
            fs::write(gateway.config_file(), &good).expect("a writable directory");
            gateway.restart();
            load.wait_for(20);
        });
        assert_echo(&mut kept, b"to the end");
        close(kept);
        println!("{engine:?}: {} connections, none failed", load.done());
    }
}

/// What the log says about restarts that failed.
fn failures(gateway: &Gateway) -> Vec<String> {
    let log = gateway.stderr();
    let failed = log.lines().filter(|line| line.contains("restart failed"));
    failed.map(str::to_owned).collect()
}

/// Puts a file in the place of a program that runs, as an upgrade does.
fn replace(program: &Path, text: &str, mode: u32) {
    let new = program.with_extension("new");
    fs::write(&new, text).expect("a writable directory");
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("a file of our own");
    fs::rename(&new, program).expect("a writable directory");
}

/// Whoever serves ends, and nobody is left, however far the restart has come.
#[test]
#[ignore = "run by tests/run"]
fn usr2_then_term() {
    let backend = Backend::echo();
    for engine in engines() {
        let mut ends = [0; 3];
        let mut takes = None;
        let moments = sized(40, 10);
        for moment in 0..=moments {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let control = directory.path().join("control");
            let mut gateway = Setup::new(engine, backend.address())
                .admin(&format!("control = {:?}", control.display().to_string()))
                .start();
            let Some(takes) = takes else {
                let since = Instant::now();
                gateway.restart();
                takes = Some(since.elapsed());
                continue;
            };
            let stop = AtomicBool::new(false);
            let address = gateway.address();
            let is_late = std::thread::scope(|scope| {
                let _stop = StopOnDrop(&stop);
                scope.spawn(|| whoever_is_accepted_is_served(address, &stop));
                gateway.signal(Signal::USR2);
                // Mostly about when the old process lets the new one serve; load makes that later.
                let part = 0.5 + 1.5 * f64::from(moment) / f64::from(moments);
                std::thread::sleep(takes.mul_f64(part));
                gateway.signal(Signal::TERM);
                let serves = || says(&gateway, "the new process serves");
                wait_until("it drains, or was followed", SOON, || {
                    serves() || says(&gateway, "draining: waiting")
                });
                serves() && !says(&gateway, "the signal is for that one")
            });
            if is_late {
                gateway.wait_for_successor();
                gateway.signal(Signal::TERM);
            }
            let is_passed_on = says(&gateway, "the signal is for that one");
            ends[if is_late { 2 } else { usize::from(is_passed_on) }] += 1;
            let ended = gateway.wait(SOON);
            assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
            let left: Vec<_> = fs::read_dir(&directory).expect("it is there").collect();
            assert!(left.is_empty(), "{engine:?}: {left:?} after {}", ended.stderr);
        }
        let [given_up, passed_on, followed] = ends;
        println!(
            "{engine:?}: {given_up} given up, {passed_on} passed on, {followed} had been followed"
        );
    }
}

fn says(gateway: &Gateway, text: &str) -> bool {
    gateway.stderr().contains(text)
}

/// Connects again and again; who was let in is served to the end.
fn whoever_is_accepted_is_served(address: SocketAddr, stop: &AtomicBool) {
    let config = config(Version::V13);
    while !stop.load(Ordering::Relaxed) {
        // In the end nobody listens any more. What stops listening does not answer first.
        let limit = Duration::from_millis(50);
        let Ok(stream) = TcpStream::connect_timeout(&address, limit) else { continue };
        stream.set_read_timeout(Some(SOON)).expect("not zero");
        if let Ok(mut stream) = handshake(stream, connection(&config, NAME)) {
            assert_echo(&mut stream, &[7; 1000]);
            close(stream);
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn usr2_one_at_a_time() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).apart().start();
        let began = gateway.directory().join("began");
        let script =
            format!("#!/bin/sh\necho $$ >{0}.new\nmv {0}.new {0}\nsleep 1000\n", began.display());
        replace(gateway.program(), &script, 0o755);
        gateway.signal(Signal::USR2);
        wait_until("the new process runs", SOON, || began.exists());
        let is_logged = |text: &str| says(&gateway, text);
        gateway.signal(Signal::USR2);
        wait_until("the second is refused", SOON, || is_logged("no restart: one is under way"));
        gateway.signal(Signal::HUP);
        wait_until("a reload is refused", SOON, || is_logged("a restart is under way: the new"));
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"served");
        close(stream);
        // The end of the old process ends the new one, too.
        let pid = fs::read_to_string(&began).expect("written before it was renamed");
        let process = Path::new("/proc").join(pid.trim());
        assert!(process.exists(), "{engine:?}");
        gateway.signal(Signal::TERM);
        let ended = gateway.wait(SOON);
        assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
        assert!(!process.exists(), "{engine:?}: it has been killed and waited for");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn usr2_changes_workers_engine_and_listeners() {
    let backend = Backend::echo();
    for engine in engines() {
        let [second, third] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut gateway = Setup::new(engine, backend.address())
            .workers(2)
            .gateway("drain_timeout = \"5s\"")
            .another("second", &second.to_string(), &backend.address().to_string())
            .start();
        let address = gateway.address();
        let (stop, load) = (AtomicBool::new(false), Load::default());
        std::thread::scope(|scope| {
            load.start(scope, address, &stop, clients());
            let _stop = StopOnDrop(&stop);
            let mut workers = 2;
            for next in [4, 1, 3] {
                let line = |count| format!("workers = {count}");
                gateway.rewrite(|text| text.replace(&line(workers), &line(next)));
                gateway.restart();
                workers = next;
                assert_eq!(shards(&gateway), workers, "{engine:?}");
                // The kernel spreads them over all sockets that there have ever been.
                load.wait_for(100);
            }
            for other in engines().into_iter().filter(|other| *other != engine) {
                for (from, to) in [(engine, other), (other, engine)] {
                    let line = |engine: Engine| format!("engine = \"{}\"", engine.name());
                    gateway.rewrite(|text| text.replace(&line(from), &line(to)));
                    gateway.restart();
                    assert_eq!(gateway.status()["engine"], to.name());
                    load.wait_for(100);
                }
            }
            let mut on_second = connect(second, &config(Version::V13));
            gateway.rewrite(|text| text.replace(&second.to_string(), &third.to_string()));
            gateway.restart();
            assert_echo(&mut on_second, b"goes on");
            let is_open = |address| std::net::TcpStream::connect(address).is_ok();
            assert!(is_open(third), "{engine:?}");
            wait_until("the old process closes it", SOON, || !is_open(second));
            close(on_second);
            load.wait_for(20);
        });
        println!("{engine:?}: {} connections, none failed", load.done());
    }
}

fn shards(gateway: &Gateway) -> usize {
    gateway.status()["shards"].as_array().expect("a list").len()
}

#[test]
#[ignore = "run by tests/run"]
fn usr2_unix_socket_admin_port_and_control_socket() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).workers(2);
        let path = setup.directory().join("gateway.sock");
        let control = setup.directory().join("control.sock");
        let mut gateway = setup
            .controlled()
            .another("unix", &format!("unix:{}", path.display()), &backend.address().to_string())
            .start();
        let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
        let file = inode(&path);
        let stop = AtomicBool::new(false);
        let [connections, answers] = [AtomicU64::new(0), AtomicU64::new(0)];
        let admin = gateway.admin();
        let repeat = |count: &'_ AtomicU64, what: &dyn Fn()| {
            while !stop.load(Ordering::Relaxed) {
                what();
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| repeat(&connections, &|| echo_over_unix(&path)));
            for path in ["/healthz", "/readyz", "/readyz", "/readyz"] {
                let (repeat, answers) = (&repeat, &answers);
                scope.spawn(move || {
                    repeat(answers, &|| {
                        let answer = http::get(admin, path).expect("the admin port answers");
                        assert_eq!(answer.status, 200, "{engine:?}: {path}: {}", answer.body);
                    });
                });
            }
            for _ in 0..sized(40, 5) {
                let before = inode(&control);
                gateway.restart();
                wait_until("it is asked", SOON, || inode(&control) != before);
                assert_eq!(inode(&path), file, "{engine:?}: another socket");
                let begin = [&connections, &answers].map(|count| count.load(Ordering::Relaxed));
                wait_until("the load goes on", SOON, || {
                    let now = [&connections, &answers].map(|count| count.load(Ordering::Relaxed));
                    now[0] > begin[0] + 20 && now[1] > begin[1] + 80
                });
                // The control socket is that of the process that serves.
                let mut command = Command::new(gateway_program());
                let ended = run(command.args(["reload", "--socket"]).arg(&control), SOON);
                assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
                let generation = gateway.status()["config"]["generation"].clone();
                assert_eq!(generation, 2, "{engine:?}: the new process was asked");
            }
        });
        println!("{engine:?}: {connections:?} over the unix socket, {answers:?} of the admin port");
        drop(gateway);
        assert!(!control.exists(), "the control socket's file goes with the last process");
    }
}

/// One connection over a unix socket, from beginning to end.
fn echo_over_unix(path: &Path) {
    use std::io::Write;
    let mut socket = UnixStream::connect(path).expect("a connect over the unix socket");
    socket.set_read_timeout(Some(SOON)).expect("not zero");
    let mut tls = connection(&config(Version::V13), NAME);
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"hello");
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
}
