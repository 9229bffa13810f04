//! `tlsgate man`: manual pages, from the same description of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Arguments, Exit, print};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where to write them: tlsgate.1, and a page for each command
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn man(options: &Options) -> Exit {
    let folder = options.folder.display();
    let written = std::fs::create_dir_all(&options.folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), &options.folder));
    if let Err(error) = written {
        eprintln!("tlsgate: cannot write manual pages to {folder}: {error}");
        return Exit::Failure;
    }
    print(&format!("manual pages are in {folder}: man -l {folder}/tlsgate.1\n"))
}
