//! `tlsgate reload`: makes a running gateway read its configuration again, and says how it went.

use clap::Args;
use serde_json::json;

use super::Exit;
use super::whom::{ANOTHER_ANSWER, Whom};
use crate::app::control::{Request, Response};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    whom: Whom,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Asks, prints, and ends with 3 where the configuration was refused and the old one runs on.
pub(super) fn reload(options: &Options) -> Exit {
    match options.whom.ask(&Request::Reload) {
        Ok(Response::Done { generation, warnings }) => {
            if options.json {
                println!("{}", json!({ "generation": generation, "warnings": warnings }));
            } else {
                for warning in &warnings {
                    println!("warning: {warning}");
                }
                println!("loaded; this is generation {generation}");
            }
            Exit::Success
        }
        Ok(Response::Refused { error }) => refused(options, &error, Exit::BadConfig),
        Ok(_) => refused(options, ANOTHER_ANSWER, Exit::Failure),
        Err((error, exit)) => refused(options, &error, exit),
    }
}

fn refused(options: &Options, error: &str, exit: Exit) -> Exit {
    if options.json {
        println!("{}", json!({ "error": error }));
    } else {
        eprintln!("{error}");
        if exit == Exit::BadConfig {
            eprintln!("the configuration that ran before runs on");
        }
    }
    exit
}
