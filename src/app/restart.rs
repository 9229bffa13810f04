//! Handing over to a new process: the old process's part of a restart.

use std::io;
use std::sync::mpsc::SyncSender;

use super::Gateway;
use super::orders::Order;
use super::start::admin_key;
use crate::admin::Admin;
use crate::handover::wire::MAX_CHUNK;
use crate::handover::{Group, HandOver, Offer, Opaque, Program, Purpose, Successor};
use crate::tls::resumption::Resumption;

impl Gateway {
    /// Starts `program` to take over from this process. How that went becomes an order:
    /// [`Order::HandedOver`], for [`Gateway::end_restart`].
    pub fn restart(&mut self, program: &Program, orders: SyncSender<Order>) {
        if self.draining {
            tracing::warn!("no restart: the gateway is going down");
        } else if self.hand_over.is_some() {
            tracing::warn!("no restart: one is under way");
        } else if std::process::id() == INIT {
            tracing::warn!("no restart: this is process 1, with which all others end");
        } else if let Err(error) = self.start_successor(program, orders) {
            tracing::error!(%error, "restart failed, this process goes on");
        }
    }

    fn start_successor(&mut self, program: &Program, orders: SyncSender<Order>) -> io::Result<()> {
        if let Some(warning) = self.replacements.warning() {
            tracing::warn!("{warning}: the new process reads the files");
        }
        let limit = self.config.gateway.restart_timeout;
        let tell = move |result| {
            // Fails only when the program has ended meanwhile: not while a successor may serve.
            let _ended = orders.send(Order::HandedOver(result));
        };
        let starter =
            self.starter.clone().ok_or_else(|| io::Error::other("there is no starter"))?;
        let what = (starter, program.clone());
        self.hand_over = Some(HandOver::start(what, self.offer(), limit, tell)?);
        Ok(())
    }

    fn offer(&self) -> Offer {
        // Listeners first: their numbers are those of their addresses.
        let mut groups = self.listening.groups();
        let admin = self.config.admin.listen.zip(self.admin.as_ref().and_then(Admin::socket));
        groups.extend(admin.map(|(address, socket)| Group {
            purpose: Purpose::Admin,
            address: admin_key(address).into_bytes(),
            sockets: vec![socket],
        }));
        // What components gave us stays: rustls does not let go of it.
        let Resumption { store, keys, upstream: _ } = &self.standing.resumption;
        let mut sessions = store.export(MAX_CHUNK);
        Offer {
            groups,
            ticket_keys: vec![keys.export().into()],
            sessions: Box::new(move || sessions.next().map(Opaque::from)),
        }
    }

    /// The end of what [`Gateway::restart`] began. When the new process serves, this one stops
    /// accepting and drains; the new one is to be told that ([`Successor::release`]).
    pub fn end_restart(&mut self, result: Result<Successor, String>) -> Option<Successor> {
        if let Some(hand_over) = self.hand_over.take() {
            hand_over.finish();
        }
        match result {
            Ok(successor) => {
                self.follow_into(&successor);
                Some(successor)
            }
            Err(_) if self.draining => None,
            Err(reason) => {
                tracing::error!("restart failed, this process goes on:\n{reason}");
                None
            }
        }
    }

    /// The lifecycle stays: peers of the admin port ask for the service, which still accepts.
    fn follow_into(&mut self, successor: &Successor) {
        let left = self.listening.sockets_of(&successor.taken);
        if let Some(admin) = &mut self.admin {
            admin.retire();
        }
        if let Some(control) = &mut self.control {
            control.leave();
        }
        self.close_listeners();
        self.drain_workers(self.config.gateway.drain_timeout, &left);
        tracing::info!(
            pid = successor.pid,
            "the new process serves; draining: waiting for connections to end"
        );
    }

    /// Gives a restart up that is under way, because this process is to end. False when it is too
    /// late for that: the new process is about to serve, and how that goes must be waited for.
    pub fn abort_restart(&self) -> bool {
        self.hand_over.as_ref().is_none_or(HandOver::abort)
    }
}

/// The first process of a container: when it ends, the kernel ends the rest (pid_namespaces(7)).
const INIT: u32 = 1;
