//! `tlsgate reload`: makes a running gateway read its configuration again, and says how it went.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Exit;
use crate::app;
use crate::app::control::{self, Request, Response};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file of the gateway: its admin.control says where to ask
    #[arg(short = 'c', long = "config", value_name = "FILE", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// Control socket of the gateway, instead of the one that the file names
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Asks, prints, and ends with 3 where the configuration was refused and the old one runs on.
pub(super) fn reload(options: &Options) -> Exit {
    match try_reload(options) {
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
        Err((error, exit)) => refused(options, &error, exit),
    }
}

fn try_reload(options: &Options) -> Result<Response, (String, Exit)> {
    let path = match (&options.socket, &options.config) {
        (Some(path), _) => path.clone(),
        (None, Some(file)) => control_path(file)?,
        (None, None) => return Err(("neither a file nor a socket".to_owned(), Exit::Failure)),
    };
    control::ask(&path, Request::Reload).map_err(|error| {
        (format!("{}: the gateway does not answer: {error}", path.display()), Exit::Failure)
    })
}

/// A file with mistakes is refused here, as the gateway would.
fn control_path(file: &Path) -> Result<PathBuf, (String, Exit)> {
    let (_, config) = app::read(file).map_err(|error| (error.to_string(), Exit::from(&error)))?;
    config.admin.control.ok_or_else(|| {
        let hint = "set admin.control and restart the gateway, or send it HUP";
        (format!("{}: there is no control socket: {hint}", file.display()), Exit::Failure)
    })
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
