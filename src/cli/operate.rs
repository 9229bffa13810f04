//! `tlsgate set`, `tlsgate upstream`: changes in a running gateway that are in no file.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::whom::{self, Whom};
use super::{Exit, print};
use crate::app::control::{Request, Response, UpstreamChange};
use crate::config::model::LogLevel;

#[derive(Args, Debug)]
pub(super) struct SetOptions {
    #[command(subcommand)]
    what: Setting,
}

#[derive(Debug, Subcommand)]
enum Setting {
    /// The least important messages of the process log, until the next configuration is loaded
    LogLevel {
        level: Level,
        #[command(flatten)]
        telling: Telling,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Args, Debug)]
pub(super) struct UpstreamOptions {
    #[command(subcommand)]
    change: Change,
}

/// What becomes of an endpoint, for as long as a configuration has it or the process runs.
#[derive(Debug, Subcommand)]
enum Change {
    /// Let new connections go there again
    Enable(Endpoint),
    /// Let no new connection go there
    Disable(Endpoint),
    /// Give it another weight than the configuration does, or "configured"
    Weight {
        #[command(flatten)]
        endpoint: Endpoint,
        #[arg(value_parser = weight)]
        weight: Weight,
    },
}

#[derive(Clone, Copy, Debug)]
struct Weight(Option<u8>);

#[derive(Args, Debug)]
struct Endpoint {
    /// Route that has it, as in `tlsgate show upstreams`
    route: String,
    /// The endpoint, as the configuration has it
    endpoint: String,
    #[command(flatten)]
    telling: Telling,
}

/// Whom to tell, and how to print what they say.
#[derive(Args, Debug)]
pub(super) struct Telling {
    #[command(flatten)]
    whom: Whom,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Telling {
    /// Tells it, and prints what has changed.
    pub(super) fn tell(&self, request: &Request) -> Exit {
        match self.whom.ask(request) {
            Ok(Response::Changed { text }) if self.json => {
                print(&format!("{}\n", json!({ "changed": text })))
            }
            Ok(Response::Changed { text }) => print(&format!("{text}\n")),
            answer => whom::failed(answer),
        }
    }
}

pub(super) fn set(options: &SetOptions) -> Exit {
    let Setting::LogLevel { level, telling } = &options.what;
    let level = match level {
        Level::Error => LogLevel::Error,
        Level::Warn => LogLevel::Warn,
        Level::Info => LogLevel::Info,
        Level::Debug => LogLevel::Debug,
    };
    telling.tell(&Request::SetLogLevel { level })
}

pub(super) fn upstream(options: &UpstreamOptions) -> Exit {
    let (endpoint, change) = match &options.change {
        Change::Enable(endpoint) => (endpoint, UpstreamChange::Enable),
        Change::Disable(endpoint) => (endpoint, UpstreamChange::Disable),
        Change::Weight { endpoint, weight } => (endpoint, UpstreamChange::Weight(weight.0)),
    };
    let Endpoint { route, endpoint, telling } = endpoint;
    let (route, endpoint) = (route.clone(), endpoint.clone());
    telling.tell(&Request::Upstream { route, endpoint, change })
}

fn weight(text: &str) -> Result<Weight, String> {
    match text {
        "configured" => Ok(Weight(None)),
        _ => text
            .parse()
            .map(|weight| Weight(Some(weight)))
            .map_err(|_| "a number, or \"configured\"".to_owned()),
    }
}
