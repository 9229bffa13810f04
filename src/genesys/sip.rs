//! `sip.transport.N` of the voice platform: `transport0 tls:any:5061 name=value …`.
//!
//! Its grammar is documented by examples only. A name, a protocol, an address (or `any`) and a port
//! are taken; of the parameters behind them, those that name the files of a certificate and its key.
//! The others are told and not carried over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::finding::{Finding, Place};

/// What the option's name begins with.
const PREFIX: &str = "sip.transport.";

/// One transport with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// `transport0`.
    pub name: String,
    /// Where it listens; `any` is every address of IPv4.
    pub listen: SocketAddr,
    /// Options in the vendor's names elsewhere (`certificate`, `certificate-key`), with values.
    pub options: Vec<(&'static str, String)>,
}

/// Whether an option's name is `sip.transport.` and a number.
pub fn is_transport(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Reads the option's value; `place` is where that stands. `None` comes with the reason.
pub fn parse(name: &str, value: &str, place: &Place) -> (Option<Transport>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut words = words(value);
    let transport = words.next().zip(words.next()).map(|((_, label), (column, address))| {
        let listen = listen(address).map_err(|message| (column, message));
        (label.to_owned(), listen)
    });
    let failed = |column, message: String| {
        let hint = "Expected: transport0 tls:any:5061, then name=value.";
        Finding::error(&place.inside(column), name, message, hint)
    };
    let (label, listen) = match transport {
        None => {
            findings.push(failed(1, "has no protocol:address:port".to_owned()));
            return (None, findings);
        }
        Some((_, Err((column, message)))) => {
            findings.push(failed(column, message));
            return (None, findings);
        }
        Some((label, Ok(listen))) => (label, listen),
    };
    let mut options = Vec::new();
    for (column, word) in words {
        match word.split_once('=') {
            Some(("cert", file)) => options.push(("certificate", file.to_owned())),
            Some(("key", file)) => options.push(("certificate-key", file.to_owned())),
            _ => {
                let key = word.split_once('=').map_or(word, |(key, _)| key);
                let message =
                    format!("{key:?} is not carried over: what it means is not documented");
                let hint = "Set what it is meant to do in our configuration.";
                findings.push(Finding::warning(&place.inside(column), name, message, hint));
            }
        }
    }
    (Some(Transport { name: label, listen, options }), findings)
}

/// `tls:any:5061`, `tls:10.0.0.5:5061`, `tls:[::1]:5061`.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let (protocol, address) = text.split_once(':').unwrap_or((text, ""));
    match protocol {
        "tls" => {}
        "udp" => return Err("is UDP: the gateway speaks TLS over TCP".to_owned()),
        "tcp" => return Err("is TCP without TLS: there is nothing to import".to_owned()),
        _ => return Err(format!("{protocol:?} is no protocol that is documented")),
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let host = match host {
            "any" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(host, port))
    });
    parts.ok_or_else(|| format!("{address:?} is no address with a port"))
}

/// Words with the column where each begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| {
        let before = word.as_ptr().addr() - text.as_ptr().addr();
        (text[..before].chars().count() + 1, word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (Option<Transport>, Vec<String>) {
        let place = Place { file: "mcp.cfg".to_owned(), line: 7, column: 10 };
        let (transport, findings) = parse("sip.transport.0", value, &place);
        (transport, findings.iter().map(|one| format!("{} {}", one.place, one.message)).collect())
    }

    #[test]
    fn names() {
        assert!(is_transport("sip.transport.0") && is_transport("sip.transport.12"));
        for name in ["sip.transport.", "sip.transport.x", "sip.transport", "Sip.transport.0"] {
            assert!(!is_transport(name), "{name}");
        }
    }

    #[test]
    fn a_transport_with_its_files() {
        let (transport, told) = read("transport0 tls:any:5061 cert=/a/x.pem key=/a/x.key");
        let transport = transport.expect("it is one");
        assert_eq!(told, [""; 0]);
        assert_eq!(
            (transport.name.as_str(), transport.listen.to_string().as_str()),
            ("transport0", "0.0.0.0:5061")
        );
        let options = [("certificate", "/a/x.pem"), ("certificate-key", "/a/x.key")];
        assert_eq!(transport.options, options.map(|(name, value)| (name, value.to_owned())));
        let (transport, _) = read("t tls:[::1]:5061");
        assert_eq!(transport.expect("it is one").listen.to_string(), "[::1]:5061");
    }

    #[test]
    fn unknown_parameters_are_told_and_left_out() {
        let (transport, told) = read("transport0 tls:any:5061 type=TLSv1_2  verifypeer");
        assert_eq!(transport.expect("it is one").options, []);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("mcp.cfg:7:34 \"type\""), "{told:?}");
        assert!(told[1].starts_with("mcp.cfg:7:48 \"verifypeer\""), "{told:?}");
    }

    #[test]
    fn what_is_no_tls_transport_is_refused() {
        for value in [
            "",
            "transport0",
            "transport0 udp:any:5060",
            "transport0 tcp:any:5060",
            "transport0 sctp:any:5060",
            "transport0 TLS:any:5061",
            "transport0 tls:any",
            "transport0 tls:any:0",
            "transport0 tls:any:65536",
            "transport0 tls:sip.corp:5061",
            "transport0 tls:any\"<SIP Port>\"",
        ] {
            let (transport, told) = read(value);
            assert_eq!(transport, None, "{value:?}");
            assert_eq!(told.len(), 1, "{value:?}");
        }
    }
}
