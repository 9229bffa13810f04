use rcgen::{DnValue, SanType};

use super::*;

fn identity_of(change: impl FnOnce(&mut CertificateParams)) -> PeerIdentity {
    let leaf = Ca::root("Root").leaf(change);
    PeerIdentity::of(leaf.certificate.der()).expect("can be read")
}

#[test]
fn everything_that_rules_need_is_there() {
    let root = Ca::root("Root");
    let leaf = root.leaf(|params| {
        params.serial_number = Some(vec![1, 0xab].into());
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.subject_alt_names = vec![
            SanType::DnsName("A.Example.".try_into().expect("a name")),
            SanType::URI("spiffe://example/x".try_into().expect("a URI")),
            SanType::IpAddress("10.0.0.1".parse().expect("an address")),
            SanType::IpAddress("2001:db8::1".parse().expect("an address")),
            SanType::Rfc822Name("a@example".try_into().expect("an address")),
        ];
    });
    let der = leaf.certificate.der();
    let found = PeerIdentity::of(der).expect("can be read");
    let sha256 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let expected = PeerIdentity {
        subject: r"O=Example\, Inc.,CN=peer".to_owned(),
        cn: Some("peer".to_owned()),
        dns: vec!["a.example".to_owned()],
        uris: vec!["spiffe://example/x".to_owned()],
        ips: ["10.0.0.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address")).to_vec(),
        issuer: "CN=Root,O=Example".to_owned(),
        serial: "01:ab".to_owned(),
        not_before: 1_577_836_800,
        not_after: 2_208_988_800,
        fingerprint: sha256(der).as_ref().try_into().expect("32 bytes"),
        spki: sha256(&rcgen::PublicKeyData::subject_public_key_info(&leaf.key))
            .as_ref()
            .try_into()
            .expect("32 bytes"),
        cut: false,
    };
    assert_eq!(found, expected);
}

#[test]
fn names_are_written_as_rfc_4514_does() {
    let subject = |values: Vec<(DnType, &str)>| {
        identity_of(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in values {
                params.distinguished_name.push(kind, value);
            }
        })
        .subject
    };
    assert_eq!(subject(vec![]), "");
    assert_eq!(
        subject(vec![
            (DnType::CountryName, "DE"),
            (DnType::OrganizationalUnitName, "a+b"),
            (DnType::CommonName, " x=\"<y>\";z\\ "),
        ]),
        r#"CN=\ x=\"\<y\>\"\;z\\\ ,OU=a\+b,C=DE"#
    );
    assert_eq!(subject(vec![(DnType::CommonName, "#1\nforged line")]), r"CN=\#1\0aforged line");
    assert_eq!(
        subject(vec![(DnType::from_oid(&[2, 5, 4, 97]), "x")]),
        "2.5.4.97=x",
        "an attribute without a short name"
    );
    let bmp = DnValue::BmpString("é".try_into().expect("in the plane"));
    let found = identity_of(|params| params.distinguished_name.push(DnType::LocalityName, bmp));
    assert_eq!(found.subject, "L=#00e9,CN=peer");
    assert_eq!(found.cn.as_deref(), Some("peer"));
}

#[test]
fn names_without_end_are_cut() {
    let name =
        |number: usize| SanType::DnsName(format!("n{number}.example").try_into().expect("a name"));
    let exact = identity_of(|params| params.subject_alt_names = (0..MAX_NAMES).map(name).collect());
    assert!(!exact.cut && exact.dns.len() == MAX_NAMES);
    let more = identity_of(|params| params.subject_alt_names = (0..=MAX_NAMES).map(name).collect());
    assert!(more.cut);
    assert_eq!(more.dns, exact.dns);
    let long = identity_of(|params| {
        params.distinguished_name.push(DnType::OrganizationName, "x".repeat(MAX_NAME));
    });
    assert!(long.cut && long.subject.is_empty());
    assert_eq!(long.cn.as_deref(), Some("peer"));
}

#[test]
fn what_is_not_a_certificate_is_nobody() {
    let good = Ca::root("Root").leaf(|_| {});
    let mut der = good.certificate.der().to_vec();
    for end in 0..der.len() {
        assert!(PeerIdentity::of(&CertificateDer::from(&der[..end])).is_none(), "{end}");
    }
    der.push(0);
    assert!(PeerIdentity::of(&CertificateDer::from(der)).is_none());
}
