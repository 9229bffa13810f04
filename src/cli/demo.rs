//! `tlsgate demo`.
use super::Exit;
use clap::Args;
#[derive(Args, Debug)]
pub(super) struct Options {
    /// End after the table
    #[arg(long)]
    once: bool,
}
pub(super) fn demo(_options: &Options) -> Exit {
    Exit::Failure
}
