//! A running gateway as a service: follows orders, and tells the service manager how things stand.

#![expect(clippy::disallowed_methods, reason = "an edge: when files were looked at")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use rustix::process::Signal;

use super::{Exit, process_log};
use crate::app::control::{Asked, Request, Response};
use crate::app::orders::Order;
use crate::app::{Ended, Gateway, ReloadError, Reloaded};
use crate::handover::{Program, Successor};
use crate::systemd::{Notifier, State, Watchdog};
use crate::telemetry::snapshot::STUCK;

/// See the module.
pub(super) struct Service {
    gateway: Gateway,
    orders: SyncSender<Order>,
    inbox: Receiver<Order>,
    /// What a restart starts; without it there are none.
    program: Option<Program>,
    notifier: Arc<Notifier>,
    watchdog: Option<Watchdog>,
    /// Another process serves: an order to drain is for that one, too, and drains this no faster.
    is_succeeded: bool,
    /// What was ordered while a new process was about to serve, and is for that one.
    to_pass_on: Option<Signal>,
    /// Every worker has ended meanwhile.
    ended: Option<Ended>,
}

impl Service {
    /// Follows the orders in `inbox`, whose other end is `orders`.
    pub(super) fn new(
        gateway: Gateway,
        orders: SyncSender<Order>,
        inbox: Receiver<Order>,
        program: Option<Program>,
    ) -> Self {
        Self {
            gateway,
            orders,
            inbox,
            program,
            notifier: Arc::new(Notifier::from_environment()),
            watchdog: None,
            is_succeeded: false,
            to_pass_on: None,
            ended: None,
        }
    }

    /// Until all has ended.
    pub(super) fn run(mut self) -> Exit {
        self.gateway.appear();
        let (threads, orders) = (self.gateway.take_threads(), self.orders.clone());
        std::thread::spawn(move || {
            // Fails only when the loop below has ended by itself.
            let _ended = orders.send(Order::Ended(threads.wait()));
        });
        self.notifier.tell(&[State::Ready, State::Status("serving")]);
        self.start_watchdog();
        let mut looked = Instant::now();
        let ended = loop {
            let order = match self.gateway.watch_pause() {
                Some(pause) => {
                    // Counted from the last look, so that orders do not put the next one off.
                    let passed = looked.elapsed();
                    if passed >= pause {
                        looked += passed;
                        self.gateway.look_at_files(passed);
                        continue;
                    }
                    match self.inbox.recv_timeout(pause - passed) {
                        Ok(order) => order,
                        Err(_nothing_to_do) => continue,
                    }
                }
                None => self.inbox.recv().expect("this holds the other end"),
            };
            if let Some(ended) = self.follow(order) {
                break ended;
            }
        };
        let Self { gateway, inbox, .. } = self;
        // First, so that nobody who the gateway waits for waits for room in it.
        drop(inbox);
        drop(gateway);
        exit(ended)
    }

    /// Does what is ordered; `Some` when there is nothing left to do.
    fn follow(&mut self, order: Order) -> Option<Ended> {
        match order {
            Order::Reload => drop(self.reload()),
            Order::Asked(asked) => {
                let Asked { request, content, reply } = *asked;
                let response = match request {
                    Request::Reload => Response::of_reload(self.reload()),
                    Request::SetLogLevel { level } => {
                        process_log::set_level(level);
                        let until = "until the next configuration is loaded";
                        let text = format!("the log level is {} {until}", level.as_str());
                        Response::Changed { text }
                    }
                    request => self.gateway.answer(request, content),
                };
                // Who asked may have lost patience.
                let _gone = reply.try_send(response);
            }
            Order::Restart => match &self.program {
                Some(program) => self.gateway.restart(program, self.orders.clone()),
                None => tracing::warn!("this command cannot restart; the signal is ignored"),
            },
            Order::HandedOver(result) => {
                match self.gateway.end_restart(result) {
                    Some(successor) => self.make_way(successor),
                    None => self.go_on(),
                }
                return self.ended.take();
            }
            Order::ReopenLogs => self.gateway.reopen_logs(),
            Order::Drain if std::mem::take(&mut self.is_succeeded) => {}
            Order::Drain if !self.gateway.abort_restart() => {
                let is_first = self.to_pass_on.is_none();
                self.pass_on(if is_first { Signal::TERM } else { Signal::INT });
            }
            Order::Stop if !self.gateway.abort_restart() => self.pass_on(Signal::INT),
            Order::Drain if !self.gateway.is_draining() => self.drain(),
            Order::Drain | Order::Stop => self.stop(),
            Order::Ended(ended) if !self.gateway.abort_restart() => self.ended = Some(ended),
            Order::Ended(ended) => return Some(ended),
        }
        None
    }

    fn drain(&mut self) {
        tracing::info!("draining: waiting for connections to end");
        self.notifier.tell(&[State::Stopping, State::Status("draining")]);
        self.gateway.drain();
    }

    fn stop(&mut self) {
        tracing::info!("stopping now");
        self.notifier.tell(&[State::Stopping, State::Status("stopping")]);
        self.gateway.stop();
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        self.notifier.tell(&[State::Reloading]);
        let answer = self.gateway.reload();
        process_log::set_level(self.gateway.log_level());
        let status = match &answer {
            Ok(reloaded) => format!("serving generation {}", reloaded.generation),
            Err(_) => "serving; the last configuration was refused, see the log".to_owned(),
        };
        if !self.gateway.is_draining() {
            self.notifier.tell(&[State::Ready, State::Status(&status)]);
        }
        answer
    }

    /// The successor is the service from now on.
    fn make_way(&mut self, successor: Successor) {
        self.watchdog = None;
        // Before it says anything itself: systemd listens only to whom it takes for the service.
        self.notifier.tell(&[State::MainPid(successor.pid)]);
        self.notifier = Arc::new(Notifier::none());
        let signal = self.to_pass_on.take();
        self.is_succeeded = signal.is_none();
        successor.release(signal);
        if signal == Some(Signal::INT) {
            self.stop();
        }
    }

    fn pass_on(&mut self, signal: Signal) {
        tracing::info!("the new process is about to serve: the signal is for that one");
        self.to_pass_on = Some(signal);
    }

    /// There is no successor.
    fn go_on(&mut self) {
        match self.to_pass_on.take() {
            Some(Signal::INT) => self.stop(),
            Some(_) => self.drain(),
            None if self.gateway.is_draining() => {}
            None => {
                let status = "serving; the last restart failed, see the log";
                self.notifier.tell(&[State::Status(status)]);
            }
        }
    }

    fn start_watchdog(&mut self) {
        let Some(interval) = Watchdog::interval() else { return };
        let telemetry = self.gateway.telemetry();
        let limit = STUCK.min(interval / 2);
        let is_alive =
            move || telemetry.snapshot().is_ok_and(|snapshot| snapshot.stuck(limit).is_empty());
        match Watchdog::start(interval, Arc::clone(&self.notifier), is_alive) {
            Ok(watchdog) => self.watchdog = Some(watchdog),
            Err(error) => tracing::error!(%error, "cannot start the watchdog's thread"),
        }
    }
}

fn exit(ended: Ended) -> Exit {
    if ended.cut > 0 {
        tracing::warn!(connections = ended.cut, "drain timed out, connections were cut off");
        return Exit::DrainTimedOut;
    }
    Exit::Success
}
