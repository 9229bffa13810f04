//! How long things may take, and how a socket finds out that its peer has vanished.

use std::time::Duration;

/// Deadlines of one listener. `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the handshake.
    pub handshake: Duration,
    /// From dialling the upstream to its SYN-ACK and, where TLS is spoken to it, to the end of its
    /// handshake.
    pub connect: Duration,
    /// Without a byte, from the end of one direction on.
    pub half_close: Duration,
    /// Without a byte either way.
    pub idle: Option<Duration>,
}

/// TCP keepalive and TCP_USER_TIMEOUT, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe; `None` turns keepalive off.
    pub idle: Option<Duration>,
    pub interval: Duration,
    pub probes: u32,
    /// Longest time that sent bytes may stay unacknowledged; zero is the kernel's own.
    pub user_timeout: Duration,
}
