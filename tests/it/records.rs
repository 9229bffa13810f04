//! Records: what OpenSSL's client does with them that rustls' does not.

use std::fs;
use std::io::Write;
use std::process::Command;

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::Process;
use crate::support::{SOON, engines, wait_until};

/// The client changes its keys, and asks for ours, again and again; each time it is answered, and
/// data go on in both directions.
#[test]
#[ignore = "run by tests/run"]
fn records_key_updates() {
    let backend = Backend::echo();
    for engine in engines() {
        for layer in ["own", "rustls"] {
            let setup = Setup::new(engine, backend.address());
            let gateway = setup.gateway(&format!("record_layer = {layer:?}")).start();
            println!("{engine:?} {layer}");
            update_keys(&gateway);
        }
    }
}

fn update_keys(gateway: &Gateway) {
    let messages = gateway.directory().join("messages");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_3", "-verify_return_error", "-servername", NAME]);
    command.arg("-msg").arg("-msgfile").arg(&messages);
    command.args(["-connect", &gateway.address().to_string(), "-CAfile"]);
    let mut process = Process::start(command.arg(gateway.ca_file()));
    let mut input = process.stdin();
    for round in 0..ROUNDS {
        // Upper case asks for the server's keys, too. It goes out with what comes next.
        let order = if round % 2 == 0 { "K\n" } else { "k\n" };
        input.write_all(order.as_bytes()).expect("it waits for orders");
        wait_until("the order", SOON, || {
            process.stderr().iter().filter(|line| line.contains("KEYUPDATE")).count() > round
        });
        let message = format!("after update {round}");
        writeln!(input, "{message}").expect("it waits for input");
        // It may come in the middle of a line about something else.
        wait_until("the echo", SOON, || {
            process.stdout().iter().any(|line| line.ends_with(&message))
        });
    }
    drop(input);
    assert_eq!(process.wait(SOON).code(), 0);
    let messages = fs::read_to_string(&messages).expect("written by the client");
    let count = |from| {
        let update = format!("{from} TLS 1.3, Handshake [length 0005], KeyUpdate");
        messages.matches(&update).count()
    };
    assert_eq!((count(">>>"), count("<<<")), (ROUNDS, ROUNDS.div_ceil(2)), "each that asked");
}

const ROUNDS: usize = 5;
