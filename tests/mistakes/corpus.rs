//! The corpus of mistakes: configurations that are refused, with the files they need.
//!
//! Shared by everything that wants all of them: this crate compares their messages, `config_files`
//! shows them to the JSON Schema, `it` puts them under a running gateway.
//!
//! `*.txt` beside this file hold one mistake after the other:
//!
//! ```text
//! === a title, used once
//! $chmod 644 sip.key
//! $listener
//! [gateway]
//! workers = 0
//! ---
//! what `tlsgate check` says
//! ```
//!
//! `$listener` is [`LISTENER`], a listener without mistakes. Lines in front that begin with another
//! `$word` are steps, done in a directory that has [`LISTENER`]'s and a few more good files:
//!
//! | step | what it does |
//! |---|---|
//! | `$chmod MODE FILE` | sets its permissions, in octal |
//! | `$remove FILE` | |
//! | `$copy FROM TO` | |
//! | `$write FILE TEXT` | with this text, `\n` being a line's end |
//! | `$cut FILE` | keeps the first half |
//! | `$fill FILE BYTES` | writes that many zeros |
//! | `$directory FILE` | puts a directory in its place |
//! | `$certificate STEM FROM TO` | `STEM.pem` and `STEM.key`, valid in these years |
//! | `$openssl ARGUMENTS` | what no crate of ours makes |
//!
//! The steps may also be about `tlsgate.toml`, the configuration itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

/// The name of the configuration in its directory.
pub(crate) const FILE: &str = "tlsgate.toml";

/// A listener without mistakes.
pub(crate) const LISTENER: &str = "\
[[listener]]
name = \"sip\"
listen = \"0.0.0.0:5061\"
upstream = \"127.0.0.1:5060\"
[listener.tls]
certificate = \"sip.pem\"
certificate_key = \"sip.key\"
";

/// Pairs of certificate and key that are always there, as `a.pem` and `a.key`; and `ca.pem`.
const STEMS: [&str; 4] = ["a", "b", "c", "sip"];

/// One configuration that is refused, or warned about.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// The file of the corpus that has it.
    pub(crate) source: PathBuf,
    pub(crate) title: String,
    /// As it stands in the corpus, with its steps.
    pub(crate) input: String,
    /// What `tlsgate check` says.
    pub(crate) message: String,
}

/// Every mistake, in the order of the files' names.
pub(crate) fn all() -> Vec<Mistake> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let entries = fs::read_dir(directory).expect("the corpus is part of the source");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Mistake> {
    let text = fs::read_to_string(file).expect("the corpus is text");
    let cases = text.split("=== ").skip(1).map(|case| {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (input, message) = rest.split_once("---\n").expect("a line of three dashes");
        Mistake {
            source: file.to_owned(),
            title: title.to_owned(),
            input: input.to_owned(),
            message: message.trim_end_matches('\n').to_owned() + "\n",
        }
    });
    cases.collect()
}

impl Mistake {
    /// Whether the configuration is refused; else it is only warned about.
    pub(crate) fn is_refused(&self) -> bool {
        !self.message.starts_with("warning: ")
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> String {
        let lines = self.input.split_inclusive('\n');
        let lines = lines.filter(|line| !line.starts_with('$') || *line == "$listener\n");
        lines.collect::<String>().replace("$listener\n", LISTENER)
    }

    /// Writes the configuration and the files it needs into `directory`, over what is there;
    /// returns the configuration's path.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        write_good_files(directory);
        let file = directory.join(FILE);
        fs::write(&file, self.config()).expect("a writable directory");
        let steps = self.input.lines().filter(|line| *line != "$listener");
        for step in steps.filter_map(|line| line.strip_prefix('$')) {
            take(step, directory);
        }
        file
    }
}

fn take(step: &str, directory: &Path) {
    let (what, rest) = step.split_once(' ').expect("a step has arguments");
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = directory.join(first);
    let done = match what {
        "remove" => fs::remove_file(path),
        "copy" => fs::copy(path, directory.join(second)).map(drop),
        "write" => fs::write(path, second.replace("\\n", "\n")),
        "cut" => fs::read(&path).and_then(|all| fs::write(&path, &all[..all.len() / 2])),
        "fill" => fs::write(path, vec![0; second.parse().expect("a number of bytes")]),
        "directory" => fs::remove_file(&path).and_then(|()| fs::create_dir(&path)),
        "chmod" => {
            let mode = u32::from_str_radix(first, 8).expect("a mode in octal");
            fs::set_permissions(directory.join(second), fs::Permissions::from_mode(mode))
        }
        "certificate" => {
            let (from, to) = second.split_once(' ').expect("two years");
            let years = [from, to].map(|year| year.parse().expect("a year"));
            write_pair(directory, first, &key().0, &key().1, years);
            Ok(())
        }
        "openssl" => {
            let arguments = rest.split(' ');
            let output = Command::new("openssl").current_dir(directory).args(arguments).output();
            let output = output.expect("the openssl command is installed");
            assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        }
        _ => panic!("unknown step ${step}: see the header of tests/mistakes/corpus.rs"),
    };
    done.unwrap_or_else(|error| panic!("${step}: {error}"));
}

fn write_good_files(directory: &Path) {
    for stem in STEMS {
        let own = KeyPair::generate().expect("a key");
        write_pair(directory, stem, &own, &own.serialize_pem(), [1975, 4096]);
    }
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key().0).expect("signed");
    fs::write(directory.join("ca.pem"), ca.pem()).expect("a writable directory");
}

/// A key of this run.
fn key() -> &'static (KeyPair, String) {
    static KEY: OnceLock<(KeyPair, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let pem = key.serialize_pem();
        (key, pem)
    })
}

/// A certificate of its own signature, valid from the first day of one year to that of another.
fn write_pair(directory: &Path, stem: &str, key: &KeyPair, pem: &str, years: [i32; 2]) {
    let mut params = CertificateParams::new(vec![format!("{stem}.example")]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, stem);
    [params.not_before, params.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
    let certificate = params.self_signed(key).expect("signed");
    let (file, key) =
        (directory.join(format!("{stem}.pem")), directory.join(format!("{stem}.key")));
    let written = fs::write(file, certificate.pem()).and_then(|()| fs::write(&key, pem));
    let private = fs::Permissions::from_mode(0o600);
    written.and_then(|()| fs::set_permissions(key, private)).expect("a writable directory");
}
