//! What is said over a flow's connections.

use super::section::{Mistakes, Section};
use super::values;
use crate::client::{Ldap, Protocol, SipMethod, Sizes, Talk};
use crate::mix::pair;

/// Largest message; it is made as a whole.
const MAX_MESSAGE: u64 = 16 << 20;
/// Most bytes of requests that are sent together; those are made as a whole, too, for each connection.
const MAX_AT_ONCE: u64 = 64 << 20;
/// Size of a message that does not say.
const SIZE: Sizes = Sizes::Fixed(100);

/// Keys of flows that talk.
pub(super) const KEYS: [&str; 8] =
    ["payload", "size", "answer", "pipeline", "path", "host", "domain", "base"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    None,
    Echo,
    Frames,
    Http,
    SipOptions,
    SipRegister,
    LdapBind,
    LdapSearch,
}

const PAYLOADS: [(&str, Payload); 8] = [
    ("none", Payload::None),
    ("echo", Payload::Echo),
    ("frames", Payload::Frames),
    ("http", Payload::Http),
    ("sip-options", Payload::SipOptions),
    ("sip-register", Payload::SipRegister),
    ("ldap-bind", Payload::LdapBind),
    ("ldap-search", Payload::LdapSearch),
];

impl Payload {
    /// Keys of this payload among [`KEYS`], beside `payload` and `pipeline`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::None | Self::LdapBind => &[],
            Self::Echo => &["size"],
            Self::Frames => &["size", "answer"],
            Self::Http => &["path", "host"],
            Self::SipOptions | Self::SipRegister => &["size", "domain"],
            Self::LdapSearch => &["base"],
        }
    }
}

/// What the section says; an echo if nothing.
pub(super) fn read(section: &Section<'_>, seed: u64, name: &str, mistakes: &mut Mistakes) -> Talk {
    let payload = section.get("payload", &values::word(&PAYLOADS), mistakes);
    let payload = payload.unwrap_or(Payload::Echo);
    let senseless = |key: &&str| {
        section.has(key) && !["payload", "pipeline"].contains(key) && !payload.keys().contains(key)
    };
    for key in KEYS.iter().filter(|key| senseless(key)) {
        let allowed = payload.keys().join(", ");
        let allowed = if allowed.is_empty() { "none" } else { &allowed };
        let what = format!("no key of this payload; allowed: {allowed}");
        section.refuse(key, &what, mistakes);
    }
    let mut word = |key: &str, or: &str, mistakes: &mut Mistakes| {
        section.get(key, &single_line(), mistakes).unwrap_or_else(|| or.to_owned())
    };
    let sizes = |key: &str, mistakes: &mut Mistakes| {
        section.get(key, &values::sizes(MAX_MESSAGE), mistakes).unwrap_or(SIZE)
    };
    let sip = |method,
               word: &mut dyn FnMut(&str, &str, &mut Mistakes) -> String,
               mistakes: &mut Mistakes| {
        Protocol::Sip {
            method,
            domain: word("domain", name, mistakes),
            request: sizes("size", mistakes),
        }
    };
    let protocol = match payload {
        Payload::None => Protocol::Nothing,
        Payload::Echo => Protocol::Echo { request: sizes("size", mistakes) },
        Payload::Frames => {
            Protocol::Frames { request: sizes("size", mistakes), answer: sizes("answer", mistakes) }
        }
        Payload::Http => {
            Protocol::Http { path: word("path", "/", mistakes), host: word("host", name, mistakes) }
        }
        Payload::SipOptions => sip(SipMethod::Options, &mut word, mistakes),
        Payload::SipRegister => sip(SipMethod::Register, &mut word, mistakes),
        Payload::LdapBind => Protocol::Ldap(Ldap::Bind),
        Payload::LdapSearch => Protocol::Ldap(Ldap::Search(word("base", "", mistakes))),
    };
    let at_once = section.get("pipeline", &values::count(1, 1_000), mistakes).unwrap_or(1);
    let all = largest(&protocol).saturating_mul(at_once.into());
    if all > MAX_AT_ONCE {
        let what = format!(
            "{all} bytes would be sent together; allowed: {MAX_AT_ONCE}, by a smaller pipeline or size"
        );
        section.refuse("pipeline", &what, mistakes);
    }
    Talk { protocol, at_once, seed: pair(seed, 0) }
}

/// The largest request, of those that have a size.
fn largest(protocol: &Protocol) -> u64 {
    match protocol {
        Protocol::Echo { request }
        | Protocol::Frames { request, .. }
        | Protocol::Sip { request, .. } => request.most(),
        Protocol::Nothing | Protocol::Http { .. } | Protocol::Ldap(_) => 0,
    }
}

/// What can be part of a line.
fn single_line() -> values::Rule<'static, String> {
    values::text("printable ASCII without spaces", |text| {
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_owned())
    })
}
