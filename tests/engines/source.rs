//! Our own address on dialled sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use tlsgate::buf::{BufClass, Layout};
use tlsgate::engine::{Address, CloseMode, Engine, Event, Operation, Source};

use crate::own_network::{in_a_network_of_its_own, ip};
use crate::rig::{Kernel, Rig, up};

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    (listener, address)
}

/// Dials from there; the number of the error if it fails.
fn dial<E: Kernel>(rig: &mut Rig<E>, slot: u32, to: &Address, source: Source) -> Result<(), i32> {
    rig.engine.connect(up(slot), to, source);
    match rig.next() {
        Event::Connected { socket } if socket == up(slot) => Ok(()),
        Event::Failed { socket, operation: Operation::Connect, error } if socket == up(slot) => {
            rig.engine.close(up(slot), CloseMode::Reset);
            rig.closed(up(slot));
            Err(error.raw_os_error().unwrap())
        }
        event => panic!("{event:?} instead of Connected or Failed"),
    }
}

pub(crate) fn dials_from_the_source_that_is_chosen<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let (listener, to) = listener();
    for (slot, last) in [(0, 2), (1, 3), (2, 2)] {
        assert_eq!(dial(&mut rig, slot, &to, Source::From(loopback(last))), Ok(()));
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), loopback(last));
        let buf = rig.buf(b"question");
        rig.engine.send(up(slot), buf);
        rig.sent(up(slot));
        peer.read_exact(&mut [0; 8]).unwrap();
        peer.write_all(b"answer").unwrap();
        rig.engine.receive(up(slot), BufClass::Message, Layout::Contiguous);
        assert_eq!(rig.received(up(slot)), b"answer");
    }
}

pub(crate) fn a_source_that_cannot_be_is_told<E: Kernel>() {
    let mut rig = Rig::<E>::new();
    let (_listener, to) = listener();
    let not_ours = IpAddr::from([192, 0, 2, 1]);
    let other_family = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    for (source, expected) in [(not_ours, libc::EADDRNOTAVAIL), (other_family, libc::EAFNOSUPPORT)]
    {
        assert_eq!(dial(&mut rig, 0, &to, Source::From(source)), Err(expected));
    }
    // It is no matter where there are no addresses.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(dial(&mut rig, 0, &Address::Unix(path), Source::From(not_ours)), Ok(()));
}

/// A port is used up towards one destination, not for all of them.
pub(crate) fn a_source_without_ports_is_told_and_others_go_on<E: Kernel>() {
    in_a_network_of_its_own(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
        let mut rig = Rig::<E>::new();
        let (one, two) = (TcpListener::bind("127.0.0.1:500"), TcpListener::bind("127.0.0.1:501"));
        let [one, two] = [one.unwrap(), two.unwrap()];
        let [to, elsewhere] = [&one, &two].map(|to| Address::Tcp(to.local_addr().unwrap()));
        let [first, second] = [2, 3].map(|last| Source::From(loopback(last)));
        for slot in 0..4 {
            assert_eq!(dial(&mut rig, slot, &to, first), Ok(()));
        }
        assert_eq!(dial(&mut rig, 4, &to, first), Err(libc::EADDRNOTAVAIL));
        assert_eq!(dial(&mut rig, 4, &to, second), Ok(()), "another source");
        assert_eq!(dial(&mut rig, 5, &elsewhere, first), Ok(()), "another destination");
        rig.engine.close(up(0), CloseMode::Reset);
        rig.closed(up(0));
        assert_eq!(dial(&mut rig, 0, &to, first), Ok(()), "a port that came back");
    });
}

pub(crate) fn dials_from_the_clients_address<E: Kernel>() {
    in_a_network_of_its_own(|| {
        // What is for clients comes back here, though their addresses are not ours.
        for route in [
            "-4 route add local 203.0.113.0/24 dev lo table 100",
            "-4 rule add to 203.0.113.0/24 lookup 100",
            "-6 route add local 2001:db8::/32 dev lo table 100",
            "-6 rule add to 2001:db8::/32 lookup 100",
        ] {
            ip(route);
        }
        tlsgate::engine::source::can_be_transparent().unwrap();
        let mut rig = Rig::<E>::new();
        for (listen, clients) in [
            ("127.0.0.1:500", ["203.0.113.7:0", "203.0.113.7:4711", "[::ffff:203.0.113.9]:4711"]),
            ("[::1]:500", ["[2001:db8::7]:0", "[2001:db8::7]:4711", "[2001:db8::9]:4711"]),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            let to = Address::Tcp(listener.local_addr().unwrap());
            for client in clients {
                let client: SocketAddr = client.parse().unwrap();
                assert_eq!(dial(&mut rig, 0, &to, Source::Client(client)), Ok(()), "{client}");
                let (_peer, from) = listener.accept().unwrap();
                assert_eq!(from.ip(), client.ip().to_canonical());
                assert!(client.port() == 0 || from.port() == client.port(), "{from}");
                if client.port() != 0 {
                    // The same connection cannot be there twice.
                    let twice = dial(&mut rig, 1, &to, Source::Client(client));
                    assert_eq!(twice, Err(libc::EADDRNOTAVAIL), "{client}");
                }
                rig.engine.close(up(0), CloseMode::Reset);
                rig.closed(up(0));
                // The port is free as soon as the connection is gone.
                assert_eq!(dial(&mut rig, 0, &to, Source::Client(client)), Ok(()), "{client}");
                drop(listener.accept().unwrap());
                rig.engine.close(up(0), CloseMode::Reset);
                rig.closed(up(0));
            }
        }
    });
}
