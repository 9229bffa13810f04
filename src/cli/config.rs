//! `tlsgate config`: what there is to configure, for people and for editors.

use clap::{Args, Subcommand};

use super::{Exit, print};
use crate::config::{reference, schema};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Every key with its meaning and default, as a configuration file
    Reference,
    /// The JSON Schema with which editors check and complete configuration files
    Schema,
}

pub(super) fn config(options: &Options) -> Exit {
    print(&match options.what {
        What::Reference => reference::file(),
        What::Schema => schema::file(),
    })
}
