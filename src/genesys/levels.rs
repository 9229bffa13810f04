//! Which level an option comes from: by the vendor's rule, and by ours.
//!
//! The vendor's reader looks at port or connection, application options, application annex and host
//! annex, in this order. Five options ([`VENDOR_BUNDLE`]) come together from the first level that
//! sets any of them, the rest one by one. Ours takes the whole identity ([`OUR_BUNDLE`]) from one
//! level, versions and suites included as the vendor's guide demands, and refuses one that is split.

use std::collections::BTreeSet;

use super::finding::Place;
use super::options::Side;

/// What the vendor's reader takes from one level.
pub const VENDOR_BUNDLE: [&str; 5] =
    ["provider", "certificate", "certificate-key", "trusted-ca", "fips140-enabled"];

/// What our configuration takes from one level, in the vendor's words.
pub const OUR_BUNDLE: [&str; 5] =
    ["certificate", "certificate-key", "trusted-ca", "sec-protocol", "cipher-list"];

/// A level; the first of a chain wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Transport parameters of a port: the component is the server.
    Port,
    /// Transport parameters of a connection: the component is the client.
    Connection,
    Application,
    /// The annex of the application.
    Annex,
    Host,
    /// Ours alone: the vendor has nothing above the host.
    Defaults,
}

impl Level {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Connection => "connection",
            Self::Application => "application",
            Self::Annex => "annex",
            Self::Host => "host",
            Self::Defaults => "defaults",
        }
    }
}

/// An option where it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub level: Level,
    pub name: String,
    pub value: String,
    pub place: Place,
}

/// What an identity is split over, by our rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// What one level sets of the identity, too little to stand alone.
    pub partial: Vec<&'a Set>,
    /// What another level sets.
    pub other: Vec<&'a Set>,
}

/// The options that the vendor's reader ends up with, in the order of their names. `sets` are those
/// of one chain: of [`Level::Port`] and [`Level::Connection`] only one is in it.
pub fn vendor(sets: &[Set]) -> Vec<&Set> {
    let from = lowest(sets, &VENDOR_BUNDLE);
    resolve(sets, |set| !VENDOR_BUNDLE.contains(&set.name.as_str()) || Some(set.level) == from)
}

/// The options that our configuration ends up with.
///
/// # Errors
///
/// Two levels have a part of the identity, and one of them has too little to stand alone.
pub fn ours(sets: &[Set], side: Side) -> Result<Vec<&Set>, Split<'_>> {
    let is_identity = |set: &&Set| OUR_BUNDLE.contains(&set.name.as_str());
    let of = |level| sets.iter().filter(is_identity).filter(|set| set.level == level).collect();
    let levels: BTreeSet<Level> = sets.iter().filter(is_identity).map(|set| set.level).collect();
    let partial = levels.iter().copied().find(|level| !stands_alone(sets, *level, side));
    let other = levels.iter().copied().find(|level| Some(*level) != partial);
    if let (Some(partial), Some(other)) = (partial, other) {
        return Err(Split { partial: of(partial), other: of(other) });
    }
    let from = levels.first().copied();
    Ok(resolve(sets, |set| !is_identity(&set) || Some(set.level) == from))
}

/// Whether a level has what its side cannot do without.
fn stands_alone(sets: &[Set], level: Level, side: Side) -> bool {
    let value = |name: &str| {
        let set = sets.iter().find(|set| set.level == level && set.name == name);
        set.map(|set| set.value.as_str())
    };
    match side {
        Side::Downstream => value("certificate").and(value("certificate-key")).is_some(),
        Side::Upstream => value("trusted-ca").is_some() || value("client-auth") == Some("0"),
    }
}

/// The lowest level that sets any of these.
pub fn lowest(sets: &[Set], names: &[&str]) -> Option<Level> {
    sets.iter().filter(|set| names.contains(&set.name.as_str())).map(|set| set.level).min()
}

/// Of each name, the one on the lowest level among those that count.
fn resolve<'a>(sets: &'a [Set], counts: impl Fn(&'a Set) -> bool) -> Vec<&'a Set> {
    let names: BTreeSet<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    let chosen = names.into_iter().filter_map(|name| {
        let of_name = sets.iter().filter(|set| set.name == name && counts(set));
        of_name.min_by_key(|set| set.level)
    });
    chosen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `host: certificate=a.pem tls-mutual=1 | port: tls=1`
    fn sets(text: &str) -> Vec<Set> {
        let levels =
            [Level::Port, Level::Connection, Level::Application, Level::Annex, Level::Host];
        let mut sets = Vec::new();
        for part in text.split(" | ") {
            let (level, options) = part.split_once(": ").expect("level: options");
            let level = levels.into_iter().find(|one| one.name() == level).expect("a level");
            for option in options.split(' ') {
                let (name, value) = option.split_once('=').expect("name=value");
                let [name, value] = [name, value].map(str::to_owned);
                sets.push(Set { level, name, value, place: Place::default() });
            }
        }
        sets
    }

    fn shown(sets: &[&Set]) -> String {
        let shown = sets.iter().map(|set| format!("{}={}", set.name, set.value));
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown.join(" ")
    }

    const WHOLE: &str = "certificate=h.pem certificate-key=h.key trusted-ca=h.ca";

    /// What is given, what the vendor's reader makes of it, and ours; `=` is the same, `-` refused,
    /// `H` is [`WHOLE`].
    const TABLE: &[(&str, &str, &str)] = &[
        ("host: H", "H", "="),
        // Options that are not of the identity come one by one, the lowest level first.
        ("host: tls-mutual=0 tls-crl=h | application: tls-mutual=1", "tls-crl=h tls-mutual=1", "="),
        ("host: client-auth=1 | annex: client-auth=0", "client-auth=0", "="),
        ("annex: client-auth=1 | application: client-auth=0", "client-auth=0", "="),
        ("application: client-auth=0 | connection: client-auth=1", "client-auth=1", "="),
        // The identity comes whole from the lowest level.
        (
            "host: H | port: certificate=p certificate-key=k trusted-ca=p",
            "certificate=p certificate-key=k trusted-ca=p",
            "=",
        ),
        ("host: H | port: certificate=p certificate-key=k", "certificate=p certificate-key=k", "="),
        // One CA on a lower level, and the certificate above it is gone; ours refuses that.
        ("host: H | application: trusted-ca=a", "trusted-ca=a", "-"),
        // So it is with a provider or the FIPS switch alone, which are no identity of ours.
        ("host: H | application: provider=PEM", "provider=PEM", "H provider=PEM"),
        ("host: H | port: fips140-enabled=0", "fips140-enabled=0", "H fips140-enabled=0"),
        // The reader takes versions one by one, the guide wants them with the certificate.
        ("host: H | port: sec-protocol=TLSv12", "H sec-protocol=TLSv12", "-"),
        ("host: H sec-protocol=X | annex: cipher-list=Y", "H sec-protocol=X cipher-list=Y", "-"),
        // A level in between changes nothing.
        ("host: H | annex: tls-crl=n | port: tls=1", "H tls-crl=n tls=1", "="),
    ];

    #[test]
    fn levels_by_both_rules() {
        for (given, vendors, our) in TABLE {
            let sorted = |text: &str| {
                let text = text.replace('H', WHOLE);
                let mut options: Vec<String> = text.split(' ').map(str::to_owned).collect();
                options.sort();
                options.join(" ")
            };
            let sets = sets(&given.replace('H', WHOLE));
            assert_eq!(shown(&vendor(&sets)), sorted(vendors), "vendor: {given}");
            let ours = ours(&sets, Side::Downstream).ok().map(|ours| shown(&ours));
            let expected = match *our {
                "-" => None,
                "=" => Some(sorted(vendors)),
                text => Some(sorted(text)),
            };
            assert_eq!(ours, expected, "ours: {given}");
        }
    }

    #[test]
    fn a_split_names_both_sides() {
        let sets = sets("host: certificate=h certificate-key=k trusted-ca=c | port: trusted-ca=p");
        let split = ours(&sets, Side::Downstream).expect_err("split");
        assert_eq!(shown(&split.partial), "trusted-ca=p");
        assert_eq!(shown(&split.other), "certificate-key=k certificate=h trusted-ca=c");
    }

    #[test]
    fn a_client_stands_on_its_trust() {
        let sets =
            sets("host: certificate=h certificate-key=k trusted-ca=c | connection: trusted-ca=p");
        assert_eq!(shown(&ours(&sets, Side::Upstream).expect("whole")), "trusted-ca=p");
        let sets = self::sets("host: trusted-ca=c | connection: certificate=p certificate-key=k");
        assert!(ours(&sets, Side::Upstream).is_err());
        let sets = self::sets(
            "host: trusted-ca=c | connection: certificate=p certificate-key=k client-auth=0",
        );
        let ours = shown(&ours(&sets, Side::Upstream).expect("whole"));
        assert_eq!(ours, "certificate-key=k certificate=p client-auth=0");
    }
}
