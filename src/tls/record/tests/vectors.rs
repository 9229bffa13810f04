//! RFC 8448 §3, the simple handshake: what is said after it.

use super::*;
use crate::tls::record::schedule;

/// A direction: its traffic secret, and the key and initialization vector that come from it.
struct Direction {
    secret: &'static str,
    key: &'static str,
    iv: &'static str,
}

const CLIENT: Direction = Direction {
    secret: "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
    key: "17422dda596ed5d9acd890e3c63f5051",
    iv: "5b78923dee08579033e523d9",
};
const SERVER: Direction = Direction {
    secret: "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
    key: "9f02283b6c9c07efc26bb9f2ac92e356",
    iv: "cf782b88dd83549aadf1e984",
};
const CLIENT_DATA: &str = "17030300 43a23f70 54b62c94 d0affafe 8228ba55 cbefacea 42f914aa 66bcab3f
    2b9819a8 a5b46b39 5bd54a9a 20441e2b 62974e1f 5a6292a2 977014bd 1e3deae6 3aeebb21 694915e4";
/// Behind a ticket, which has the number zero.
const SERVER_DATA: &str = "17030300 432e937e 11ef4ac7 40e538ad 36005fc4 a46932fc 3225d05f 82aa1b36
    e30efaf9 7d90e6df fc602dcb 501a59a8 fcc49c4b f2e5f0a2 1c0047c2 abf33254 0dd032e1 67c2955d";
const CLIENT_CLOSES: &str = "17030300 13c98727 60655666 b74d7ff1 153efd6d b6d0b0e3";
const SERVER_CLOSES: &str = "17030300 13b58fd6 7166ebf5 99d24720 cfbe7efa 7a8864a9";

fn hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal digits")
}

impl Direction {
    fn keys(&self, sequence: u64) -> Keys {
        let (key, iv, secret) = (hex(self.key), hex(self.iv), hex(self.secret));
        Keys::new(CIPHERS[3], &key, &iv, &secret, sequence).expect("lengths of AES-128")
    }
}

#[test]
fn keys_come_from_secrets() {
    for direction in [CLIENT, SERVER] {
        let mut secret = [0; 48];
        secret[..32].copy_from_slice(&hex(direction.secret));
        let (key, iv) = schedule::keys(CIPHERS[3], &secret);
        assert_eq!((&key[..16], &iv[..]), (&hex(direction.key)[..], &hex(direction.iv)[..]));
    }
}

#[test]
fn records_are_those_of_the_example() {
    let data: Vec<u8> = (0..50).collect();
    let cases = [(CLIENT, 0, CLIENT_DATA, CLIENT_CLOSES), (SERVER, 1, SERVER_DATA, SERVER_CLOSES)];
    for (direction, sequence, record, close) in cases {
        let [mut write, mut read] = [sequence; 2].map(|sequence| direction.keys(sequence));
        for (record, content_type, content) in [(record, 23, &data[..]), (close, 21, &[1, 0])] {
            assert_eq!(seal(&mut write, content_type, content), hex(record));
            let mut record = hex(record);
            let (opened, range) = read.open(&mut record).expect("the keys of the example");
            assert_eq!((opened, &record[range]), (content_type, content));
        }
    }
}
