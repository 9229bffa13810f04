//! Which running gateway is asked, and the asking.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, disarmed};
use crate::app;
use crate::app::control::{self, Request, Response};

/// Options that say whom to ask.
#[derive(Args, Debug)]
pub(super) struct Whom {
    /// Configuration file of the gateway: its admin.control says where to ask
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket of the gateway, instead of the one that the file names; without either, it is
    /// /run/tlsgate/control
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Where the service has it (tuning/systemd).
const USUAL: &str = "/run/tlsgate/control";

/// Said of an answer to another question: the gateway is of another version.
pub(super) const ANOTHER_ANSWER: &str = "the gateway has answered something else";

impl Whom {
    /// Asks, and gives the words for what went wrong with the exit code.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, (String, Exit)> {
        self.ask_with(request, &[])
    }

    /// As [`Whom::ask`], with bytes that follow the request.
    pub(super) fn ask_with(
        &self,
        request: &Request,
        content: &[u8],
    ) -> Result<Response, (String, Exit)> {
        ask(self.socket.as_deref(), self.config.as_deref(), (request, content))
    }
}

/// Asks at the socket, else at that which the file names.
pub(super) fn ask(
    socket: Option<&Path>,
    config: Option<&Path>,
    (request, content): (&Request, &[u8]),
) -> Result<Response, (String, Exit)> {
    let path = match (socket, config) {
        (Some(path), _) => path.to_owned(),
        (None, Some(file)) => control_path(file)?,
        (None, None) => PathBuf::from(USUAL),
    };
    control::ask_with(&path, request, content).map_err(|error| {
        (format!("{}: the gateway does not answer: {error}", path.display()), Exit::Failure)
    })
}

/// A file with mistakes is refused here, as the gateway would.
fn control_path(file: &Path) -> Result<PathBuf, (String, Exit)> {
    let (_, config) = app::read(file).map_err(|error| (error.to_string(), Exit::from(&error)))?;
    config.admin.control.ok_or_else(|| {
        let hint = "set admin.control and restart the gateway";
        (format!("{}: there is no control socket: {hint}", file.display()), Exit::Failure)
    })
}

/// Says why there is no answer that was hoped for.
pub(super) fn failed(answer: Result<Response, (String, Exit)>) -> Exit {
    let (error, exit) = match answer {
        Ok(Response::Refused { error }) => (error, Exit::Failure),
        Ok(_) => (ANOTHER_ANSWER.to_owned(), Exit::Failure),
        Err(failed) => failed,
    };
    eprintln!("{}", disarmed(&error));
    exit
}
