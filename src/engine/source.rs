//! Our own address on a dialled socket.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::socket::bind_address_no_port;

/// The address that a dialled TCP socket comes from. Unix sockets have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The kernel chooses, by its routes.
    #[default]
    Any,
    /// One of this machine; the kernel chooses a port that is free towards the destination.
    From(IpAddr),
    /// The client's, which is not one of this machine (IP_TRANSPARENT); port 0 leaves the port to
    /// the kernel. Needs CAP_NET_ADMIN or CAP_NET_RAW, and routes that bring the answers back here.
    Client(SocketAddr),
}

impl Source {
    /// Whether the port is given, which another connection may have.
    pub fn has_port(self) -> bool {
        matches!(self, Self::Client(client) if client.port() != 0)
    }

    /// Gives `socket`, which will dial `to`, its address.
    ///
    /// # Errors
    /// EADDRNOTAVAIL when it is no address of this machine, EADDRINUSE when the port is taken, EPERM
    /// without the capability, EAFNOSUPPORT for IPv4 towards IPv6 and the other way round. That no
    /// port is left is found out by connect(2), which says EADDRNOTAVAIL.
    pub(super) fn bind(self, socket: &Socket, to: SocketAddr) -> io::Result<()> {
        let from = match self {
            Self::Any => return Ok(()),
            Self::From(ip) => SocketAddr::new(ip, 0),
            Self::Client(client) => plain(client),
        };
        if from.is_ipv4() != to.is_ipv4() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        if let Self::Client(_) = self {
            be_transparent(socket, from)?;
        }
        if from.port() == 0 {
            bind_address_no_port(socket.as_fd())?;
        } else {
            // The client may come back with the port while its last connection is in TIME_WAIT, and
            // may use it towards several components at once.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&from.into())
    }
}

/// Whether connections can come from `ip`: asked at start, to tell an address that is not of this
/// machine from one that has no port left, for which the kernel has the same word later.
///
/// # Errors
/// EADDRNOTAVAIL, mostly.
pub fn can_be_from(ip: IpAddr) -> io::Result<()> {
    TcpListener::bind(SocketAddr::new(ip, 0)).map(drop)
}

/// Whether connections can come from clients' addresses (IP_TRANSPARENT), of IPv4 and of IPv6.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN and CAP_NET_RAW. No IPv6 on this machine is no error.
pub fn can_be_transparent() -> io::Result<()> {
    for any in [SocketAddr::from(([0, 0, 0, 0], 0)), SocketAddr::from(([0; 16], 0))] {
        match Socket::new(Domain::for_address(any), Type::STREAM, Some(Protocol::TCP)) {
            Ok(socket) => be_transparent(&socket, any)?,
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn be_transparent(socket: &Socket, from: SocketAddr) -> io::Result<()> {
    match from {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// A listener of both families shows IPv4 clients as IPv6 (RFC 4291 §2.5.5.2).
fn plain(client: SocketAddr) -> SocketAddr {
    match client.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, client.port()).into(),
        IpAddr::V6(_) => client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_behind_ipv6_is_ipv4_again() {
        for (seen, meant) in [
            ("[::ffff:192.0.2.1]:5060", "192.0.2.1:5060"),
            ("192.0.2.1:0", "192.0.2.1:0"),
            ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
        ] {
            let [seen, meant] = [seen, meant].map(|text| text.parse().expect("an address"));
            assert_eq!(plain(seen), meant);
        }
    }

    #[test]
    fn addresses_of_others_are_told_before_they_are_used() {
        can_be_from(IpAddr::from([127, 0, 0, 9])).expect("all of 127.0.0.0/8 is ours");
        let error = can_be_from(IpAddr::from([192, 0, 2, 1])).expect_err("an example's address");
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    }
}
