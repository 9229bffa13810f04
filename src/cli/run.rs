//! `tlsgate run`: start, or take over from a process that runs already, and serve.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::service::Service;
use super::{Exit, process_log};
use crate::app::orders::{self, Order};
use crate::app::{self, Gateway, Loaded, Prepared, StartError};
use crate::handover::{CHANNEL_VARIABLE, Predecessor, Program};

/// Runs until a signal ends it.
pub(super) fn run(file: &Path) -> Exit {
    let mut predecessor = match Predecessor::from_environment() {
        Ok(predecessor) => predecessor,
        Err(error) => {
            eprintln!("{CHANNEL_VARIABLE}: {error}");
            return Exit::Failure;
        }
    };
    match begin(file, predecessor.as_mut()) {
        Ok(service) => {
            if let Some(predecessor) = predecessor {
                predecessor.serving();
            }
            service.run()
        }
        Err(error) => {
            // The predecessor writes it to its log, which goes where this would go.
            let is_told = predecessor.is_some_and(|one| one.failed(&error.to_string()));
            if !is_told {
                eprintln!("{error}");
            }
            Exit::from(&error)
        }
    }
}

/// Starts what `file` describes, with the process log that it asks for.
pub(super) fn start(file: &Path) -> Result<Gateway, StartError> {
    Gateway::start(load(file)?)
}

/// Serves until a signal ends it.
pub(super) fn serve(gateway: Gateway) -> Exit {
    let (orders, inbox) = orders::queue();
    let followed =
        Signals::new(SIGNALS).and_then(|signals| follow_signals(signals, orders.clone()));
    if let Err(error) = followed {
        tracing::error!(%error, "cannot handle signals");
        return Exit::Failure;
    }
    Service::new(gateway, orders, inbox, None).run()
}

/// Serves when this returns.
fn begin(file: &Path, mut predecessor: Option<&mut Predecessor>) -> Result<Service, StartError> {
    let program = Program::of_this_process();
    // First, because without that a signal would end the process.
    let signals = Signals::new(SIGNALS)?;
    let starter = app::launch_starter(&program)?;
    let inheritance = predecessor.as_deref_mut().map(Predecessor::receive).transpose()?;
    let mut loaded = load(file)?;
    loaded.starter = Some(starter);
    let mut prepared = Prepared::new(loaded, inheritance)?;
    let (orders, inbox) = orders::queue();
    follow_signals(signals, orders.clone())?;
    prepared.start_control(orders.clone())?;
    prepared.close_sandbox();
    if let Some(predecessor) = predecessor {
        predecessor.sessions(|chunk| prepared.take_sessions(chunk))?;
        predecessor.ready(prepared.taken())?;
    }
    Ok(Service::new(prepared.open()?, orders, inbox, Some(program)))
}

fn load(file: &Path) -> Result<Loaded, StartError> {
    let loaded = app::load(file)?;
    process_log::start(&loaded.config.log);
    for warning in &loaded.compiled.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

fn follow_signals(mut signals: Signals, orders: SyncSender<Order>) -> std::io::Result<()> {
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let order = match signal {
                SIGHUP => Order::Reload,
                SIGUSR1 => Order::ReopenLogs,
                SIGUSR2 => Order::Restart,
                SIGTERM => Order::Drain,
                _ => Order::Stop,
            };
            if orders.send(order).is_err() {
                // The program ends.
                return;
            }
        }
    })?;
    Ok(())
}

const SIGNALS: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];
