//! What is imported is what the vendor's reader would see: random levels, read by a reader written
//! as the vendor's is described, imported, and resolved by our configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use tlsgate::config;
use tlsgate::config::model::{ClientCert, Listener, Mode, Sni, TlsVersion, TrustFile, Verify};
use tlsgate::genesys::import::{Settings, import};
use tlsgate::genesys::levels::Level;
use tlsgate::genesys::options::Semantics;
use tlsgate::genesys::{Severity, Source, Sources};

/// Together from the first level that has any of them.
const TOGETHER: [&str; 4] = ["provider", "certificate", "certificate-key", "trusted-ca"];

/// One level's options.
type Options = BTreeMap<&'static str, String>;

/// The options of one level; `mark` tells its files from those of another.
fn level(mark: &'static str) -> impl Strategy<Value = Options> {
    let maybe = |values: Vec<String>| proptest::option::weighted(0.4, prop::sample::select(values));
    let file = |ending: &str| maybe(vec![format!("{mark}.{ending}")]);
    let words = |words: [&str; 2]| maybe(words.map(str::to_owned).to_vec());
    let provider = proptest::option::weighted(0.1, Just("PEM".to_owned()));
    (
        (file("pem"), file("key"), file("ca"), provider),
        (words(["0", "1"]), words(["0", "1"]), words(["TLSv12", "TLSv13"])),
        (file("name"), file("crl")),
    )
        .prop_map(
            |((certificate, key, ca, provider), (mutual, auth, protocol), (name, crl))| {
                let all = [
                    ("certificate", certificate),
                    ("certificate-key", key),
                    ("trusted-ca", ca),
                    ("provider", provider),
                    ("tls-mutual", mutual),
                    ("client-auth", auth),
                    ("sec-protocol", protocol),
                    ("tls-target-name", name),
                    ("tls-crl", crl),
                ];
                all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
            },
        )
}

/// The vendor's reader, the lowest level first.
fn read(levels: [&Options; 4]) -> Options {
    let mut read = Options::new();
    for level in levels.into_iter().rev() {
        read.extend(level.iter().map(|(name, value)| (*name, value.clone())));
    }
    read.retain(|name, _| !TOGETHER.contains(name));
    let first =
        levels.into_iter().find(|level| TOGETHER.iter().any(|name| level.contains_key(name)));
    let together = first.into_iter().flatten().filter(|(name, _)| TOGETHER.contains(name));
    read.extend(together.map(|(name, value)| (*name, value.clone())));
    read
}

fn file(level: Level, options: &Options) -> Source {
    let lines = options.iter().map(|(name, value)| format!("{name} = {value}\n"));
    let text = format!("[security]\n{}", lines.collect::<String>());
    Source { level, file: format!("{level:?}.cfg"), text }
}

fn string(options: &Options) -> String {
    let rest = options.iter().map(|(name, value)| format!(";{name}={value}"));
    format!("tls=1{}", rest.collect::<String>())
}

/// Whether our side cannot do with what the reader sees.
fn lacks(server: &Options, client: &Options) -> bool {
    let is_set = |options: &Options, name: &str| options.contains_key(name);
    let is = |options: &Options, name: &str, value: &str| {
        options.get(name).is_some_and(|given| given == value)
    };
    !is_set(server, "certificate")
        || !is_set(server, "certificate-key")
        || (is(server, "tls-mutual", "1") && !is_set(server, "trusted-ca"))
        || (!is(client, "client-auth", "0") && !is_set(client, "trusted-ca"))
        || is_set(client, "certificate") != is_set(client, "certificate-key")
}

fn versions(options: &Options) -> (TlsVersion, TlsVersion) {
    match options.get("sec-protocol").map(String::as_str) {
        Some("TLSv12") => (TlsVersion::V1_2, TlsVersion::V1_2),
        Some("TLSv13") => (TlsVersion::V1_3, TlsVersion::V1_3),
        _ => (TlsVersion::V1_2, TlsVersion::V1_3),
    }
}

fn paths(files: &[TrustFile]) -> Vec<PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}

fn paths_of(options: &Options, name: &str) -> Vec<PathBuf> {
    options.get(name).map(PathBuf::from).into_iter().collect()
}

/// What the listener does is what the two readings say.
fn compare(listener: &Listener, server: &Options, client: &Options) -> Result<(), TestCaseError> {
    let path = |options: &Options, name: &str| options.get(name).map(PathBuf::from);
    let tls = listener.tls.as_ref().expect("a bridge has it");
    let files = &tls.certificates[0];
    prop_assert_eq!(Some(files.certificate.clone()), path(server, "certificate"));
    prop_assert_eq!(Some(files.certificate_key.clone()), path(server, "certificate-key"));
    prop_assert_eq!((tls.min_version, tls.max_version), versions(server));
    prop_assert_eq!(paths(&tls.crls.files), paths_of(server, "tls-crl"));
    if server.get("tls-mutual").is_some_and(|value| value == "1") {
        prop_assert_eq!(tls.client_cert, ClientCert::Required);
        prop_assert_eq!(paths(&tls.trusted_ca), paths_of(server, "trusted-ca"));
    } else {
        prop_assert_eq!(tls.client_cert, ClientCert::None);
    }
    let tls = listener.upstream_tls.as_ref().expect("a bridge has it");
    let files = tls.certificate.as_ref();
    let shown = files.map(|files| files.certificate.clone());
    prop_assert_eq!(shown, path(client, "certificate"));
    let shown = files.map(|files| files.certificate_key.clone());
    prop_assert_eq!(shown, path(client, "certificate-key"));
    prop_assert_eq!((tls.min_version, tls.max_version), versions(client));
    prop_assert_eq!(paths(&tls.crls.files), paths_of(client, "tls-crl"));
    prop_assert_eq!(&tls.server_name, &client.get("tls-target-name").cloned());
    match (&tls.sni, client.get("tls-target-name")) {
        (Sni::Name(sent), Some(name)) => prop_assert_eq!(sent, name),
        (Sni::Name(sent), None) => prop_assert!(false, "sends {}", sent),
        (_, name) => prop_assert_eq!(name, None),
    }
    if client.get("client-auth").is_some_and(|value| value == "0") {
        prop_assert_eq!(tls.verify, Verify::None);
    } else {
        prop_assert_eq!(tls.verify, Verify::Full);
        prop_assert_eq!(paths(&tls.trusted_ca), paths_of(client, "trusted-ca"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_same_effective_options_as_the_vendors_reader(
        host in level("h"),
        annex in level("n"),
        application in level("a"),
        port in level("p"),
        connection in level("c"),
    ) {
        let server = read([&port, &application, &annex, &host]);
        let client = read([&connection, &application, &annex, &host]);
        let sources = Sources {
            files: vec![
                file(Level::Host, &host),
                file(Level::Annex, &annex),
                file(Level::Application, &application),
            ],
            port: Some(string(&port)),
            connection: Some(string(&connection)),
        };
        let settings = Settings {
            name: "x".to_owned(),
            listen: Some("127.0.0.1:1".to_owned()),
            upstream: Some("127.0.0.1:2".to_owned()),
            semantics: Some(Semantics::Exact),
            verify_until: Some("2999-12-31".to_owned()),
            ..Settings::default()
        };
        let imported = import(&sources, &settings);
        let Some(text) = imported.text else {
            let is_told = imported.findings.iter().any(|one| one.severity == Severity::Error);
            prop_assert!(is_told && lacks(&server, &client), "{:?}", imported.findings);
            return Ok(());
        };
        prop_assert!(!lacks(&server, &client), "{}", text);
        let config = match config::parse("written.toml", &text) {
            Ok(config) => config,
            Err(diagnostics) => return Err(TestCaseError::fail(format!("{diagnostics}\n{text}"))),
        };
        prop_assert_eq!(config.listeners[0].mode, Mode::Bridge);
        compare(&config.listeners[0], &server, &client)?;
    }

    #[test]
    fn whatever_is_given_is_read_or_refused(
        text in "(\\[security\\]\n)?([a-z.0-9-]{0,9}|tls|certificate|transport|sip\\.transport\\.0)?[=; \"\\PC]{0,20}\n?",
        string in "[tls=1; \\PC]{0,20}",
    ) {
        let source = Source { level: Level::Host, file: "a".to_owned(), text };
        let sources = Sources { files: vec![source], port: Some(string), connection: None };
        let imported = import(&sources, &Settings { name: "x".to_owned(), ..Settings::default() });
        prop_assert!(imported.text.is_some() || !imported.findings.is_empty());
    }
}

/// A table of ours with some of what an identity is.
fn table(mark: &'static str) -> impl Strategy<Value = String> {
    let lines = [
        format!("certificate = \"{mark}.pem\"\n"),
        format!("certificate_key = \"{mark}.key\"\n"),
        format!("trusted_ca = \"{mark}.ca\"\n"),
        "min_version = \"1.3\"\n".to_owned(),
        "ciphers = [\"TLS_AES_128_GCM_SHA256\"]\n".to_owned(),
    ];
    prop::sample::subsequence(lines.to_vec(), 0..=5).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// `lint` and the configuration are of one mind about what is split.
    #[test]
    fn a_split_identity_is_one_to_both(
        tables in [table("d"), table("h"), table("a"), table("l")],
        others in [table("d"), table("h"), table("a"), table("l")],
        verify in prop::sample::select(vec!["", "verify = \"none\"\nverify_until = 2999-12-31\n"]),
    ) {
        let [defaults, host, application, listener] = &tables;
        let [other_defaults, other_host, other_application, other_listener] = &others;
        let text = format!(
            "[defaults.tls]\n{defaults}[defaults.upstream_tls]\n{other_defaults}\
             [[host]]\nname = \"h\"\n[host.tls]\n{host}[host.upstream_tls]\n{other_host}\
             [[application]]\nname = \"a\"\nhost = \"h\"\n\
             [application.tls]\n{application}[application.upstream_tls]\n{other_application}\
             [[listener]]\nname = \"l\"\napplication = \"a\"\nmode = \"bridge\"\n\
             listen = \"127.0.0.1:1\"\nupstream = \"127.0.0.1:2\"\n\
             [listener.tls]\n{listener}[listener.upstream_tls]\n{other_listener}{verify}"
        );
        let told = config::parse("ours.toml", &text).err().unwrap_or_default();
        let report = tlsgate::genesys::lint::config("ours.toml", &text);
        for side in [".tls", ".upstream_tls"] {
            let is_of = |key: &str| {
                key.contains(&format!("]{side}.")) || key.starts_with(&format!("defaults{side}."))
            };
            let is_split = told.as_slice().iter().any(|one| {
                one.message == "splits a bundle over two levels" && is_of(&one.key)
            });
            let is_different = report.differences.iter().any(|one| {
                one.subject == format!("listener[l]{side}") && one.option == "identity"
            });
            prop_assert_eq!(is_split, is_different, "{} {}\n{}", side, told, text);
        }
    }
}
