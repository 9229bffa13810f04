//! `tlsgate run`: start, then do what signals and the control socket say.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::{Exit, process_log};
use crate::app::orders::{self, Order};
use crate::app::{self, Ended, Gateway, StartError};

/// Runs until a signal ends it.
pub(super) fn run(file: &Path) -> Exit {
    match start(file) {
        Ok(gateway) => serve(gateway),
        Err(error) => {
            eprintln!("{error}");
            Exit::from(&error)
        }
    }
}

/// Starts what `file` describes, with the process log that it asks for.
pub(super) fn start(file: &Path) -> Result<Gateway, StartError> {
    let loaded = app::load(file)?;
    process_log::start(&loaded.config.log);
    for warning in &loaded.compiled.warnings {
        tracing::warn!("{warning}");
    }
    Gateway::start(loaded)
}

/// HUP loads the configuration anew, TERM drains, a second TERM or INT stops, USR1 opens the log
/// files again.
pub(super) fn serve(mut gateway: Gateway) -> Exit {
    let (orders, inbox) = orders::queue();
    if let Err(error) = listen_to_signals(orders.clone()) {
        tracing::error!(%error, "cannot handle signals");
        return Exit::Failure;
    }
    if let Err(error) = gateway.start_control(orders.clone()) {
        eprintln!("{error}");
        return Exit::from(&error);
    }
    let threads = gateway.take_threads();
    std::thread::spawn(move || {
        // Fails only when the loop below has ended by itself.
        let _ended = orders.send(Order::Ended(threads.wait()));
    });
    loop {
        let order = match gateway.certificate_watch() {
            Some(pause) => match inbox.recv_timeout(pause) {
                Ok(order) => order,
                Err(_nothing_to_do) => {
                    gateway.look_at_certificates();
                    continue;
                }
            },
            None => inbox.recv().expect("the waiter holds the other end until all has ended"),
        };
        if let Some(ended) = follow(&mut gateway, order) {
            drop(gateway);
            return exit(ended);
        }
    }
}

/// Does what is ordered; `Some` when there is nothing left to do.
fn follow(gateway: &mut Gateway, order: Order) -> Option<Ended> {
    match order {
        Order::Reload(asker) => {
            let answer = gateway.reload();
            process_log::set_level(gateway.log_level());
            if let Some(asker) = asker {
                // Who asked may have lost patience.
                let _gone = asker.try_send(answer.map_err(|error| error.to_string()));
            }
        }
        Order::ReopenLogs => gateway.reopen_logs(),
        Order::Drain if !gateway.is_draining() => {
            tracing::info!("draining: waiting for connections to end");
            gateway.drain();
        }
        Order::Drain | Order::Stop => {
            tracing::info!("stopping now");
            gateway.stop();
        }
        Order::Ended(ended) => return Some(ended),
    }
    None
}

fn listen_to_signals(orders: SyncSender<Order>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let order = match signal {
                SIGHUP => Order::Reload(None),
                SIGUSR1 => Order::ReopenLogs,
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

fn exit(ended: Ended) -> Exit {
    if ended.cut > 0 {
        tracing::warn!(connections = ended.cut, "drain timed out, connections were cut off");
        return Exit::DrainTimedOut;
    }
    Exit::Success
}
