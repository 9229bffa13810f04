//! The shipped catalogue is whole, and found by its names.

use std::collections::BTreeMap;

use super::*;

#[test]
fn it_has_every_connection() {
    let catalogue = Catalogue::parse(CONNECTIONS, KINDS, PROFILES).expect("whole");
    let entries: Vec<Entry<'_>> = catalogue.entries().collect();
    assert_eq!(entries.len(), 197);
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &entries {
        *groups.entry(&entry.connection.group).or_default() += 1;
    }
    assert_eq!(groups.len(), 31);
    assert_eq!((groups["eServices"], groups["Workforce Management"], groups["UCCX"]), (47, 20, 4));
}

#[test]
fn nothing_in_it_is_unused_or_twice() {
    let catalogue = Catalogue::shipped();
    let mut kinds: Vec<&str> = catalogue.kinds.iter().map(|kind| kind.name.as_str()).collect();
    let mut profiles: Vec<&str> = catalogue.profiles.iter().map(|one| one.name.as_str()).collect();
    let entries = || catalogue.entries().map(|entry| entry.connection);
    let used_kinds: BTreeSet<&str> = entries().map(|one| one.kind.as_str()).collect();
    let used_profiles: BTreeSet<&str> = entries().map(|one| one.profile.as_str()).collect();
    kinds.sort_unstable();
    profiles.sort_unstable();
    assert_eq!(kinds, Vec::from_iter(used_kinds));
    assert_eq!(profiles, Vec::from_iter(used_profiles));
    let seeds = entries().map(|one| one.seed.split_once(':').expect("document:line"));
    for (document, line) in seeds {
        let lines = match document {
            "genesys" => 457,
            "cisco" => 176,
            other => panic!("{other}"),
        };
        assert!((1..=lines).contains(&line.parse().expect("a number")), "{document}:{line}");
    }
}

#[test]
fn a_kind_or_profile_that_is_not_there_is_told() {
    let kinds = KINDS.replace("name = \"ldaps\"", "name = \"ldap\"");
    let error = Catalogue::parse(CONNECTIONS, &kinds, PROFILES).expect_err("no ldaps");
    assert!(error.contains("genesys:57"), "{error}");
    assert!(Catalogue::parse("connection = 1", KINDS, PROFILES).is_err());
    assert!(Catalogue::parse(CONNECTIONS, "", PROFILES).is_err());
}

/// Autodetect waits for the client's first byte: nobody may have to guess that it comes.
#[test]
fn autodetect_only_where_the_client_speaks_first() {
    let catalogue = Catalogue::shipped();
    for entry in catalogue.entries().filter(|entry| entry.mode() == Mode::Autodetect) {
        assert_eq!(entry.kind.first_speaker, FirstSpeaker::Client, "{}", entry.connection.seed);
        assert!(entry.mutual() < Mutual::Required, "{}", entry.connection.seed);
    }
    let modes: BTreeSet<Mode> = catalogue.entries().map(|entry| entry.mode()).collect();
    assert_eq!(modes.len(), 4, "{modes:?}");
}

#[test]
fn connections_are_found_by_their_ends() {
    let catalogue = Catalogue::shipped();
    let seeds = |from: &str, to: &str| -> Vec<String> {
        let entries = catalogue.between(from, to).into_iter();
        entries.map(|entry| entry.connection.seed.clone()).collect()
    };
    assert_eq!(seeds("Interaction Server", "Chat Server"), ["genesys:72"]);
    assert_eq!(seeds("chat server", "interaction server"), ["genesys:65"]);
    assert_eq!(seeds("SCS", "LCA"), ["genesys:221"]);
    assert_eq!(seeds("Genesys Composer", "GVP Debugger").len(), 2);
    // Peers connect either way.
    let back = seeds("Solution Control Server (backup)", "Solution Control Server (primary)");
    assert_eq!(back, ["genesys:223"]);
    // "(all other Genesys Servers)" is for components that are there.
    assert_eq!(seeds("Pulse", "Stat Server"), ["genesys:271", "genesys:284"]);
    assert_eq!(seeds("Pulse", "Stadt Server"), [""; 0]);
    assert_eq!(seeds("Stat Server", "CCPulse+"), [""; 0]);
}

#[test]
fn search_narrows_by_group_and_component() {
    let catalogue = Catalogue::shipped();
    assert_eq!(catalogue.search(Some("media layer"), None).count(), 9);
    assert_eq!(catalogue.search(Some("media layer"), Some("sip server")).count(), 2);
    assert_eq!(catalogue.search(None, Some("no such")).count(), 0);
}

/// Gateways of a pair know each other; a database that is bridged instead asks its clients for no
/// certificate of theirs.
#[test]
fn mutual_follows_the_mode_that_is_asked_for() {
    let catalogue = Catalogue::shipped();
    let databases = catalogue.entries().filter(|entry| entry.connection.kind == "jdbc");
    let entry = databases.into_iter().next().expect("there is one");
    assert_eq!((entry.mutual(), entry.mutual_in(Mode::Bridge)), (Mutual::Required, Mutual::None));
    let request = Request { mode: Some(Mode::Bridge), ..Request::default() };
    let route = scaffold(&entry, &request).expect("TLS from the first byte can be bridged");
    assert!(route.contains("client_cert = \"none\""), "{route}");
}
