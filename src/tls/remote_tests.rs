//! What a session makes of what the child says.

use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::tls::trust::CertificateProblem;

struct Rig {
    tls: RemoteConn,
    pool: Pool,
    plaintext: VecDeque<Buf>,
    records: VecDeque<Buf>,
}

impl Rig {
    fn new(as_client: bool) -> Self {
        let profile = Arc::new(Profile::new(Zeroizing::new(b"a profile".to_vec())));
        let make = if as_client { RemoteConn::connect } else { RemoteConn::accept };
        let (plaintext, records) = (VecDeque::new(), VecDeque::new());
        Self { tls: make(profile), pool: Pool::new(1 << 20, 0), plaintext, records }
    }

    fn established(as_client: bool) -> Self {
        let mut rig = Self::new(as_client);
        let established = Established { version: 0x0302, suite: 0x002f, ..Established::default() };
        rig.hears(&Frame::Established(Box::new(established)).encode()).expect("agreed");
        rig
    }

    fn hears(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let buf = self.pool.copy_of(bytes);
        let Self { tls, pool, plaintext, records } = self;
        tls.receive(buf, &mut Output { pool, plaintext, records })
    }

    fn reason(&mut self, frame: &Frame) -> Reason {
        self.hears(&frame.encode()).expect_err("the session is over").reason
    }
}

fn failed(reason: &str) -> Frame {
    Frame::Failed(Failed { reason: reason.to_owned(), ..Failed::default() })
}

#[test]
fn it_is_up_when_the_child_says_so() {
    let mut rig = Rig::new(false);
    assert!(rig.tls.is_handshaking() && rig.tls.version().is_none());
    assert_eq!(rig.tls.facts().version, "unknown");
    rig = Rig::established(false);
    assert!(!rig.tls.is_handshaking());
    assert_eq!(rig.tls.version(), Some(TlsVersion::V1_1));
    let facts = rig.tls.facts();
    assert_eq!((facts.version, facts.cipher_suite), ("TLSv1.1", "TLS_RSA_WITH_AES_128_CBC_SHA"));
}

#[test]
fn the_child_hears_the_hello_and_what_came_behind_it_first() {
    let mut rig = Rig::new(false);
    let Rig { tls, pool, plaintext, records } = &mut rig;
    let mut output = Output { pool, plaintext, records };
    tls.start(&mut b"hello".to_vec(), &mut output).expect("kept");
    rig.hears(b"more").expect("kept, too");
    let hello = Frame::Hello { hello: b"hello".to_vec(), rest: b"more".to_vec() };
    for (mut rig, first) in [(rig, hello), (Rig::new(true), Frame::Start)] {
        assert!(rig.tls.remote().is_some() && rig.records.is_empty());
        rig.tls.passed(&rig.pool, &mut rig.records);
        let sent: Vec<u8> = rig.records.iter().flat_map(|buf| buf.to_vec()).collect();
        assert_eq!(sent, first.encode());
    }
}

#[test]
fn what_failed_is_told_in_its_words() {
    let said = Frame::Failed(Failed {
        reason: "client_certificate_invalid".to_owned(),
        detail: "it has expired".to_owned(),
        alert_sent: Some(45),
        alert_received: Some(3),
        certificate: Some(CertificateProblem::SelfSigned.as_str().to_owned()),
    });
    let error = Rig::new(false).hears(&said.encode()).expect_err("it is over");
    assert_eq!(error.reason, Reason::ClientCertificateInvalid);
    assert_eq!(&*error.detail, "it has expired");
    assert_eq!((error.alert_sent, error.alert_received), (Some(45), Some(3)));
    assert_eq!(error.certificate, Some(CertificateProblem::SelfSigned));
}

#[test]
fn a_component_that_leaves_in_its_handshake_is_told_as_ever() {
    assert_eq!(Rig::new(true).reason(&failed("reset")), Reason::UpstreamHandshakeEof);
    assert_eq!(Rig::established(true).reason(&failed("reset")), Reason::Reset);
    assert_eq!(Rig::new(false).reason(&failed("reset")), Reason::Reset);
}

#[test]
fn the_end_of_the_way_is_the_childs_unless_it_has_said_whose() {
    let mut rig = Rig::established(false);
    let died = rig.tls.end_of_stream().map_err(|error| error.reason);
    assert_eq!(died, Err(Reason::LegacyDied));
    rig.hears(&Frame::Fin.encode()).expect("an end");
    assert!(rig.tls.end_of_stream().is_ok());
}

#[test]
fn what_makes_no_sense_ends_the_session() {
    let data = [3, 0, 0, 1, 7];
    assert_eq!(Rig::new(false).hears(&data).expect_err("too early").reason, Reason::Internal);
    for frame in [Frame::CloseNotify, Frame::Established(Box::default()), failed("no such word")] {
        assert_eq!(Rig::new(false).reason(&frame), Reason::Internal, "{frame:?}");
    }
    for frame in [Frame::Start, Frame::Alert(1), Frame::Established(Box::default())] {
        assert_eq!(Rig::established(false).reason(&frame), Reason::Internal, "{frame:?}");
    }
}

#[test]
fn what_is_said_goes_out_in_frames() {
    let mut rig = Rig::established(false);
    let Rig { tls, pool, records, .. } = &mut rig;
    tls.seal(pool.copy_of(b"data"), pool, records).expect("sealed");
    tls.close_notify(pool, records).expect("said");
    let sent: Vec<u8> = records.iter().flat_map(|buf| buf.to_vec()).collect();
    assert_eq!(sent, [&[3, 0, 0, 4][..], b"data", &[4, 0, 0, 0]].concat());
    assert!(tls.has_closed());
    assert_eq!(Box::new(rig.tls).last_alert(44), None, "OpenSSL sends none of our choice");
    assert_eq!(Rig::established(false).tls.first_alert(44), Frame::Alert(44).encode());
}

proptest! {
    #[test]
    fn garbage_from_the_child_does_not_panic(garbage in vec(any::<u8>(), 0..400), kind in 0_u8..12) {
        let mut garbage = garbage;
        if let Some(first) = garbage.first_mut() {
            *first = kind;
        }
        for mut rig in [Rig::new(false), Rig::established(true)] {
            if rig.hears(&garbage).is_ok() {
                let _heard = rig.hears(&garbage);
            }
        }
    }
}
