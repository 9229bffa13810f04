//! Before everything else, where a listener wants it: a header of the PROXY protocol, by which a
//! trusted sender says where the connection is from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::outcome::{Cause, Reason};
use super::{Connection, Context, Phase};
use crate::buf::Buf;
use crate::config::model::ProxyVersions;
use crate::engine::{CloseMode, Side};
use crate::proxy::{Addresses, Header, Progress, Reader, Versions};
use crate::telemetry::ProxyHeader;

/// What is known of a connection beyond its own sockets.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// What a trusted sender has said of it.
    pub(super) said: Option<Box<Header>>,
    /// Where its peer has connected to.
    pub(super) at: Option<SocketAddr>,
    /// By which its component is going to know it.
    pub(super) unique_id: Option<Arc<str>>,
}

/// What has come of a header.
#[derive(Debug)]
pub(super) struct Introduction {
    reader: Reader,
    /// Bytes of the budget for unfinished hellos that it holds.
    pub(super) charged: usize,
}

impl Introduction {
    fn new(versions: ProxyVersions) -> Self {
        let versions = match versions {
            ProxyVersions::One => Versions::One,
            ProxyVersions::Two => Versions::Two,
            ProxyVersions::Any => Versions::Any,
        };
        Self { reader: Reader::of(versions), charged: 0 }
    }
}

impl Connection {
    /// Where the connection is from: what a trusted sender says, else its peer. `None` for unix
    /// sockets.
    pub fn source_address(&self) -> Option<SocketAddr> {
        self.proxied_source().or(self.peer)
    }

    /// The address alone.
    pub fn source(&self) -> Option<IpAddr> {
        self.source_address().map(|source| source.ip())
    }

    /// Where a trusted sender says that it is from.
    pub(super) fn proxied_source(&self) -> Option<SocketAddr> {
        self.introduced_as()?.addresses.source()
    }

    /// What a trusted sender has said of it.
    pub(super) fn introduced_as(&self) -> Option<&Header> {
        self.proxy.as_ref()?.said.as_deref()
    }

    pub(super) fn on_accepted(&mut self, cx: &mut Context<'_>) {
        let came_by_ip = self.proxy.as_ref().is_some_and(|proxy| proxy.at.is_some());
        if self.peer.is_none() && came_by_ip {
            // Nobody knows any more whose it was, so nobody can be told. HAProxy resets its health
            // checks that soon.
            return self.end_now(Reason::Reset, Cause::Downstream, CloseMode::Reset, cx);
        }
        let Some(proxy) = &self.policy.proxy_in else { return self.first_look(cx) };
        if !self.policy.believes(self.source()) {
            let (reason, cause) = (Reason::ProxyUntrusted, Cause::Policy);
            return self.end_now(reason, cause, CloseMode::Reset, cx);
        }
        self.phase = Phase::Introduction(Box::new(Introduction::new(proxy.versions)));
    }

    pub(super) fn on_introduction_bytes(&mut self, mut buf: Buf, cx: &mut Context<'_>) {
        let Phase::Introduction(introduction) = &mut self.phase else { return };
        match introduction.reader.feed(buf.contiguous()) {
            Ok(Progress::NeedMore) => self.hold_introduction(cx),
            Ok(Progress::Complete { consumed, header }) => {
                self.introduced(header, cx);
                buf.advance(consumed);
                if !buf.is_empty() && self.ending.is_none() {
                    self.on_received(Side::Downstream, buf, cx);
                }
            }
            Ok(Progress::Absent) => {
                self.end_now(Reason::ProxyMissing, Cause::Downstream, CloseMode::Reset, cx);
            }
            Err(error) => {
                let ending = self.end(Reason::ProxyMalformed, Cause::Downstream, cx);
                ending.detail(&error).close_downstream(CloseMode::Reset);
            }
        }
    }

    /// The peer left before it had said where it is from.
    pub(super) fn introduction_eof(&mut self, cx: &mut Context<'_>) {
        self.end_now(Reason::ProxyEof, Cause::Downstream, CloseMode::Fin, cx);
    }

    /// The rest of it is still to come: what is held counts as a hello does.
    fn hold_introduction(&mut self, cx: &mut Context<'_>) {
        let source = self.source();
        let Phase::Introduction(introduction) = &mut self.phase else { return };
        let held = introduction.reader.held().len();
        if cx.hellos.change(source, introduction.charged, held) {
            introduction.charged = held;
        } else {
            self.end_now(Reason::HelloMemory, Cause::Policy, CloseMode::Reset, cx);
        }
    }

    /// From here on, the connection is from where the header says.
    fn introduced(&mut self, header: Box<Header>, cx: &mut Context<'_>) {
        // It was the sender's.
        self.release_hello(cx);
        self.phase = Phase::Accepted;
        let said = match &header.addresses {
            Addresses::Inet { .. } => ProxyHeader::Source,
            Addresses::Local => ProxyHeader::Local,
            Addresses::Unknown | Addresses::Unix { .. } => ProxyHeader::Unknown,
        };
        cx.telemetry.on_proxy_header(self.policy.index, said);
        self.proxy.get_or_insert_default().said = Some(header);
        if !self.policy.introduces {
            self.forget_said();
        }
        self.first_look(cx);
    }
}
