//! A peer that is gone without a word: its cable is pulled.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::gateway::{Gateway, Setup};
use crate::support::network::Network;
use crate::support::process::Process;
use crate::support::{SOON, engines, has_tool, skip_impossible, wait_until};

/// keepalive: 1 s of silence, then 2 probes a second apart, and a little for the machine.
const FOUND_BY: Duration = Duration::from_secs(10);

#[test]
#[ignore = "run by tests/run"]
fn endings_vanished_peer() {
    if !has_tool("ip") || !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let network = match Network::new() {
            Ok(network) => network,
            Err(why) => return skip_impossible(&why),
        };
        let gateway = Setup::new(engine, backend.address())
            .listen_ip(&network.gateway_ip())
            .keepalive("idle = \"1s\"\ninterval = \"1s\"\nprobes = 2\nuser_timeout = \"3s\"")
            .start();
        let client = talk(&network, &gateway);
        let cut = Instant::now();
        network.cut();
        wait_until("the gateway finds out", FOUND_BY, || !gateway.lines().is_empty());
        let lines = gateway.lines();
        lines[0].assert_ended("vanished", "downstream", "relay");
        let peer = lines[0].text("peer");
        assert!(peer.starts_with(&network.peer_ip()), "{peer}");
        println!("{engine:?}: found after {:?}", cut.elapsed());
        gateway.wait_until_idle();
        drop(client);
    }
}

/// A client on the other host, in the middle of a conversation.
fn talk(network: &Network, gateway: &Gateway) -> Process {
    let mut command = network.command("openssl");
    command.args(["s_client", "-quiet", "-connect", &gateway.address().to_string()]);
    command.args(["-servername", "localhost", "-verify_return_error", "-CAfile"]);
    let mut client = Process::start(command.arg(gateway.ca_file()));
    let mut input = client.stdin();
    input.write_all(b"hello from afar\n").expect("it reads");
    wait_until("the echo", SOON, || {
        assert!(client.poll().is_none(), "{:?}", client.stderr());
        client.stdout().iter().any(|line| line == "hello from afar")
    });
    // Without its input's end, the client waits.
    client.keep_stdin(input);
    client
}
