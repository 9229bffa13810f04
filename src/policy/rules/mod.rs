//! Rules inside a listener: which of them a connection falls under.
//!
//! A rule names conditions of up to five kinds. All kinds that it names must hold; of the entries
//! of one kind, one is enough. Of the rules that match a connection the **most specific** wins.
//! Kinds are compared one after the other, in this order, until two rules differ:
//!
//! 1. **Client**: a rule that names the client's identity before one that does not; among those,
//!    by the way the client is named: certificate fingerprint, public key (SPKI), URI, DNS name, IP
//!    address, subject, common name, everything under a URI, DNS wildcard, issuer. Where several names
//!    of one certificate are named, the one that stands first in the certificate; for one URI, the
//!    longest beginning.
//! 2. **SNI**: the exact name, then the wildcard, then rules without SNI.
//! 3. **Source**: the longest prefix; last, rules without source.
//! 4. **ALPN**: the protocol that the client prefers most; last, rules without ALPN.
//! 5. **Version**: rules that name the version before those that do not.
//!
//! Two rules with different outcomes that name the same entry of every kind would be equal for the
//! connections that match it: a load error ([`CompileError::Ambiguous`]). No other two rules can be.
//! A condition on something that is not known (yet) about a connection does not hold: rules that name
//! the client match after the handshake at the earliest.
//!
//! [`RuleTable::compile`] makes a table of the rules: names in hash tables, sources in sorted
//! ranges. [`RuleTable::lookup`] walks the order above from its most specific end, and takes the
//! first rule it meets; it allocates nothing. [`naive`] asks rule by rule, and says why: it serves
//! `explain`, and as the measure for the table.
//!
//! Work of a lookup is bounded by the rules and by the size of what the peer sent (a ClientHello,
//! a certificate), whatever it says: each name is hashed once with a random key (SipHash-1-3), so a
//! peer cannot choose names that collide, and hash tables never change after compiling, so their
//! longest run of full slots is fixed.
//!
//! A million rules take 81 bytes each, with their names, and 0.8 s of a processor to compile; a
//! lookup costs 1.8 times one probe of a `HashMap<String, u32>` of the same size (700 ns and 400 ns on
//! two virtual AMD EPYC cores that ten others were using; `tests/run rules_million`).

mod compile;
mod facts;
mod labels;
pub mod naive;
mod names;
mod ranges;
mod spec;
mod table;
#[cfg(test)]
mod tests;

pub use compile::{Ambiguity, CompileError, RuleRef};
pub use facts::{ClientFacts, Facts};
pub use spec::{Cidr, ClientMatch, RuleSpec, SniPattern, Version, parse_sha256};
pub use table::{RuleId, RuleTable};

/// Longest DNS name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// Slashes of a URI within which [`ClientMatch::UriUnder`] may end: each is a probe of the table.
const MAX_SLASHES: usize = 16;

/// A name as it is compared: in small letters, without the dot at the end. `None` if it is longer
/// than names can be, and so none that a rule has. `space` is for what had to be changed.
fn plain_name<'a>(name: &'a str, space: &'a mut [u8; MAX_NAME]) -> Option<&'a [u8]> {
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let room = space.get_mut(..name.len())?;
    if name.iter().any(u8::is_ascii_uppercase) {
        room.copy_from_slice(name);
        room.make_ascii_lowercase();
        return Some(room);
    }
    Some(name)
}

/// What follows the first label and its dot.
fn parent_name(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|byte| *byte == b'.')?;
    (dot > 0).then(|| &name[dot + 1..])
}
