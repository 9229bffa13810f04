//! The configuration: any text is read, and every mistake has its place.

use std::sync::LazyLock;

use tlsgate::config::{self, MAX_DIAGNOSTICS, options::Presence};
use tlsgate_corpus::mutate::mutate;
use tlsgate_corpus::rng::Rng;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "config",
    about: "config::read on any text",
    seeds,
    generate,
    run,
    bounded: 1_500,
};

/// Longer files are cut: operators do not write them, and every place costs time.
const MAX_TEXT: usize = 16 * 1024;

fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]);
    let reading = config::read("etc/tlsgate.toml", &text);
    let diagnostics = &reading.diagnostics;
    assert_eq!(reading.config.is_none(), !diagnostics.is_empty(), "either it is good or it says");
    assert!(diagnostics.as_slice().len() <= MAX_DIAGNOSTICS);
    let lines: Vec<&str> = text.split('\n').collect();
    let mut before = (1, 1);
    for one in diagnostics.as_slice() {
        let line = lines.get(one.line - 1).unwrap_or_else(|| panic!("no such line: {one}"));
        let columns = line.chars().count() + 1;
        assert!((1..=columns).contains(&one.column), "no such column of {columns}: {one}");
        assert!(!one.message.is_empty() && !one.hint.is_empty(), "says nothing: {one}");
        assert!(before <= (one.line, one.column), "not in order: {diagnostics}");
        before = (one.line, one.column);
        let shown = one.to_string();
        let control = shown.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(control, None, "a terminal would obey: {shown:?}");
    }
    assert_eq!(
        diagnostics.to_json()["errors"].as_array().map(Vec::len),
        Some(diagnostics.as_slice().len())
    );
    if let Some(config) = reading.config {
        assert!(!config.listeners.is_empty());
        let tls = config.listeners.iter().filter(|listener| listener.tls.is_some());
        assert_eq!(reading.tls.len(), tls.count());
        assert_eq!(
            config::parse("etc/tlsgate.toml", &text).as_ref(),
            Ok(&config),
            "the same again"
        );
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![config::reference::file().into_bytes(), SMALL.as_bytes().to_vec()];
    // One of each option, right and with something that is no value of any.
    for option in config::reference() {
        let key = option.key;
        let value = match option.presence {
            Presence::Default(value) => value,
            Presence::Required { example } | Presence::RequiredUnless { example, .. } => example,
            Presence::Optional { .. } => "\"\"",
        };
        let table = config::options::table(option.table).expect("every option has its table");
        let header = table.header();
        seeds.push(format!("{SMALL}{header}\n{key} = {value}\n").into_bytes());
        seeds.push(format!("{header}\n{key} = [{{ x = -1 }}]\n").into_bytes());
    }
    seeds
}

const SMALL: &str = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream = \"[::1]:2\"\n\
    [listener.tls]\ncertificate = \"c.pem\"\ncertificate_key = \"k.pem\"\n";

/// Lines of keys and values in an order that nobody would write, and pieces that break TOML.
fn generate(rng: &mut Rng) -> Vec<u8> {
    static WORDS: LazyLock<Vec<String>> = LazyLock::new(words);
    let mut text = if rng.one_in(2) { SMALL.to_owned() } else { String::new() };
    for _ in 0..rng.below(30) {
        let word = rng.pick(&WORDS);
        text += word;
        text += match rng.below(8) {
            0..=2 => "\n",
            3..=5 => " = ",
            6 => " ",
            _ => "",
        };
    }
    if rng.one_in(4) { mutate(rng, text.as_bytes(), SMALL.as_bytes()) } else { text.into_bytes() }
}

fn words() -> Vec<String> {
    let mut words: Vec<String> = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        ".",
        ",",
        "#",
        "\\u0000",
        "\\",
        "=",
        "\r\n",
        "\t",
        "\u{feff}",
        "é",
        "日本",
        "🙂",
        "true",
        "nan",
        "-inf",
        "1979-05-27",
        "07:32:00",
        "0x1f",
        "1_000",
        "9223372036854775808",
        "-0",
        "1e400",
        "\"\\u001b[31m\"",
        "\"10s\"",
        "\"64KiB\"",
        "\"off\"",
        "[[listener.tls.certificates]]",
        "certificates = [{}]",
        "\"0.0.0.0:0\"",
        "\"unix:/x\"",
        "\"[::]:99999\"",
        "\"a\"",
        "0",
        "-1",
        "65536",
    ]
    .map(str::to_owned)
    .to_vec();
    for option in config::reference() {
        words.push(option.key.to_owned());
        words.push(option.path().clone());
        if let Presence::Default(value) = option.presence {
            words.push(format!("{} = {value}", option.key));
        }
        let table = config::options::table(option.table).expect("every option has its table");
        words.push(table.header().clone());
    }
    words
}
