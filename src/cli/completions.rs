//! `tlsgate completions`: a script with which a shell completes this command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Exit, print};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Shell that will read it
    shell: Shell,
}

pub(super) fn completions(options: &Options) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "tlsgate", &mut script);
    print(&String::from_utf8_lossy(&script))
}
