//! `tlsgate certificates`: replaces certificates, keys, CAs and lists of revoked certificates in a
//! running gateway, all of them or none.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::whom::{self, Whom};
use super::{Exit, print};
use crate::app::control::{Request, Response};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Replace files in one step: begin, add and commit
    Replace {
        #[arg(required = true, value_name = "NAME=FILE", value_parser = pair)]
        files: Vec<Pair>,
        #[command(flatten)]
        telling: Telling,
    },
    /// Begin a transaction, and print its number
    Begin(Telling),
    /// Add files to a transaction
    Add {
        #[command(flatten)]
        which: Which,
        #[arg(required = true, value_name = "NAME=FILE", value_parser = pair)]
        files: Vec<Pair>,
        #[command(flatten)]
        telling: Telling,
    },
    /// Check what was added as a reload would, and let it count from now on
    Commit {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        telling: Telling,
    },
    /// Forget what was added
    Abort {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        telling: Telling,
    },
}

#[derive(Args, Debug)]
struct Which {
    /// Number that `begin` has printed
    #[arg(long, value_name = "NUMBER")]
    transaction: u64,
}

#[derive(Args, Debug)]
struct Telling {
    #[command(flatten)]
    whom: Whom,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A path as the configuration has it, and the file with what is to count there.
#[derive(Clone, Debug)]
struct Pair {
    name: PathBuf,
    file: PathBuf,
}

/// Asks step by step; what fails leaves nothing behind, and what `replace` has begun is aborted.
pub(super) fn certificates(options: &Options) -> Exit {
    let (result, telling) = match &options.step {
        Step::Replace { files, telling } => (telling.replace(files), telling),
        Step::Begin(telling) => (telling.ask(&Request::Begin), telling),
        Step::Add { which, files, telling } => (telling.add(which.transaction, files), telling),
        Step::Commit { which, telling } => (telling.ask(&which.commit()), telling),
        Step::Abort { which, telling } => (telling.ask(&which.abort()), telling),
    };
    match result {
        Ok(Response::Done { generation, warnings }) => telling.say(
            &json!({ "generation": generation, "warnings": warnings }),
            &format!("replaced; this is generation {generation}"),
        ),
        Ok(Response::Transaction { transaction, files }) => telling.say(
            &json!({ "transaction": transaction, "files": files }),
            &format!("transaction {transaction}: {files} file(s)"),
        ),
        Ok(Response::Changed { text }) => telling.say(&json!({ "changed": text }), &text),
        answer => whom::failed(answer),
    }
}

impl Which {
    fn commit(&self) -> Request {
        Request::Commit { transaction: self.transaction }
    }

    fn abort(&self) -> Request {
        Request::Abort { transaction: self.transaction }
    }
}

type Answer = Result<Response, (String, Exit)>;

impl Telling {
    fn ask(&self, request: &Request) -> Answer {
        self.whom.ask(request)
    }

    fn add(&self, transaction: u64, files: &[Pair]) -> Answer {
        let mut answer = Err(("no file".to_owned(), Exit::Failure));
        for Pair { name, file } in files {
            let failed = |error| (format!("{}: {error}", file.display()), Exit::Failure);
            let content = Zeroizing::new(fs::read(file).map_err(failed)?);
            let (path, length) = (name.clone(), content.len());
            let request = Request::Put { transaction, path, length };
            answer = self.whom.ask_with(&request, &content);
            if !matches!(answer, Ok(Response::Transaction { .. })) {
                break;
            }
        }
        answer
    }

    fn replace(&self, files: &[Pair]) -> Answer {
        let transaction = match self.ask(&Request::Begin) {
            Ok(Response::Transaction { transaction, .. }) => transaction,
            answer => return answer,
        };
        let added = self.add(transaction, files);
        if !matches!(added, Ok(Response::Transaction { .. })) {
            // It would be forgotten after a while.
            let _aborted = self.ask(&Request::Abort { transaction });
            return added;
        }
        self.ask(&Request::Commit { transaction })
    }

    fn say(&self, json: &serde_json::Value, text: &str) -> Exit {
        if self.json { print(&format!("{json:#}\n")) } else { print(&format!("{text}\n")) }
    }
}

fn pair(text: &str) -> Result<Pair, String> {
    let (name, file) = text.split_once('=').unwrap_or((text, text));
    if name.is_empty() || file.is_empty() {
        return Err(
            "a path as the configuration has it, and a file: server.pem=/tmp/new.pem".to_owned()
        );
    }
    Ok(Pair { name: name.into(), file: file.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_a_name_and_a_file_which_may_be_the_same() {
        let Pair { name, file } = pair("a.pem=/tmp/new.pem").expect("a pair");
        assert_eq!((name, file), ("a.pem".into(), "/tmp/new.pem".into()));
        let Pair { name, file } = pair("/etc/a.pem").expect("both");
        assert_eq!(name, file);
        assert!(pair("=a").is_err() && pair("a=").is_err());
    }
}
