//! An Ed25519 private key as PKCS#8 in PEM (RFC 8410 §7), the form that `openssl genpkey` writes and reads.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// What stands before the 32 bytes of the seed: version 0, algorithm Ed25519, an octet string in an octet string.
const HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The PEM of a seed.
pub(super) fn write(seed: &[u8; 32]) -> Zeroizing<String> {
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&HEAD);
    der[16..].copy_from_slice(seed);
    let base64 = Zeroizing::new(BASE64.encode(der.as_ref()));
    Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", base64.as_str()))
}

/// The seed in a PEM; `None` when it is another kind of key or no PEM.
pub(super) fn read(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let inner = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let base64: Zeroizing<Vec<u8>> =
        Zeroizing::new(inner.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
    let der = Zeroizing::new(BASE64.decode(&base64).ok()?);
    let seed: &[u8; 32] = der.strip_prefix(&HEAD)?.try_into().ok()?;
    Some(Zeroizing::new(*seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written once by OpenSSL 3.0: `openssl genpkey -algorithm ed25519`.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn the_form_is_the_one_of_openssl_there_and_back() {
        let seed = read(OPENSSL).unwrap();
        assert_eq!(write(&seed).as_str(), OPENSSL);
    }

    #[test]
    fn anything_else_is_no_key() {
        let other = OPENSSL.replace("VwBC", "VuBC");
        for bad in ["", "x", &OPENSSL[..60], &OPENSSL.replace("PRIVATE", "EC PRIVATE"), &other] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
