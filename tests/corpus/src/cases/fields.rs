//! What is wrong inside the message: a length, a field, an extension.

use super::{
    ANSWERED, Cases, EXTENSION_MISSING, ILLEGAL, NO_NULL, NOT_DECODED, NOTHING_SHARED, SSL3,
    UNDECODABLE, UNEXPECTED, UNFINISHED, VIOLATION, WRONG_VERSION,
};
use crate::hello::{
    ALPN, EXTENDED_MASTER_SECRET, Hello, KEY_SHARE, Lies, MAX_FRAGMENT_LENGTH, PADDING,
    POINT_FORMATS, PRE_SHARED_KEY, PSK_MODES, RECORD_SIZE_LIMIT, RENEGOTIATION_INFO, SERVER_NAME,
    SESSION_TICKET, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS, SUPPORTED_VERSIONS, list16,
    server_name,
};

pub(super) fn add(cases: &mut Cases) {
    lengths_wrong(cases);
    fields(cases);
    versions(cases);
    extension_list(cases);
    names(cases);
    lists(cases);
    key_shares(cases);
    resumption(cases);
}

/// Every length of the message, one too long, one too short, none, and all there is.
fn lengths_wrong(cases: &mut Cases) {
    type Tell = fn(&mut Lies, i32);
    let fields: [(&str, Tell); 5] = [
        ("session_id", |lies, by| lies.session_id = by),
        ("suites", |lies, by| lies.suites = by),
        ("compressions", |lies, by| lies.compressions = by),
        ("extensions", |lies, by| lies.extensions = by),
        ("first_extension", |lies, by| lies.extension = Some((SERVER_NAME, by))),
    ];
    for (name, tell) in fields {
        for (word, by) in [("one_more", 1), ("one_less", -1), ("far_more", 200)] {
            cases.hello(format!("length_of_{name}_{word}"), UNDECODABLE, |hello| {
                tell(&mut hello.lies, by);
            });
        }
    }
    cases.hello("length_of_last_extension_one_more", UNDECODABLE, |hello| {
        hello.lies.extension = Some((PSK_MODES, 1));
    });
    cases.hello("length_of_message_one_less", UNEXPECTED, |hello| hello.lies.message = -1);
    cases.hello("length_of_message_one_more", UNFINISHED, |hello| hello.lies.message = 1);
    cases.hello("bytes_behind_the_extensions", UNDECODABLE, |hello| hello.rest = vec![0; 3]);
}

fn fields(cases: &mut Cases) {
    cases.hello("session_id_of_33", UNDECODABLE, |hello| hello.session_id = vec![1; 33]);
    cases.hello("session_id_of_255", UNDECODABLE, |hello| hello.session_id = vec![1; 255]);
    cases.hello("session_id_of_7", ANSWERED, |hello| hello.session_id = vec![1; 7]);
    cases.hello("suites_none", UNDECODABLE, |hello| hello.suites.clear());
    cases.hello("suites_odd", UNDECODABLE, |hello| hello.suites.push(0));
    cases.hello("suites_unknown", NOTHING_SHARED, |hello| hello.suites = vec![0x99, 0x99]);
    cases.hello("suites_grease_only", NOTHING_SHARED, |hello| hello.suites = vec![0x0a, 0x0a]);
    cases.hello("suites_null", NOTHING_SHARED, |hello| hello.suites = vec![0, 0, 0, 1, 0, 2]);
    cases.hello("suites_of_tls12_only", NOTHING_SHARED, |hello| hello.suites = vec![0xc0, 0x2b]);
    cases.hello("suites_twice", ANSWERED, |hello| hello.suites.extend([0x13, 1, 0x13, 1]));
    cases.hello("suites_16384", ANSWERED, |hello| {
        hello.suites.resize(hello.suites.len() + 2 * 16_384, 0x40);
    });
    cases.hello12("suites_fallback_signal", ANSWERED, |hello| hello.suites.extend([0x56, 0]));
    cases.hello12("suites_rsa_key_exchange", NOTHING_SHARED, |hello| {
        hello.suites = vec![0, 0x2f, 0, 0x35, 0, 0x9c];
    });
    cases.hello("compressions_none", UNDECODABLE, |hello| hello.compressions.clear());
    cases.hello("compressions_without_null", NO_NULL, |hello| hello.compressions = vec![1]);
    cases.hello("compressions_with_deflate", VIOLATION, |hello| hello.compressions = vec![0, 1]);
    cases.hello("compressions_255", VIOLATION, |hello| hello.compressions = vec![0; 255]);
    cases.hello12("compressions_without_null_tls12", NO_NULL, |hello| {
        hello.compressions = vec![1];
    });
}

fn versions(cases: &mut Cases) {
    for (name, version) in [
        ("0_0", [0, 0]),
        ("ssl_2", [0, 2]),
        ("ssl_3", [3, 0]),
        ("tls_1_0", [3, 1]),
        ("tls_1_1", [3, 2]),
    ] {
        let outcome = if name == "ssl_3" { SSL3 } else { WRONG_VERSION };
        cases.hello12(format!("version_{name}_only"), outcome, |hello| hello.version = version);
    }
    cases.hello12("version_3_4_without_list", ANSWERED, |hello| hello.version = [3, 4]);
    cases.hello12("version_4_0_without_list", ANSWERED, |hello| hello.version = [4, 0]);
    cases.hello("version_ssl_3_with_list", ANSWERED, |hello| hello.version = [3, 0]);
    cases.with("versions_none", UNDECODABLE, SUPPORTED_VERSIONS, &[0]);
    cases.with("versions_without_length", UNDECODABLE, SUPPORTED_VERSIONS, &[]);
    cases.with("versions_odd", UNDECODABLE, SUPPORTED_VERSIONS, &[3, 3, 4, 3]);
    cases.with("versions_length_too_long", UNDECODABLE, SUPPORTED_VERSIONS, &[4, 3, 4]);
    cases.with("versions_with_rest", UNDECODABLE, SUPPORTED_VERSIONS, &[2, 3, 4, 3, 3]);
    cases.with("versions_old_only", WRONG_VERSION, SUPPORTED_VERSIONS, &[4, 3, 1, 3, 2]);
    cases.with("versions_grease_only", WRONG_VERSION, SUPPORTED_VERSIONS, &[2, 0x0a, 0x0a]);
    cases.with("versions_draft_28", WRONG_VERSION, SUPPORTED_VERSIONS, &[2, 0x7f, 28]);
    cases.with("versions_tls_1_4", WRONG_VERSION, SUPPORTED_VERSIONS, &[2, 3, 5]);
    cases.with("versions_tls_1_3_twice", ANSWERED, SUPPORTED_VERSIONS, &[4, 3, 4, 3, 4]);
    let many = [&[254][..], &[0x7a; 252], &[3, 4]].concat();
    cases.with("versions_127", ANSWERED, SUPPORTED_VERSIONS, &many);
}

fn extension_list(cases: &mut Cases) {
    for (name, kind) in [
        ("server_name", SERVER_NAME),
        ("groups", SUPPORTED_GROUPS),
        ("versions", SUPPORTED_VERSIONS),
        ("key_share", KEY_SHARE),
        ("master_secret", EXTENDED_MASTER_SECRET),
    ] {
        cases.hello(format!("extension_{name}_twice"), ILLEGAL, |hello| {
            let list = hello.extensions.get_or_insert_default();
            let first = list.iter().find(|(other, _)| *other == kind).expect("is there").clone();
            list.push(first);
        });
    }
    cases.hello("extension_unknown_twice", ILLEGAL, |hello| {
        hello.add(0x7777, &[1]);
        hello.add(0x7777, &[2]);
    });
    cases.hello("extension_grease_twice", ILLEGAL, |hello| {
        hello.add(0x0a0a, &[]);
        hello.add(0x0a0a, &[]);
    });
    let extended = |count: u16| {
        let mut hello = Hello::tls13();
        let has = u16::try_from(hello.extensions.as_ref().map_or(0, Vec::len)).expect("few");
        (has..count).for_each(|number| hello.add(0x5000 + number, &[]));
        hello.stream()
    };
    cases.stream("extensions_128", ANSWERED, extended(128));
    cases.stream("extensions_129", UNDECODABLE, extended(129));
    cases.stream("extensions_1000", UNDECODABLE, extended(1000));
    cases.hello("extensions_empty", NOTHING_SHARED, |hello| hello.extensions = Some(Vec::new()));
    cases.hello("extensions_absent", NOTHING_SHARED, |hello| hello.extensions = None);
    cases.hello12("extensions_empty_tls12", NOTHING_SHARED, |hello| {
        hello.extensions = Some(Vec::new());
    });
    cases.hello12("extensions_absent_tls12", NOTHING_SHARED, |hello| hello.extensions = None);
    for (name, kind) in [
        ("groups", SUPPORTED_GROUPS),
        ("signatures", SIGNATURE_ALGORITHMS),
        ("key_share", KEY_SHARE),
    ] {
        let outcome = NOTHING_SHARED;
        cases.hello(format!("extension_{name}_missing"), outcome, |hello| hello.remove(kind));
    }
    cases.hello("extension_server_name_missing", ANSWERED, |hello| hello.remove(SERVER_NAME));
    cases.with("extension_renegotiation_with_data", ANSWERED, RENEGOTIATION_INFO, &[2, 7, 7]);
    cases.with("extension_master_secret_with_data", NOT_DECODED, EXTENDED_MASTER_SECRET, &[1]);
    cases.with("extension_point_formats_none", NOT_DECODED, POINT_FORMATS, &[0]);
    cases.with("extension_fragment_length_empty", UNDECODABLE, MAX_FRAGMENT_LENGTH, &[]);
    cases.with("extension_fragment_length_9", ANSWERED, MAX_FRAGMENT_LENGTH, &[9]);
    cases.with("extension_record_size_limit_short", UNDECODABLE, RECORD_SIZE_LIMIT, &[1]);
    cases.with("extension_record_size_limit_0", ANSWERED, RECORD_SIZE_LIMIT, &[0, 0]);
}

fn names(cases: &mut Cases) {
    // RFC 6066 says what a name is; what is none is for the TLS library to refuse.
    let long = [b'a'; 254];
    let label = [&[b'a'; 64][..], b".example"].concat();
    for (name, host, outcome) in [
        ("empty", &b""[..], NOT_DECODED),
        ("with_nul", b"local\0host", VIOLATION),
        ("with_space", b"local host", VIOLATION),
        ("with_newline", b"local\nhost", VIOLATION),
        ("not_utf8", b"\xff\xfe\xfd", VIOLATION),
        ("of_254", &long, VIOLATION),
        ("label_of_64", &label, VIOLATION),
        ("with_port", b"localhost:443", VIOLATION),
        ("two_dots", b"local..host", VIOLATION),
        ("dot_only", b".", VIOLATION),
        ("wildcard", b"*.example", VIOLATION),
        ("hyphens", b"-x-.example", VIOLATION),
        ("ipv4", b"192.0.2.1", ANSWERED),
        ("ipv6", b"2001:db8::1", ANSWERED),
        ("trailing_dot", b"localhost.", ANSWERED),
        ("underscore", b"_sip._tcp.example", ANSWERED),
        ("punycode", b"xn--bcher-kva.example", ANSWERED),
        ("of_nobody", b"nobody.example", ANSWERED),
    ] {
        cases.with(format!("name_{name}"), outcome, SERVER_NAME, &server_name(host));
    }
    let lists: [(&str, &[u8]); 7] = [
        ("missing", &[]),
        ("half_a_length", &[0]),
        ("empty", &[0, 0]),
        ("length_too_long", &[0, 9, 0, 0, 1, b'a']),
        ("length_too_short", &[0, 3, 0, 0, 1, b'a']),
        ("name_length_too_long", &[0, 4, 0, 0, 9, b'a']),
        ("of_two_names", &[0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b']),
    ];
    cases.with("name_list_of_other_type", VIOLATION, SERVER_NAME, &[0, 4, 1, 0, 1, b'a']);
    let and_other = [0, 11, 0, 0, 4, b'h', b'o', b's', b't', 7, 7, 7, 7];
    cases.with("name_list_with_other_type", ANSWERED, SERVER_NAME, &and_other);
    for (name, list) in lists {
        cases.with(format!("name_list_{name}"), NOT_DECODED, SERVER_NAME, list);
    }
}

/// Lists of numbers and of protocols.
fn lists(cases: &mut Cases) {
    for (word, kind) in [("groups", SUPPORTED_GROUPS), ("signatures", SIGNATURE_ALGORITHMS)] {
        let contents: [(&str, &[u8]); 6] = [
            ("without_length", &[]),
            ("none", &[0, 0]),
            ("odd", &[0, 3, 0, 29, 4]),
            ("length_too_long", &[0, 4, 0, 29]),
            ("with_rest", &[0, 2, 0, 29, 4, 3]),
            ("half_a_length", &[0]),
        ];
        for (name, content) in contents {
            cases.with(format!("{word}_{name}"), UNDECODABLE, kind, content);
        }
    }
    cases.with("groups_unknown", NOTHING_SHARED, SUPPORTED_GROUPS, &[0, 2, 0x99, 0x99]);
    cases.hello12("signatures_that_no_key_makes", NOTHING_SHARED, |hello| {
        // Of the right kind for the suite, yet the key is on another curve.
        hello.set(SIGNATURE_ALGORITHMS, &[0, 2, 5, 3]);
    });
    cases.with("signatures_unknown", NOTHING_SHARED, SIGNATURE_ALGORITHMS, &[0, 2, 0x99, 0x99]);
    let contents: [(&str, &[u8]); 8] = [
        ("without_length", &[]),
        ("none", &[0, 0]),
        ("empty_name", &[0, 1, 0]),
        ("name_too_long", &[0, 3, 5, b'h', b'2']),
        ("length_too_long", &[0, 9, 2, b'h', b'2']),
        ("with_rest", &[0, 3, 2, b'h', b'2', 0]),
        ("second_name_empty", &[0, 4, 2, b'h', b'2', 0]),
        ("half_a_length", &[0]),
    ];
    for (name, content) in contents {
        cases.with(format!("alpn_{name}"), UNDECODABLE, ALPN, content);
    }
    cases.with("alpn_unknown", ANSWERED, ALPN, &[0, 4, 3, b'x', b'/', b'9']);
    cases.with("alpn_name_of_255", ANSWERED, ALPN, &[&[1, 0, 255][..], &[b'x'; 255]].concat());
}

fn key_shares(cases: &mut Cases) {
    let share = |group: u16, key: &[u8]| {
        let mut share = group.to_be_bytes().to_vec();
        list16(&mut share, key, 0);
        share
    };
    let list = |shares: &[Vec<u8>]| {
        let mut list = Vec::new();
        list16(&mut list, &shares.concat(), 0);
        list
    };
    let good = share(29, &[9; 32]);
    let twice = list(&[good.clone(), good.clone()]);
    cases.with("key_share_twice", VIOLATION, KEY_SHARE, &twice);
    cases.with("key_share_empty_key", NOT_DECODED, KEY_SHARE, &list(&[share(29, &[])]));
    cases.with("key_share_short", VIOLATION, KEY_SHARE, &list(&[share(29, &[9; 31])]));
    cases.with("key_share_long", VIOLATION, KEY_SHARE, &list(&[share(29, &[9; 33])]));
    cases.with("key_share_zero", VIOLATION, KEY_SHARE, &list(&[share(29, &[0; 32])]));
    let off_curve = list(&[share(23, &[&[4][..], &[1; 64]].concat())]);
    cases.hello("key_share_not_on_the_curve", VIOLATION, |hello| {
        hello.set(SUPPORTED_GROUPS, &[0, 2, 0, 23]);
        hello.set(KEY_SHARE, &off_curve);
    });
    let unlisted = list(&[share(30, &[9; 56]), good.clone()]);
    cases.with("key_share_of_unlisted_group", ANSWERED, KEY_SHARE, &unlisted);
    let greased = list(&[share(0x0a0a, &[0]), good.clone()]);
    cases.with("key_share_grease", ANSWERED, KEY_SHARE, &greased);
    cases.with("key_share_without_length", NOT_DECODED, KEY_SHARE, &[]);
    cases.with("key_share_length_too_long", NOT_DECODED, KEY_SHARE, &[0, 40, 0, 29, 0, 1, 9]);
    cases.with("key_share_key_too_long", NOT_DECODED, KEY_SHARE, &[0, 5, 0, 29, 0, 9, 9]);
    cases.with("key_share_with_rest", NOT_DECODED, KEY_SHARE, &[list(&[good]), vec![0]].concat());
    let many: Vec<Vec<u8>> = (0x4000..0x4100).map(|group| share(group, &[1; 32])).collect();
    cases.with("key_share_256_unknown", ANSWERED, KEY_SHARE, &list(&many));
}

fn resumption(cases: &mut Cases) {
    // One identity of 4 bytes with its age, one binder of 32.
    let mut offer = vec![0, 10, 0, 4, b't', b'i', b'c', b'k', 0, 0, 0, 0, 0, 33, 32];
    offer.extend([0xbb; 32]);
    cases.hello("psk_unknown", ANSWERED, |hello| hello.add(PRE_SHARED_KEY, &offer));
    cases.hello("psk_not_last", ILLEGAL, |hello| {
        hello.add(PRE_SHARED_KEY, &offer);
        hello.add(PADDING, &[0]);
    });
    cases.hello("psk_empty", NOT_DECODED, |hello| hello.add(PRE_SHARED_KEY, &[]));
    cases.hello("psk_without_binder", NOT_DECODED, |hello| {
        hello.add(PRE_SHARED_KEY, &[&offer[..12], &[0, 0]].concat());
    });
    cases.hello("psk_with_rest", NOT_DECODED, |hello| {
        hello.add(PRE_SHARED_KEY, &[&offer[..], &[0]].concat());
    });
    cases.hello("psk_short_binder", ANSWERED, |hello| {
        hello.add(PRE_SHARED_KEY, &[&offer[..12], &[0, 2, 1, 0xbb]].concat());
    });
    cases.hello("psk_without_modes", EXTENSION_MISSING, |hello| {
        hello.remove(PSK_MODES);
        hello.add(PRE_SHARED_KEY, &offer);
    });
    cases.hello("psk_more_binders_than_identities", VIOLATION, |hello| {
        let mut more = offer[..12].to_vec();
        list16(&mut more, &[&offer[14..], &offer[14..]].concat(), 0);
        hello.add(PRE_SHARED_KEY, &more);
    });
    cases.with("psk_modes_none", NOT_DECODED, PSK_MODES, &[0]);
    cases.hello("ticket_of_nobody", ANSWERED, |hello| hello.set(SESSION_TICKET, &[0x77; 180]));
    cases.hello12("ticket_of_nobody_tls12", ANSWERED, |hello| {
        hello.set(SESSION_TICKET, &[0x77; 180]);
    });
    cases.hello12("ticket_of_48_kib", ANSWERED, |hello| {
        hello.set(SESSION_TICKET, &vec![0x77; 48 * 1024]);
    });
    cases.hello12("session_id_of_nobody", ANSWERED, |hello| hello.session_id = vec![0x66; 32]);
}
