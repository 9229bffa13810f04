//! `tlsgate check`: is this configuration fit to run?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Exit;
use crate::app::{self, Loaded, StartError};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads the configuration, its certificates, keys and names; binds nothing.
pub(super) fn check(options: &Options) -> Exit {
    match app::load(&options.config) {
        Ok(Loaded { config, compiled, .. }) => {
            if options.json {
                println!("{}", json!({ "errors": [], "warnings": compiled.warnings }));
            } else {
                for warning in &compiled.warnings {
                    println!("warning: {warning}");
                }
                let count = config.listeners.len();
                println!("{}: fit to run, {count} listener(s)", options.config.display());
            }
            Exit::Success
        }
        Err(error) => {
            match &error {
                StartError::Config(diagnostics) if options.json => {
                    println!("{}", diagnostics.to_json());
                }
                error if options.json => {
                    println!("{}", json!({ "errors": [{ "message": error.to_string() }] }));
                }
                error => eprintln!("{error}"),
            }
            Exit::from(&error)
        }
    }
}
