//! `tlsgate import genesys`: configuration of another kind, translated into ours.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, Subcommand, ValueEnum};

use super::{Exit, print};
use crate::genesys::import::{self, Settings};
use crate::genesys::levels::Level;
use crate::genesys::options::Semantics;
use crate::genesys::{Finding, Severity, Source, Sources};

/// Largest file that is read; these files have a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Options of Genesys components: files such as lca.cfg, and transport parameters
    Genesys(Box<Genesys>),
}

#[derive(Args, Debug)]
struct Genesys {
    #[command(flatten)]
    given: Given,
    /// Names the host, application and listener that are written; else the first file's name
    #[arg(long)]
    name: Option<String>,
    /// Where the gateway listens, in the place of the port or beside the client
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The component behind the gateway
    #[arg(long, value_name = "ADDRESS:PORT")]
    upstream: Option<String>,
    /// Why plaintext may leave this machine, where the side without TLS is no loopback address
    #[arg(long, value_name = "TEXT")]
    plaintext_reason: Option<String>,
    /// Last day of an imported client-auth=0, which leaves the server unauthenticated
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    verify_until: Option<String>,
    /// Write here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Files and strings of the vendor's: what `import` and `lint` have in common.
#[derive(Args, Debug)]
pub(super) struct Given {
    /// Files; LEVEL=FILE for one of another level than --level
    #[arg(value_name = "[LEVEL=]FILE")]
    pub(super) files: Vec<String>,
    /// What the [security] sections of files are about
    #[arg(long, value_enum, default_value_t = LevelName::Host)]
    level: LevelName,
    /// Transport parameters of a port: the gateway is the TLS server
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    transport: Option<String>,
    /// Transport parameters of a connection: the gateway is the TLS client
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    connection: Option<String>,
    /// What sec-protocol means: the lowest version, or the only one
    #[arg(long, value_enum)]
    sec_protocol_semantics: Option<SemanticsName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelName {
    Host,
    Application,
    Annex,
    Port,
    Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SemanticsName {
    Floor,
    Exact,
}

pub(super) fn import(options: &Options) -> Exit {
    let What::Genesys(options) = &options.what;
    let sources = match options.given.read() {
        Ok(sources) => sources,
        Err(message) => return fail(&message),
    };
    let settings = Settings {
        name: import::name(&options.name.clone().unwrap_or_else(|| name_of(&sources))),
        listen: options.listen.clone(),
        upstream: options.upstream.clone(),
        semantics: options.given.semantics(),
        plaintext_reason: options.plaintext_reason.clone(),
        verify_until: options.verify_until.clone(),
    };
    let imported = import::import(&sources, &settings);
    tell(&imported.findings);
    let Some(text) = imported.text else {
        let is_error = |finding: &&Finding| finding.severity == Severity::Error;
        let errors = imported.findings.iter().filter(is_error).count();
        return fail(&format!("{errors} error(s): nothing is written"));
    };
    match &options.output {
        None => print(&text),
        Some(path) => match fs::write(path, text) {
            Ok(()) => Exit::Success,
            Err(error) => {
                eprintln!("cannot write {}: {error}", path.display());
                Exit::Failure
            }
        },
    }
}

/// Prints findings for people.
pub(super) fn tell(findings: &[Finding]) {
    for finding in findings {
        eprint!("{finding}");
    }
}

impl Given {
    /// Reads the files.
    pub(super) fn read(&self) -> Result<Sources, String> {
        let files = self.files.iter().map(|argument| {
            let named = argument
                .split_once('=')
                .and_then(|(level, file)| Some((LevelName::from_str(level, false).ok()?, file)));
            let (level, file) = named.unwrap_or((self.level, argument));
            let text = read_file(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
            Ok(Source { level: level.into(), file: file.to_owned(), text })
        });
        let files: Vec<Source> = files.collect::<Result<_, String>>()?;
        let (port, connection) = (self.transport.clone(), self.connection.clone());
        Ok(Sources { files, port, connection })
    }

    pub(super) fn semantics(&self) -> Option<Semantics> {
        self.sec_protocol_semantics.map(|semantics| match semantics {
            SemanticsName::Floor => Semantics::Floor,
            SemanticsName::Exact => Semantics::Exact,
        })
    }
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::Host => Self::Host,
            LevelName::Application => Self::Application,
            LevelName::Annex => Self::Annex,
            LevelName::Port => Self::Port,
            LevelName::Connection => Self::Connection,
        }
    }
}

/// Reads a file that is not too large; what is no UTF-8 in it is replaced, and stands in comments
/// at most.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other(format!("is larger than {MAX_FILE} bytes")));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

pub(super) fn fail(message: &str) -> Exit {
    eprintln!("{message}");
    Exit::BadConfig
}

fn name_of(sources: &Sources) -> String {
    let first = sources.files.first().map(|source| Path::new(&source.file));
    let stem = first.and_then(Path::file_stem);
    stem.map_or_else(|| "imported".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// A date of TOML.
pub(super) fn date(text: &str) -> Result<String, String> {
    let date: toml::value::Datetime = text.parse().map_err(|_| "expected YYYY-MM-DD".to_owned())?;
    match (date.date, date.time, date.offset) {
        (Some(_), None, None) => Ok(text.to_owned()),
        _ => Err("expected YYYY-MM-DD".to_owned()),
    }
}
