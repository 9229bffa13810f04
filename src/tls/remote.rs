//! A session that the legacy lane's child holds, as a connection sees it: what a peer says comes as
//! frames over the pair of sockets that leads to the child, and what it is told goes that way.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, NamedGroup};

use super::alert::plaintext_alert;
use super::error::TlsError;
use super::lane::Lane;
use super::resumption::Refusal;
use super::tls_conn::{Agreed, Output, TlsConn};
use super::trust::CertificateProblem;
use crate::buf::{Buf, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::Reason;
use crate::lane::Profile;
use crate::lane::frame::{
    Established, Failed, Frame, FrameReader, NOTHING, Part, queue_data, queue_frame,
};

/// See the module.
pub struct RemoteConn {
    profile: Arc<Profile>,
    as_client: bool,
    /// What the child is to hear first, until it has been passed the socket.
    first: Option<Frame>,
    reader: FrameReader,
    agreed: Option<Box<Agreed>>,
    closed: bool,
    peer_closed: bool,
    /// The child has said that the peer's stream has ended.
    fin: bool,
}

impl RemoteConn {
    /// A session as the server, that nobody has been told of yet.
    pub fn accept(profile: Arc<Profile>) -> Self {
        Self::new(profile, None)
    }

    /// The same as the client.
    pub fn connect(profile: Arc<Profile>) -> Self {
        Self::new(profile, Some(Frame::Start))
    }

    fn new(profile: Arc<Profile>, first: Option<Frame>) -> Self {
        Self {
            profile,
            as_client: first.is_some(),
            first,
            reader: FrameReader::default(),
            agreed: None,
            closed: false,
            peer_closed: false,
            fin: false,
        }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), TlsError> {
        match frame {
            Frame::Established(established) if self.agreed.is_none() => {
                self.agreed = Some(Box::new(agreed(*established)?));
            }
            Frame::CloseNotify if self.agreed.is_some() => self.peer_closed = true,
            Frame::Fin => self.fin = true,
            Frame::Nothing => {}
            Frame::Failed(failed) => return Err(self.failure(failed)),
            _ => return Err(out_of_turn()),
        }
        Ok(())
    }

    fn failure(&self, failed: Failed) -> TlsError {
        let Some(mut reason) = Reason::of_word(&failed.reason) else { return out_of_turn() };
        let left = matches!(reason, Reason::Reset | Reason::Vanished);
        if left && self.as_client && self.agreed.is_none() {
            reason = Reason::UpstreamHandshakeEof;
        }
        let word = failed.certificate.as_deref();
        let is_word = |problem: &CertificateProblem| Some(problem.as_str()) == word;
        TlsError {
            reason,
            detail: failed.detail.into(),
            alert_sent: failed.alert_sent,
            alert_received: failed.alert_received,
            certificate: CertificateProblem::ALL.into_iter().find(is_word),
        }
    }
}

impl TlsConn for RemoteConn {
    fn lane(&self) -> Lane {
        Lane::Legacy
    }

    fn remote(&self) -> Option<&Arc<Profile>> {
        Some(&self.profile)
    }

    fn passed(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) {
        if let Some(first) = self.first.take() {
            queue_frame(records, pool, &first.encode());
        }
    }

    fn start(&mut self, hello: &mut [u8], _output: &mut Output<'_>) -> Result<(), TlsError> {
        self.first = Some(Frame::Hello { hello: hello.to_vec(), rest: Vec::new() });
        Ok(())
    }

    fn receive(&mut self, mut input: Buf, output: &mut Output<'_>) -> Result<(), TlsError> {
        if let Some(Frame::Hello { rest, .. }) = &mut self.first {
            // It came with the hello, and is the peer's.
            input.parts().for_each(|part| rest.extend_from_slice(part));
            return Ok(());
        }
        let mut bytes = &*input.contiguous();
        while !self.peer_closed {
            match self.reader.next(&mut bytes).map_err(TlsError::local)? {
                None => break,
                Some(Part::Data(_)) if self.agreed.is_none() => return Err(out_of_turn()),
                // No longer than the buffer that they came in.
                Some(Part::Data(data)) => output.plaintext.push_back(output.pool.copy_of(data)),
                Some(Part::Frame(frame)) => self.on_frame(frame)?,
            }
        }
        Ok(())
    }

    fn is_sign_of_life(&self, input: &[u8]) -> bool {
        input == NOTHING
    }

    fn end_of_stream(&mut self) -> Result<(), TlsError> {
        if self.fin {
            return Ok(());
        }
        let reason = Reason::LegacyDied;
        Err(TlsError { reason, ..TlsError::local("the process of the legacy lane has ended") })
    }

    fn seal(
        &mut self,
        plaintext: Buf,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<(), TlsError> {
        plaintext.parts().for_each(|part| queue_data(records, pool, part));
        Ok(())
    }

    fn close_notify(&mut self, pool: &Pool, records: &mut VecDeque<Buf>) -> Result<(), TlsError> {
        self.closed = true;
        queue_frame(records, pool, &Frame::CloseNotify.encode());
        Ok(())
    }

    fn first_alert(&self, description: u8) -> Vec<u8> {
        match self.first {
            // The socket is the peer's still.
            Some(_) => plaintext_alert(description).to_vec(),
            None => Frame::Alert(description).encode(),
        }
    }

    /// The child cannot: OpenSSL sends no alert of our choice.
    fn last_alert(self: Box<Self>, _description: u8) -> Option<Vec<u8>> {
        None
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_deref()
    }

    fn has_closed(&self) -> bool {
        self.closed
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    fn resumption_refused(&self) -> Option<Refusal> {
        None
    }
}

/// What the child says of a handshake that is done.
fn agreed(said: Established) -> Result<Agreed, TlsError> {
    let spoken = |version: &TlsVersion| version.code() == said.version;
    let named =
        |name: String| GROUPS.iter().filter_map(NamedGroup::as_str).find(|known| *known == name);
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into();
    Ok(Agreed {
        version: TlsVersion::ALL.into_iter().find(spoken).ok_or_else(out_of_turn)?,
        suite: CipherSuite::from(said.suite),
        group: said.group.and_then(named),
        alpn: said.alpn.map(text),
        resumed: said.resumed,
        shown: said.shown,
        certificates: said.certificates.into_iter().map(CertificateDer::from).collect(),
    })
}

fn out_of_turn() -> TlsError {
    TlsError::local("the process of the legacy lane said what makes no sense")
}

/// Groups of old TLS and of OpenSSL that there are words for.
const GROUPS: [NamedGroup; 6] = [
    NamedGroup::secp256r1,
    NamedGroup::secp384r1,
    NamedGroup::secp521r1,
    NamedGroup::X25519,
    NamedGroup::X448,
    NamedGroup::FFDHE2048,
];

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
