//! Ports for the gateways of the checks.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nobody listens on, below those that the kernel hands out to clients.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Checks that run at the same time, in other processes, start elsewhere.
    let start = u16::try_from(std::process::id() * 61 % u32::from(COUNT)).expect("below COUNT");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether somebody listens on this port of the loopback address or of all. Asks without connecting
/// or binding, which the one who is about to listen could notice.
pub(crate) fn is_listened_on(port: u16) -> bool {
    // proc(5): local address in hexadecimal, state 0A is TCP_LISTEN.
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(4).collect();
        let is_port = |address: &str| address.ends_with(&format!(":{port:04X}"));
        fields.len() == 4 && fields[3] == "0A" && is_port(fields[1])
    })
}
