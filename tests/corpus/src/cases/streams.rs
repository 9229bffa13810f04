//! What is wrong around the message: other protocols, records, order, length, an early end.

use super::{
    ANSWERED, BAD_RECORD, Cases, NOT_DECODED, NOT_TLS, OVERFLOW, SSL2, SSL3, SSLV2_FORMAT,
    TOO_LARGE, UNDECODABLE, UNEXPECTED, UNFINISHED,
};
use crate::Outcome;
use crate::hello::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Hello, KEY_SHARE, MAX_RECORD, PADDING,
    RENEGOTIATION_INFO, SUPPORTED_GROUPS, SUPPORTED_VERSIONS, fix_length, list16, record, records,
};

pub(super) fn add(cases: &mut Cases) {
    good(cases);
    not_tls(cases);
    records_wrong(cases);
    interrupted(cases);
    messages_wrong(cases);
    cut(cases);
}

/// Odd and allowed: the other cases differ from these by their break only.
fn good(cases: &mut Cases) {
    cases.hello("good_tls13", ANSWERED, |_| ());
    cases.hello12("good_tls12", ANSWERED, |_| ());
    cases.hello12("good_tls12_renegotiation_info", ANSWERED, |hello| {
        hello.set(RENEGOTIATION_INFO, &[0]);
    });
    cases.hello("good_with_grease", ANSWERED, |hello| {
        hello.suites.splice(0..0, [0x0a, 0x0a]);
        hello.set(SUPPORTED_GROUPS, &[0, 6, 0x1a, 0x1a, 0, 29, 0, 23]);
        hello.set(SUPPORTED_VERSIONS, &[6, 0x2a, 0x2a, 3, 4, 3, 3]);
        let list = hello.extensions.get_or_insert_default();
        list.insert(0, (0x3a3a, Vec::new()));
        list.push((0x4a4a, vec![0]));
    });
    cases.hello("good_with_unknown_extension", ANSWERED, |hello| hello.set(0x7777, &[1; 99]));
    cases.hello("good_with_padding", ANSWERED, |hello| hello.set(PADDING, &[0; 300]));
    cases.hello("good_group_without_share", ANSWERED, |hello| {
        // Asks for a HelloRetryRequest.
        hello.set(KEY_SHARE, &[0, 0]);
    });
    let message = Hello::tls13().message();
    for size in [1, 2, 3, 4, 5, 16, 100] {
        let outcome = ANSWERED;
        cases.stream(format!("good_records_of_{size}"), outcome, records(&message, size));
    }
    for minor in [0, 2, 3, 4, 255] {
        let mut stream = Hello::tls13().stream();
        stream[2] = minor;
        cases.stream(format!("good_record_version_3_{minor}"), ANSWERED, stream);
    }
}

fn not_tls(cases: &mut Cases) {
    let texts: [(&str, &[u8]); 14] = [
        ("http_get", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("http_post", b"POST /form HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
        ("http_connect", b"CONNECT localhost:443 HTTP/1.1\r\n\r\n"),
        ("http2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("http_unknown_method", b"BREW /pot HTCPCP/1.0\r\n\r\n"),
        ("ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("smtp", b"EHLO peer.example\r\n"),
        ("sip", b"REGISTER sip:component.example SIP/2.0\r\n\r\n"),
        ("newlines", b"\r\n\r\n\r\n\r\n\r\n\r\n"),
        ("proxy_v1_tcp4", b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n"),
        ("proxy_v1_tcp6", b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n"),
        ("proxy_v1_unknown", b"PROXY UNKNOWN\r\n"),
        ("proxy_v1_without_end", b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443"),
        ("proxy_v1_garbage", b"PROXY \xff\xff\xff\xff\r\n"),
    ];
    for (name, text) in texts {
        cases.stream(name, NOT_TLS, text.to_vec());
    }
    let hello = Hello::tls13().stream();
    let proxy1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n";
    cases.stream("proxy_v1_before_hello", NOT_TLS, [&proxy1[..], &hello].concat());
    let proxy2 = proxy_v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 1, 0xbb]);
    cases.stream("proxy_v2_tcp4", NOT_TLS, proxy2.clone());
    cases.stream("proxy_v2_before_hello", NOT_TLS, [proxy2, hello].concat());
    cases.stream("proxy_v2_tcp6", NOT_TLS, proxy_v2(0x21, 0x21, &[0x20; 36]));
    cases.stream("proxy_v2_local", NOT_TLS, proxy_v2(0x20, 0, &[]));
    cases.stream("proxy_v2_other_version", NOT_TLS, proxy_v2(0x31, 0x11, &[0; 12]));
    cases.stream("proxy_v2_signature_only", NOT_TLS, proxy_v2(0, 0, &[])[..12].to_vec());
    cases.stream("proxy_v2_cut_in_signature", UNFINISHED, proxy_v2(0, 0, &[])[..6].to_vec());
    cases.stream("proxy_v1_cut_in_word", UNFINISHED, b"PROX".to_vec());
    sslv2(cases);
    cases.stream("binary_zeroes", NOT_TLS, vec![0; 64]);
    cases.stream("binary_ones", NOT_TLS, vec![0xff; 64]);
    cases.stream("dtls_hello", UNDECODABLE, [&[22, 0xfe, 0xfd][..], &[0; 60]].concat());
    cases.stream("nothing", UNFINISHED, Vec::new());
}

/// A header of the PROXY protocol, version 2: signature, version and command, family, addresses.
fn proxy_v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, family]);
    list16(&mut header, addresses, 0);
    header
}

fn records_wrong(cases: &mut Cases) {
    let message = Hello::tls13().message();
    for (name, content) in [
        ("application_data", APPLICATION_DATA),
        ("change_cipher_spec", CHANGE_CIPHER_SPEC),
        ("heartbeat", 24),
        ("type_0", 0),
    ] {
        let stream = record(content, &message);
        cases.stream(format!("record_is_{name}"), NOT_TLS, stream);
    }
    cases.stream("record_is_alert_of_wrong_length", UNEXPECTED, record(ALERT, &message));
    cases.stream("record_is_fatal_alert", NOT_TLS, record(ALERT, &[2, 48]));
    cases.stream("record_is_close_notify", NOT_TLS, record(ALERT, &[1, 0]));
    cases.stream("record_empty", UNDECODABLE, record(HANDSHAKE, &[]));
    let empty_first = [record(HANDSHAKE, &[]), records(&message, MAX_RECORD)].concat();
    cases.stream("record_empty_first", UNDECODABLE, empty_first);
    let major = |major| [&[HANDSHAKE, major][..], &record(HANDSHAKE, &message)[2..]].concat();
    cases.stream("record_version_2_1", UNDECODABLE, major(2));
    cases.stream("record_version_4_1", UNDECODABLE, major(4));
    cases.stream("record_version_0_1", UNDECODABLE, major(0));
    let sized = |length: u16| [&[HANDSHAKE, 3, 1][..], &length.to_be_bytes(), &message].concat();
    cases.stream("record_length_16385", OVERFLOW, sized(16_385));
    cases.stream("record_length_65535", OVERFLOW, sized(65_535));
    cases.stream("record_length_16384_unfilled", UNEXPECTED, {
        // The hello is followed by zeroes in the same record.
        let mut stream = sized(16_384);
        stream.resize(5 + 16_384, 0);
        stream
    });
    let length = u16::try_from(message.len()).expect("a short hello");
    cases.stream("record_length_one_less", UNEXPECTED, {
        // The last byte of the message is the first of a record that is none.
        let mut stream = sized(length - 1);
        *stream.last_mut().expect("not empty") = 1;
        stream
    });
    cases.stream("record_length_one_more", UNFINISHED, sized(length + 1)[..5 + 20].to_vec());
    cases.stream("record_with_more_than_the_hello", UNEXPECTED, {
        records(&[&message[..], &[0]].concat(), MAX_RECORD)
    });
    let twice = [&message[..], &message].concat();
    cases.stream("record_with_two_hellos", UNEXPECTED, records(&twice, MAX_RECORD));
}

/// Something else between the records of one hello, or behind it.
fn interrupted(cases: &mut Cases) {
    let message = Hello::tls13().message();
    let (first, second) = message.split_at(20);
    let (first, second) = (record(HANDSHAKE, first), record(HANDSHAKE, second));
    let between = |middle: Vec<u8>| [&first[..], &middle, &second].concat();
    let alert = |level, description| record(ALERT, &[level, description]);
    cases.stream("interrupted_by_empty_record", UNDECODABLE, between(record(HANDSHAKE, &[])));
    cases.stream("interrupted_by_fatal_alert", NOT_TLS, between(alert(2, 40)));
    cases.stream("interrupted_by_warning_alert", NOT_TLS, between(alert(1, 90)));
    cases.stream("interrupted_by_close_notify", NOT_TLS, between(alert(1, 0)));
    cases.stream("interrupted_by_long_alert", UNEXPECTED, between(record(ALERT, &[1, 0, 1, 0])));
    let data = record(APPLICATION_DATA, b"early");
    cases.stream("interrupted_by_application_data", UNEXPECTED, between(data.clone()));
    let change = record(CHANGE_CIPHER_SPEC, &[1]);
    cases.stream("interrupted_by_change_cipher_spec", UNEXPECTED, between(change.clone()));
    cases.stream("interrupted_by_http", UNEXPECTED, between(b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    cases.stream("interrupted_by_other_version", UNDECODABLE, {
        let mut other = second.clone();
        other[1] = 2;
        [&first[..], &other].concat()
    });
    let hello = Hello::tls13().stream();
    let behind = |rest: Vec<u8>| [&hello[..], &rest].concat();
    cases.stream("followed_by_application_data", BAD_RECORD, behind(data));
    cases.stream("followed_by_change_cipher_spec", ANSWERED, behind(change));
    cases.stream("followed_by_second_hello", BAD_RECORD, behind(hello.clone()));
    let fatal = Outcome::new("alert_received", "-");
    cases.stream("followed_by_fatal_alert", fatal.clone(), behind(alert(2, 48)));
    cases.stream("followed_by_close_notify", fatal, behind(alert(1, 0)));
    let tls12 = [Hello::tls12().stream(), alert(1, 0)].concat();
    cases.stream("followed_by_close_notify_tls12", ANSWERED, tls12);
    cases.stream("followed_by_http", NOT_DECODED, behind(b"GET / HTTP/1.1\r\n\r\n".to_vec()));
}

fn messages_wrong(cases: &mut Cases) {
    for (name, kind) in [
        ("hello_request", 0),
        ("server_hello", 2),
        ("certificate", 11),
        ("client_key_exchange", 16),
        ("finished", 20),
        ("key_update", 24),
        ("type_255", 255),
    ] {
        cases.hello(format!("message_is_{name}"), UNEXPECTED, |hello| hello.kind = kind);
    }
    let announced = |length: u32| {
        let mut message = Hello::tls13().message();
        message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
        records(&message, MAX_RECORD)
    };
    cases.stream("message_of_64_kib", TOO_LARGE, announced(0x01_0000));
    cases.stream("message_of_16_mib", TOO_LARGE, announced(0xff_ffff));
    cases.stream("message_of_64_kib_less_one_unfinished", UNFINISHED, announced(0xffff));
    cases.hello("message_empty", UNEXPECTED, |hello| {
        hello.lies.message = -i32::try_from(hello.message().len() - 4).expect("short");
    });
    cases.stream("message_empty_alone", UNDECODABLE, record(HANDSHAKE, &[1, 0, 0, 0]));
    cases.hello("message_of_64_kib_less_one", ANSWERED, |hello| {
        let room = 0xffff - (hello.message().len() - 4) - 4;
        hello.set(PADDING, &vec![0; room]);
    });
}

/// The stream ends, and the message ends, in each field.
fn cut(cases: &mut Cases) {
    let hello = Hello::tls13();
    let (message, stream) = (hello.message(), hello.stream());
    // Offsets in the message.
    let session = 4 + 2 + 32;
    let suites = session + 1 + hello.session_id.len();
    let compressions = suites + 2 + hello.suites.len();
    let extensions = compressions + 1 + hello.compressions.len();
    for (name, at) in [
        ("type", 1),
        ("length", 3),
        ("version", 5),
        ("random", 20),
        ("session_id_length", session),
        ("session_id", session + 10),
        ("suites_length", suites + 1),
        ("suites", suites + 5),
        ("compressions_length", compressions),
        ("compressions", compressions + 1),
        ("extensions_length", extensions + 1),
        ("extension_type", extensions + 3),
        ("extension_length", extensions + 5),
        ("extension", extensions + 9),
        ("last_extension", message.len() - 1),
    ] {
        cases.stream(format!("cut_in_{name}"), UNFINISHED, stream[..5 + at].to_vec());
        if at >= 4 {
            let mut short = message[..at].to_vec();
            fix_length(&mut short);
            let stream = records(&short, MAX_RECORD);
            cases.stream(format!("message_ends_in_{name}"), UNDECODABLE, stream);
        }
    }
    cases.stream("cut_in_record_header", UNFINISHED, stream[..3].to_vec());
    cases.stream("cut_behind_record_header", UNFINISHED, stream[..5].to_vec());
}

/// The format of SSL 2: length, type, version, the lengths of three lists, and the lists.
fn sslv2(cases: &mut Cases) {
    let of = |version: [u8; 2], lengths: [u8; 3]| {
        let [specs, session, challenge] = lengths;
        let head = [0x80, 0x2e, 1, version[0], version[1], 0, specs, 0, session, 0, challenge];
        [&head[..], &[0, 0, 4, 1, 0, 0x80], &[0x33; 31]].concat()
    };
    cases.stream("sslv2_hello", SSL2, of([0, 2], [21, 0, 16]));
    cases.stream("sslv2_hello_cut", SSL2, of([0, 2], [21, 0, 16])[..5].to_vec());
    cases.stream("sslv2_format_for_sslv3", SSL3, of([3, 0], [21, 0, 16]));
    for (name, version) in [("tls10", [3, 1]), ("tls11", [3, 2]), ("tls12", [3, 3])] {
        let stream = of(version, [21, 0, 16]);
        cases.stream(format!("sslv2_format_for_{name}"), SSLV2_FORMAT, stream);
    }
    cases.stream("sslv2_format_of_32_bytes", SSLV2_FORMAT, of([3, 1], [6, 0, 31]));
    cases.stream("sslv2_format_other_version", NOT_TLS, of([9, 9], [21, 0, 16]));
    for (name, lengths) in [
        ("without_specs", [0, 16, 21]),
        ("specs_of_two_bytes", [20, 0, 17]),
        ("session_of_one_byte", [18, 1, 18]),
        ("challenge_too_short", [30, 0, 7]),
        ("challenge_too_long", [3, 0, 34]),
        ("lists_too_long", [21, 0, 17]),
        ("lists_too_short", [18, 0, 16]),
    ] {
        cases.stream(format!("sslv2_format_{name}"), UNDECODABLE, of([3, 1], lengths));
    }
    let only = [&of([3, 1], [3, 16, 18])[..11], &[1, 0, 0x80], &[0x33; 34]].concat();
    cases.stream("sslv2_format_without_suites_of_tls", SSL2, only);
    cases.stream("sslv2_format_too_short", UNDECODABLE, vec![0x80, 3, 1, 3, 1]);
    cases.stream("sslv2_format_cut", UNFINISHED, of([3, 1], [21, 0, 16])[..40].to_vec());
    cases.stream("sslv2_format_cut_in_length", UNFINISHED, vec![0x80]);
}
