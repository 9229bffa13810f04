//! Frames come back whatever the stream is cut into, and garbage is refused.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

fn frames() -> impl Strategy<Value = Frame> {
    let bytes = || vec(any::<u8>(), 0..300);
    let established = (
        (any::<u16>(), any::<u16>(), of(".{0,20}"), of(bytes())),
        (any::<bool>(), any::<bool>(), vec(bytes(), 0..3)),
    );
    let established =
        established.prop_map(|((version, suite, group, alpn), (resumed, shown, certificates))| {
            Established { version, suite, group, alpn, resumed, shown, certificates }
        });
    let failed = (".{0,20}", ".{0,200}", of(any::<u8>()), of(any::<u8>()), of(".{0,9}")).prop_map(
        |(reason, detail, alert_sent, alert_received, certificate)| Failed {
            reason,
            detail,
            alert_sent,
            alert_received,
            certificate,
        },
    );
    prop_oneof![
        (bytes(), bytes()).prop_map(|(hello, rest)| Frame::Hello { hello, rest }),
        Just(Frame::Start),
        Just(Frame::CloseNotify),
        any::<u8>().prop_map(Frame::Alert),
        Just(Frame::Fin),
        established.prop_map(|established| Frame::Established(Box::new(established))),
        failed.prop_map(Frame::Failed),
        Just(Frame::Nothing),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Data(Vec<u8>),
    Frame(Frame),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![vec(any::<u8>(), 0..300).prop_map(Said::Data), frames().prop_map(Said::Frame)]
}

fn encode(said: &Said) -> Vec<u8> {
    match said {
        Said::Data(data) => [&data_head(data.len())[..], data].concat(),
        Said::Frame(frame) => frame.encode(),
    }
}

/// Data that follow each other as one, and none that are empty.
fn merged(all: impl IntoIterator<Item = Said>) -> Vec<Said> {
    let mut merged: Vec<Said> = Vec::new();
    for said in all {
        match (merged.last_mut(), said) {
            (_, Said::Data(data)) if data.is_empty() => {}
            (Some(Said::Data(before)), Said::Data(data)) => before.extend(data),
            (_, said) => merged.push(said),
        }
    }
    merged
}

/// Everything that `pieces` say, one after the other.
fn read(pieces: &[&[u8]]) -> Result<Vec<Said>, FrameError> {
    let (mut reader, mut all) = (FrameReader::default(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while let Some(part) = reader.next(&mut piece)? {
            all.push(match part {
                Part::Data(data) => Said::Data(data.to_vec()),
                Part::Frame(frame) => Said::Frame(frame),
            });
        }
        assert!(piece.is_empty(), "all is taken");
    }
    Ok(merged(all))
}

proptest! {
    #[test]
    fn frames_come_back_however_they_are_cut(all in vec(said(), 0..6), size in 1_usize..40) {
        let stream: Vec<u8> = all.iter().flat_map(encode).collect();
        let expected = merged(all);
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        prop_assert_eq!(read(&pieces), Ok(expected.clone()));
        prop_assert_eq!(read(&[&stream]), Ok(expected));
    }

    #[test]
    fn garbage_does_not_panic_and_takes_no_memory(mut garbage in vec(any::<u8>(), 0..400), kind in 0_u8..12) {
        if let Some(first) = garbage.first_mut() {
            *first = kind;
        }
        let (mut reader, mut input) = (FrameReader::default(), &garbage[..]);
        while let Ok(Some(_)) = reader.next(&mut input) {}
        prop_assert!(reader.body.capacity() <= 2 * garbage.len().max(8));
    }

    /// There is one frame for what is understood.
    #[test]
    fn a_body_is_refused_or_exact(body in vec(any::<u8>(), 0..60), kind in 0_u8..12) {
        if let Ok(frame) = Frame::decode(kind, &body) {
            prop_assert_eq!(&frame.encode()[HEAD..], &body);
        }
    }
}

#[test]
fn what_is_too_long_is_refused_by_its_head() {
    for (kind, most) in [(1, MAX_LONG), (7, MAX_LONG), (8, MAX_SHORT), (6, MAX_SHORT)] {
        let refused = read(&[&head(kind, most + 1)]);
        assert_eq!(refused, Err(FrameError::TooLong(kind, most + 1)));
        assert_eq!(read(&[&head(kind, most)]), Ok(vec![]), "the rest is waited for");
    }
    assert_eq!(read(&[&head(0, 0)]), Err(FrameError::UnknownKind(0)));
    assert_eq!(read(&[&head(10, 0)]), Err(FrameError::UnknownKind(10)));
    assert_eq!(read(&[&[6, 0, 0, 1, 0]]), Err(FrameError::BadBody));
}
