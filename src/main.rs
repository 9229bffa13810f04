//! The `tlsgate` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tlsgate::cli::main()
}
