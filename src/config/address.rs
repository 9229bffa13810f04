//! Addresses as text: where a listener listens, where a component listens, where a log goes.
//!
//! A refusal is the hint to show: what to write instead.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::model::{Destination, Endpoint, ListenAddress, MAX_WEIGHT, SourceWord, Upstream};

/// Bytes of a socket path: `sun_path` less the closing NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// Bytes of a host name, and of a label in it (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
/// Descriptors 0, 1 and 2 are the standard streams.
const FIRST_INHERITED: i32 = 3;
/// Characters of a name that systemd gives to a socket.
const MAX_DESCRIPTOR_NAME: usize = 255;

/// `"0.0.0.0:5061"`, `"[::]:5061"`; port 0 lets the kernel choose.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| address_hint(text))
}

/// An address, `"unix:/path"`, `"fd:3"` or `"systemd:name"`.
pub(super) fn listen_address(text: &str, base: &Path) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, base).map(ListenAddress::Unix);
    }
    if let Some(number) = text.strip_prefix("fd:") {
        let descriptor = number.parse().ok().filter(|descriptor| *descriptor >= FIRST_INHERITED);
        let hint = "Inherited sockets start at \"fd:3\", the first that systemd passes.";
        return descriptor.map(ListenAddress::Inherited).ok_or_else(|| hint.to_owned());
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        let hint = "Write the name that the socket unit has in FileDescriptorName=.";
        return is_descriptor_name(name)
            .then(|| ListenAddress::Activated(name.to_owned()))
            .ok_or_else(|| hint.to_owned());
    }
    socket_address(text).map(ListenAddress::Tcp)
}

/// An endpoint, and how often it comes up for each time that one of weight 1 does:
/// `"192.0.2.1:5060 weight=3"`.
pub(super) fn upstream(text: &str, base: &Path) -> Result<Upstream, String> {
    let (text, weight) = match text.rsplit_once(" weight=") {
        Some((text, weight)) => {
            let weight = weight.parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight));
            let hint =
                || format!("A weight is a number from 1 to {MAX_WEIGHT}: \"{text} weight=3\".");
            (text, weight.ok_or_else(hint)?)
        }
        None => (text, 1),
    };
    Ok(Upstream { endpoint: endpoint(text, base)?, weight })
}

/// A word, or an address of this machine.
pub(super) fn upstream_source(text: &str) -> Result<SourceWord, String> {
    match text {
        "any" => return Ok(SourceWord::Any),
        "client" => return Ok(SourceWord::Client),
        "client_port" => return Ok(SourceWord::ClientPort),
        _ => {}
    }
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err("Write \"any\" to let the kernel choose.".to_owned()),
        Ok(ip) if ip.is_multicast() => {
            Err("Nothing comes from a multicast address: write one of this machine.".to_owned())
        }
        Ok(ip) => Ok(SourceWord::Address(ip)),
        Err(_) if text.parse::<SocketAddr>().is_ok() => {
            Err("Write the address without a port: the kernel chooses one.".to_owned())
        }
        Err(_) => Err("Write one of the words, or an IP address of this machine.".to_owned()),
    }
}

/// An address, `"host:port"` or `"unix:/path"`; never port 0.
fn endpoint(text: &str, base: &Path) -> Result<Endpoint, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, base).map(Endpoint::Unix);
    }
    let endpoint = match text.parse::<SocketAddr>() {
        Ok(address) => Endpoint::Tcp(address),
        Err(_) => {
            let (host, port) = host_and_port(text).ok_or_else(|| address_hint(text))?;
            Endpoint::Name(host.to_owned(), port)
        }
    };
    match endpoint {
        Endpoint::Tcp(address) if address.port() == 0 => Err(PORT_ZERO.to_owned()),
        Endpoint::Name(_, 0) => Err(PORT_ZERO.to_owned()),
        endpoint => Ok(endpoint),
    }
}

const PORT_ZERO: &str =
    "Nothing can be reached at port 0: write the port the component listens on.";

/// `"off"`, `"stdout"`, `"stderr"`, `"file:/path"`; `"journald"` or `"syslog"`, with the path of
/// another socket or without.
pub(super) fn access_log(text: &str, base: &Path) -> Result<Destination, String> {
    let (word, name) = match text.split_once(':') {
        Some((word, name)) => (word, Some(name)),
        None => (text, None),
    };
    let socket = |usual: &str| match name {
        None => Ok(PathBuf::from(usual)),
        Some(name) if is_remote(name) => Err(LEAVES.to_owned()),
        Some(name) => socket_path(name, base),
    };
    match (word, name) {
        ("off", None) => Ok(Destination::Off),
        ("stdout", None) => Ok(Destination::Stdout),
        ("stderr", None) => Ok(Destination::Stderr),
        ("file", Some(name)) => path(name, base).map(Destination::File),
        ("journald", _) => socket(JOURNALD).map(Destination::Journald),
        ("syslog", _) => socket(SYSLOG).map(Destination::Syslog),
        _ if is_remote(text) => Err(LEAVES.to_owned()),
        _ if text.contains('/') => Err(format!("To write to a file: \"file:{text}\".")),
        _ => Err("Write one of the words, or \"file:\" and a path.".to_owned()),
    }
}

/// Of journald's own protocol (systemd's JOURNAL_NATIVE_PROTOCOL).
const JOURNALD: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// Whether somebody means a receiver on another machine.
fn is_remote(text: &str) -> bool {
    let is_host = host_and_port(text).is_some() || text.parse::<SocketAddr>().is_ok();
    text.contains("://") || text.starts_with("//") || is_host || text.parse::<IpAddr>().is_ok()
}

const LEAVES: &str = "Lines would leave this machine as plaintext. Let its own syslog have them, and pass \
                      them on with TLS (RFC 5425).";

/// A path; a relative one starts at `base`.
pub(super) fn path(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("Write the path of a file.".to_owned());
    }
    if text.contains('\0') {
        return Err("A path has no NUL character.".to_owned());
    }
    Ok(base.join(text))
}

/// What systemd.socket(5) allows for `FileDescriptorName=`.
fn is_descriptor_name(name: &str) -> bool {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    (1..=MAX_DESCRIPTOR_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

fn socket_path(text: &str, base: &Path) -> Result<PathBuf, String> {
    let path = path(text, base)?;
    match path.as_os_str().len() {
        length if length > MAX_SOCKET_PATH => Err(format!(
            "With the directory of this file the path has {length} bytes; \
             the kernel allows {MAX_SOCKET_PATH}."
        )),
        _ => Ok(path),
    }
}

/// Splits `host:port`; a host whose last label is a number is a mistyped address, not a name.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // One closing dot is the root.
    let labels = host.strip_suffix('.').unwrap_or(host);
    let last = labels.rsplit('.').next()?;
    let is_name = labels.len() <= MAX_HOST
        && labels.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit());
    if !is_name || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

fn address_hint(text: &str) -> String {
    if text.contains("://") {
        return "Write the address without a scheme, such as \"192.0.2.1:5061\".".to_owned();
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return "Write an IPv6 address in brackets with a port: \"[::1]:5061\".".to_owned();
    }
    if text.parse::<IpAddr>().is_ok() {
        return format!("Add the port: \"{text}:5061\".");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return "Write address and port: \"192.0.2.1:5061\" or \"[::1]:5061\".".to_owned();
    };
    if port.is_empty() || port.parse::<u16>().is_err() {
        return "A port is a number from 1 to 65535.".to_owned();
    }
    if host.is_empty() {
        return format!(
            "Name the address: \"127.0.0.1:{port}\" is this machine alone, \"0.0.0.0:{port}\" is \
             every IPv4 address."
        );
    }
    if host_and_port(text).is_some() {
        return "Write an IP address here: a name may have several.".to_owned();
    }
    "Write address and port: \"192.0.2.1:5061\" or \"[::1]:5061\".".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> &'static Path {
        Path::new("/etc/tlsgate")
    }

    #[test]
    fn listeners() {
        let tcp = ListenAddress::Tcp("[::]:5061".parse().expect("an address"));
        assert_eq!(listen_address("[::]:5061", base()), Ok(tcp));
        assert_eq!(listen_address("fd:3", base()), Ok(ListenAddress::Inherited(3)));
        let unix = ListenAddress::Unix("/etc/tlsgate/a.sock".into());
        assert_eq!(listen_address("unix:a.sock", base()), Ok(unix));
        let activated = ListenAddress::Activated("tlsgate.socket".to_owned());
        assert_eq!(listen_address("systemd:tlsgate.socket", base()), Ok(activated));
        for text in ["fd:2", "fd:-1", "fd:", "unix:", "localhost:1", "1.2.3.4", ":80", "", "::1:80"]
        {
            assert!(listen_address(text, base()).is_err(), "{text}");
        }
        let long = format!("systemd:{}", "a".repeat(MAX_DESCRIPTOR_NAME + 1));
        for text in ["systemd:", "systemd:a:b", "systemd:ä", "systemd:a\n", &long] {
            assert!(listen_address(text, base()).is_err(), "{text}");
        }
    }

    #[test]
    fn port_zero_is_for_listeners_only() {
        assert!(listen_address("127.0.0.1:0", base()).is_ok());
        assert_eq!(endpoint("127.0.0.1:0", base()), Err(PORT_ZERO.to_owned()));
        assert_eq!(endpoint("component:0", base()), Err(PORT_ZERO.to_owned()));
    }

    #[test]
    fn weights_stand_behind_the_endpoint() {
        for (text, name, weight) in [
            ("127.0.0.1:80 weight=3", "127.0.0.1:80", 3),
            ("a.example:80 weight=100", "a.example:80", 100),
            ("unix:/a weight=7", "unix:/a", 7),
            ("[::1]:80", "[::1]:80", 1),
        ] {
            let upstream = upstream(text, base()).expect(text);
            assert_eq!((upstream.endpoint.to_string().as_str(), upstream.weight), (name, weight));
        }
        for text in
            ["a:80 weight=0", "a:80 weight=101", "a:80 weight=", "a:80 weight=x", "a:80 w=1"]
        {
            assert!(upstream(text, base()).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_are_words_or_addresses() {
        for (text, word) in [
            ("any", SourceWord::Any),
            ("client", SourceWord::Client),
            ("client_port", SourceWord::ClientPort),
            ("192.0.2.1", SourceWord::Address(IpAddr::from([192, 0, 2, 1]))),
            ("::1", SourceWord::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))),
        ] {
            assert_eq!(upstream_source(text), Ok(word));
        }
        for text in ["", "Any", "0.0.0.0", "::", "224.0.0.1", "192.0.2.1:0", "eth0", "10.0.0.0/8"] {
            assert!(upstream_source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_names() {
        let name = Endpoint::Name("sip.example.com".to_owned(), 5060);
        assert_eq!(endpoint("sip.example.com:5060", base()), Ok(name));
        for text in [
            "300.1.1.1:80",
            "a..b:80",
            "-a:80",
            "a b:80",
            "a:99999",
            "a:+1",
            "a",
            ":80",
            "http://a:80",
        ] {
            assert!(endpoint(text, base()).is_err(), "{text}");
        }
        assert!(endpoint(&format!("{}:80", "a".repeat(MAX_LABEL + 1)), base()).is_err());
        assert!(endpoint(&format!("{}a:80", "a.".repeat(MAX_HOST / 2)), base()).is_ok());
        assert!(endpoint(&format!("{}a:80", "a.".repeat(MAX_HOST)), base()).is_err());
    }

    #[test]
    fn socket_paths_fit_the_kernel() {
        let room = MAX_SOCKET_PATH - "/etc/tlsgate/".len();
        assert!(endpoint(&format!("unix:{}", "a".repeat(room)), base()).is_ok());
        assert!(endpoint(&format!("unix:{}", "a".repeat(room + 1)), base()).is_err());
    }

    #[test]
    fn logs() {
        assert_eq!(access_log("off", base()), Ok(Destination::Off));
        let file = Destination::File("/etc/tlsgate/access.log".into());
        assert_eq!(access_log("file:access.log", base()), Ok(file));
        let hint = access_log("/var/log/access", base()).expect_err("no such word");
        assert!(hint.contains("\"file:/var/log/access\""), "{hint}");
        let journald = |path: &str| Ok(Destination::Journald(path.into()));
        let syslog = |path: &str| Ok(Destination::Syslog(path.into()));
        assert_eq!(access_log("journald", base()), journald("/run/systemd/journal/socket"));
        assert_eq!(access_log("journald:/j", base()), journald("/j"));
        assert_eq!(access_log("syslog", base()), syslog("/dev/log"));
        assert_eq!(access_log("syslog:log.sock", base()), syslog("/etc/tlsgate/log.sock"));
        for remote in [
            "syslog:10.0.0.1:514",
            "syslog:[fd00::1]:514",
            "syslog:10.0.0.1",
            "syslog:log.example:514",
            "syslog://log.example",
            "udp://10.0.0.1:514",
        ] {
            assert_eq!(access_log(remote, base()), Err(LEAVES.to_owned()), "{remote}");
        }
        for wrong in ["journal", "syslog:", "stdout:x", "file:"] {
            assert!(access_log(wrong, base()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn addresses_come_back(bytes: [u8; 16], port in 1_u16.., v6: bool) {
            let v4 = IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let address = SocketAddr::new(if v6 { IpAddr::from(bytes) } else { v4 }, port);
            let text = address.to_string();
            prop_assert_eq!(endpoint(&text, base()), Ok(Endpoint::Tcp(address)));
            prop_assert_eq!(listen_address(&text, base()), Ok(ListenAddress::Tcp(address)));
        }

        #[test]
        fn no_text_panics(text in "(unix:|fd:|systemd:|file:|\\[)?\\PC{0,12}(:[0-9]{0,6})?") {
            let _: bool = endpoint(&text, base()).is_ok();
            let _: bool = listen_address(&text, base()).is_ok();
            let _: bool = access_log(&text, base()).is_ok();
        }
    }
}
