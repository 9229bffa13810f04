//! The vendor's spellings mean what ours do, at every level and in transport strings.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::{Diagnostics, origins};
use super::hostile::check_answer;
use super::*;

/// An option in the vendor's words and in ours.
type Pair = (&'static str, &'static str);

/// What a side cannot do without.
const IDENTITY: &[&[Pair]] = &[
    &[("certificate = 'a.pem'", "certificate = 'a.pem'")],
    &[("certificate-key = 'a.key'", "certificate_key = 'a.key'")],
    &[("trusted-ca = 'ca.pem'", "trusted_ca = 'ca.pem'")],
];

/// What comes with it from one level.
const BUNDLE: &[&[Pair]] = &[
    &[
        (
            "sec-protocol = 'TLSv12', sec_protocol_semantics = 'exact'",
            "min_version = '1.2', max_version = '1.2'",
        ),
        (
            "sec-protocol = 'TLSv12', sec_protocol_semantics = 'floor'",
            "min_version = '1.2', max_version = '1.3'",
        ),
        (
            "sec-protocol = 'TLSv1.1', sec_protocol_semantics = 'floor'",
            "min_version = '1.2', max_version = '1.3'",
        ),
        (
            "sec_protocol_semantics = 'exact', sec-protocol = 'TLSv13'",
            "min_version = '1.3', max_version = '1.3'",
        ),
    ],
    &[
        (
            "cipher-list = 'ECDHE-RSA-AES256-GCM-SHA384'",
            "ciphers = ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', 'TLS_AES_256_GCM_SHA384', \
             'TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256']",
        ),
        (
            "cipher-list = 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256'",
            "ciphers = ['TLS_AES_128_GCM_SHA256', 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256']",
        ),
    ],
];

const DOWNSTREAM: &[&[Pair]] = &[
    &[("tls-crl = 'a.crl'", "crl_files = ['a.crl']")],
    &[("provider = 'PEM'", ""), ("fips140-enabled = 0", ""), ("tls = 1", ""), ("tls = true", "")],
    &[
        ("tls-mutual = 1", "client_cert = 'required'"),
        ("tls-mutual = '1'", "client_cert = 'required'"),
        ("tls-mutual = 0", "client_cert = 'none'"),
    ],
];

const UPSTREAM: &[&[Pair]] = &[
    &[("tls-crl = 'b.crl'", "crl_files = ['b.crl']")],
    &[
        ("client-auth = 1", "verify = 'full'"),
        (
            "client-auth = 0, verify_until = '2999-12-31'",
            "verify = 'none', verify_until = '2999-12-31'",
        ),
    ],
    &[("tls-target-name-check = 'host'", "name_match = 'san_or_cn'")],
    &[("tls-target-name = 'sip.test'", "server_name = 'sip.test', sni = 'sip.test'")],
];

/// A table on one line, so that both spellings stand at the same place: with some of the options,
/// some of them in the vendor's words; and the same in ours.
fn table(is_home: bool, own: &'static [&'static [Pair]]) -> impl Strategy<Value = [String; 2]> {
    let [identity, bundle] = if is_home { [0.95, 0.4] } else { [0.02, 0.02] };
    let weighted = |all: &'static [&'static [Pair]], weight| {
        all.iter().map(move |pairs| {
            let pair = prop::sample::select(*pairs);
            let spelled = (pair, any::<bool>()).prop_map(|((vendors, ours), is_vendors)| {
                [if is_vendors { vendors } else { ours }, ours]
            });
            proptest::option::weighted(weight, spelled)
        })
    };
    let options = weighted(IDENTITY, identity).chain(weighted(BUNDLE, bundle));
    let options: Vec<_> = options.chain(weighted(own, 0.3)).collect();
    options.prop_map(|options| {
        [0, 1].map(|spelling| {
            let given = options.iter().flatten().map(|both| both[spelling]);
            let given: Vec<&str> = given.filter(|text| !text.is_empty()).collect();
            format!("{{ {} }}", given.join(", "))
        })
    })
}

/// Both tables of a level.
type Level = ([String; 2], [String; 2]);

/// The levels, of which one has the identity.
fn levels() -> impl Strategy<Value = [Level; 5]> {
    (0_usize..5).prop_flat_map(|home| {
        [0, 1, 2, 3, 4]
            .map(|level| (table(level == home, DOWNSTREAM), table(level == home, UPSTREAM)))
    })
}

/// A file with these tables at its levels: defaults, host, application, listener, rule.
fn file(tables: &[Level; 5], spelling: usize) -> String {
    let [defaults, host, application, listener, rule] = tables.each_ref().map(|(tls, upstream)| {
        format!("tls = {}\nupstream_tls = {}\n", tls[spelling], upstream[spelling])
    });
    format!(
        "[[host]]\nname = 'h'\n{host}[[application]]\nname = 'a'\nhost = 'h'\n{application}\
         [[listener]]\nname = 'l'\napplication = 'a'\nmode = 'bridge'\nlisten = '127.0.0.1:1'\n\
         upstream = '127.0.0.1:2'\n{listener}[[listener.rule]]\nname = 'r'\nsni = 'a.test'\n{rule}\
         [defaults]\n{defaults}"
    )
}

/// What is wrong, without how it is spelled.
fn problems(diagnostics: &Diagnostics) -> Vec<(usize, &str)> {
    let all = diagnostics.as_slice().iter();
    let mut all: Vec<_> = all.map(|one| (one.line, one.message.as_str())).collect();
    all.sort_unstable();
    all
}

#[test]
fn both_spellings_mean_the_same() {
    let good = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1_500));
    let done = runner.run(&levels(), |levels| {
        let [vendors, ours] = [0, 1].map(|spelling| file(&levels, spelling));
        match (parse("a.toml", &vendors), parse("a.toml", &ours)) {
            (Ok(vendors), Ok(ours)) => {
                good.set(good.get() + 1);
                prop_assert_eq!(vendors.listeners, ours.listeners);
            }
            (Err(vendors), Err(ours)) => prop_assert_eq!(problems(&vendors), problems(&ours)),
            (vendors_read, ours_read) => {
                let told = vendors_read.err().or(ours_read.err()).expect("one of them");
                prop_assert!(false, "{}\n{}\n{}", told, vendors, ours);
            }
        }
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    assert!(good.get() > 150, "{} files without a mistake only", good.get());
}

const SERVER: &str = "certificate = 'a.pem', certificate-key = 'a.key', trusted-ca = 'ca.pem', \
                      tls-mutual = 1, tls-crl = 'a.crl', provider = 'PEM', fips140-enabled = 0, \
                      sec-protocol = 'TLSv13', cipher-list = 'TLS_AES_128_GCM_SHA256'";
const CLIENT: &str = "certificate = 'a.pem', certificate-key = 'a.key', trusted-ca = 'ca.pem', \
                      tls-mutual = 1, tls-crl = 'a.crl', sec-protocol = 'TLSv12', \
                      client-auth = 1, tls-target-name = 'sip.test', tls-target-name-check = 'host'";

/// A listener with this table on its side, or with the same as a transport string.
fn listener(mode: &str, side: &str, options: &str, is_string: bool) -> Config {
    let options = if is_string {
        let string = options.replace(" = ", "=").replace(", ", ";").replace('\'', "");
        format!("transport = 'tls=1;{string}'\n{side} = {{ sec_protocol_semantics = 'exact' }}\n")
    } else {
        format!("{side} = {{ sec_protocol_semantics = 'exact', tls = 1, {options} }}\n")
    };
    let text = format!(
        "[[listener]]\nname = 'l'\nmode = '{mode}'\nlisten = '127.0.0.1:1'\n\
         upstream = '127.0.0.1:2'\n{options}"
    );
    parse("a.toml", &text).unwrap_or_else(|diagnostics| panic!("{diagnostics}{text}"))
}

#[test]
fn a_transport_string_is_the_table() {
    for (mode, side, options) in
        [("terminate", "tls", SERVER), ("originate", "upstream_tls", CLIENT)]
    {
        let [string, table] =
            [true, false].map(|is_string| listener(mode, side, options, is_string));
        assert_eq!(string.listeners, table.listeners, "{mode}");
    }
    let config = listener("originate", "upstream_tls", CLIENT, true);
    let tls = config.listeners[0].upstream_tls.as_ref().expect("it originates TLS");
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::V1_2, TlsVersion::V1_2));
    assert_eq!((tls.verify, tls.name_match), (Verify::Full, NameMatch::SanOrCn));
    assert_eq!(tls.sni, Sni::Name("sip.test".to_owned()));
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn what_is_to_be_known_is_told_once() {
    let text = "[defaults.tls]\ncertificate = 'a.pem'\ncertificate-key = 'a.key'\n\
                sec-protocol = 'SSLv23'\nsec_protocol_semantics = 'floor'\n\
                [[listener]]\nname = 'a'\nlisten = '127.0.0.1:1'\nupstream = '127.0.0.1:2'\n\
                [[listener]]\nname = 'b'\nlisten = '127.0.0.1:3'\nupstream = '127.0.0.1:2'\n\
                transport = 'tls=1;port=2020'\n";
    let config = parse("a.toml", text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let [first, second] = &config.notes[..] else { panic!("{:?}", config.notes) };
    assert!(first.starts_with("a.toml:4:16: defaults.tls.sec-protocol: the floor of SSLv23"));
    assert!(second.starts_with("a.toml:14:20: listener[b].transport.port: port = 2020 is"));
}

#[test]
fn explain_shows_the_spelling_of_the_file() {
    let text = "[[application]]\nname = 'a'\n[application.tls]\ntls-mutual = 1\n\
                trusted-ca = 'ca.pem'\ncertificate = 'a.pem'\ncertificate_key = 'a.key'\n\
                sec-protocol = 'TLSv12'\nsec_protocol_semantics = 'exact'\n\
                [[listener]]\nname = 'l'\napplication = 'a'\nlisten = '127.0.0.1:1'\n\
                upstream = '127.0.0.1:2'\n[listener.tls]\nclient_cert = 'none'\n\
                [[listener]]\nname = 'm'\napplication = 'a'\nlisten = '127.0.0.1:3'\n\
                upstream = '127.0.0.1:2'\n";
    let all = origins("a.toml", text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let told = |listener: usize, option: &str| {
        let origin = all[listener].options.iter().find(|one| one.option == option);
        let origin = origin.unwrap_or_else(|| panic!("{option} is not told"));
        let said = origin.said_by.as_ref().expect("the file says it");
        (origin.value.clone(), said.path.clone(), said.line, origin.shadowed.clone())
    };
    let (value, path, line, shadowed) = told(0, "tls.client_cert");
    assert_eq!((&*value, &*path, line), ("'none'", "listener[l].tls.client_cert", 16));
    let [one] = &shadowed[..] else { panic!("{shadowed:?}") };
    assert_eq!(
        (&*one.value, &*one.said_by.path),
        ("\"required\"", "application[a].tls.tls-mutual")
    );
    let (value, path, line, _) = told(1, "tls.client_cert");
    assert_eq!((&*value, &*path, line), ("\"required\"", "application[a].tls.tls-mutual", 4));
    let (value, path, line, _) = told(1, "tls.max_version");
    assert_eq!((&*value, &*path, line), ("\"1.2\"", "application[a].tls.sec-protocol", 8));
}

/// Values of every type, good and bad.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "0x1",
    "2_0",
    "1.5",
    "true",
    "false",
    "''",
    "'0'",
    "'1'",
    "'no'",
    "'host'",
    "'SSLv3'",
    "'SSLv23'",
    "'TLSv12'",
    "'PEM'",
    "'pem'",
    "'a.pem'",
    "'a.pem,b.pem'",
    "'é'",
    "\"\\u0007\"",
    "['a']",
    "[]",
    "{}",
    "2027-12-31",
    "'51 3a 1d 4c 5e 6f 70 81 92 a3 b4 c5 d6 e7 f8 09 1a 2b 3c 4d'",
    "'HIGH:!aNULL'",
    "'TLS_AES_128_GCM_SHA256'",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_value_of_any_option_has_an_answer(
        mode in prop::sample::select(vec!["terminate", "originate", "bridge", "passthrough"]),
        transport in prop::option::of("(tls=1;)?([a-z-]{0,4}[=; \"']|certificate=a,b|trusted-ca=|é){0,4}"),
        given in prop::collection::vec(
            (
                prop::sample::select(crate::genesys::options::NAMES.to_vec()),
                prop::sample::select(VALUES.to_vec()),
                0..3_usize,
            ),
            0..6,
        ),
    ) {
        let of = |table: usize| {
            let own = given.iter().filter(|(.., at)| *at == table);
            own.map(|(name, value, _)| format!("{name} = {value}\n")).collect::<String>()
        };
        let transport = transport.map(|text| format!("transport = {text:?}\n"));
        check_answer(&format!(
            "[[listener]]\nname = 'a'\nlisten = '127.0.0.1:1'\nupstream = '127.0.0.1:2'\n\
             mode = '{mode}'\n{}[listener.tls]\ncertificate_key = 'a.key'\n{}\
             [listener.upstream_tls]\n{}[defaults.tls]\n{}",
            transport.unwrap_or_default(), of(0), of(1), of(2)
        ))?;
    }
}
