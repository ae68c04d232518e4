//! Public keys as TUF writes them, and whether a signature is theirs (TUF 1.0.34 §4.2.2).
//!
//! Never here: a private key, or who may sign what (`roles`, `trust`).

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;

/// How a role names a key: SHA-256 of the key's canonical form where tidelock wrote it, any text in foreign repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for KeyId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key as it stands in metadata. One of an unknown type or scheme is kept, and never verifies anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// `ed25519`, `ecdsa` (in old files `ecdsa-sha2-nistp256`) or `rsa`.
    pub keytype: String,
    /// `ed25519`, `ecdsa-sha2-nistp256` or `rsassa-pss-sha256`.
    pub scheme: String,
    /// The key itself.
    pub keyval: KeyValue,
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// 64 hex digits of an Ed25519 key; otherwise a `SubjectPublicKeyInfo` in PEM.
    pub public: String,
}

/// What makes two keys the same, however they are spelled and whatever their ids: a threshold counts these.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Material {
    /// 32 bytes.
    Ed25519([u8; 32]),
    /// An uncompressed point on P-256: 0x04, x, y.
    EcdsaP256(Vec<u8>),
    /// A DER `RSAPublicKey`.
    Rsa(Vec<u8>),
}

impl PublicKey {
    /// An Ed25519 key.
    pub fn ed25519(bytes: &[u8; 32]) -> Self {
        Self::new("ed25519", "ed25519", HEXLOWER.encode(bytes))
    }

    /// A P-256 key from its `SubjectPublicKeyInfo` in PEM.
    pub fn ecdsa_p256(pem: &str) -> Self {
        Self::new("ecdsa", "ecdsa-sha2-nistp256", pem.to_owned())
    }

    fn new(keytype: &str, scheme: &str, public: String) -> Self {
        Self { keytype: keytype.into(), scheme: scheme.into(), keyval: KeyValue { public } }
    }

    /// The id of this key as tidelock writes it (TUF 1.0.34 §4.2.1).
    pub fn key_id(&self) -> KeyId {
        // Three strings always have a canonical form; the empty one could at worst name no key.
        KeyId(Digest::of(&canonical::to_vec(self).unwrap_or_default()).to_string())
    }

    /// The key without its spelling; `None` where type, scheme or encoding is not one that is known here.
    pub fn material(&self) -> Option<Material> {
        let public = self.keyval.public.as_str();
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let bytes = HEXLOWER_PERMISSIVE.decode(public.as_bytes()).ok()?;
                Some(Material::Ed25519(bytes.try_into().ok()?))
            }
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let der = from_pem(public)?;
                let point = der.strip_prefix(P256_HEAD)?;
                (point.len() == 65 && point[0] == 4).then(|| Material::EcdsaP256(point.to_vec()))
            }
            ("rsa", "rsassa-pss-sha256") => Some(Material::Rsa(rsa_key(&from_pem(public)?)?)),
            _ => None,
        }
    }
}

impl Material {
    /// Whether `signature` (hex, as it stands in the file) over `message` was made with this key.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()) else { return false };
        match self {
            Self::Ed25519(bytes) => {
                let Ok(signature) = Ed25519Signature::from_slice(&signature) else { return false };
                // Strict: a key of small order would let one signature fit many messages.
                VerifyingKey::from_bytes(bytes)
                    .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
            }
            Self::EcdsaP256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, &signature).is_ok()
            }
            Self::Rsa(key) => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, &signature).is_ok()
            }
        }
    }
}

/// What stands before the point in the `SubjectPublicKeyInfo` of every P-256 key (RFC 5480).
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `AlgorithmIdentifier` of `rsaEncryption` (RFC 8017).
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The DER inside a PEM of one `PUBLIC KEY`.
fn from_pem(pem: &str) -> Option<Vec<u8>> {
    let inner =
        pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: Vec<u8> = inner.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&base64).ok()
}

/// The `RSAPublicKey` inside the `SubjectPublicKeyInfo` of an RSA key.
fn rsa_key(der: &[u8]) -> Option<Vec<u8>> {
    let (info, []) = element(0x30, der)? else { return None };
    let (bits, []) = element(0x03, info.strip_prefix(RSA_ALGORITHM)?)? else { return None };
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

/// The content of the DER element with `tag` at the start of `der`, and what follows it. Lengths are those of keys of
/// 2048 bits and more: always two bytes.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag, 0x82])?.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and signature of `b"tidelock"`, made once with OpenSSL 3.0.
    const P256: &str = include_str!("../testdata/p256.pem");
    const P256_SIGNATURE: &str = include_str!("../testdata/p256.sig");
    const RSA: &str = include_str!("../testdata/rsa.pem");
    const RSA_SIGNATURE: &str = include_str!("../testdata/rsa.sig");
    /// RFC 8032 §7.1, test 2.
    const ED25519: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const ED25519_SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn key(keytype: &str, scheme: &str, public: &str) -> PublicKey {
        PublicKey::new(keytype, scheme, public.into())
    }

    #[test]
    fn each_scheme_knows_its_own_signature_and_no_other() {
        let cases = [
            (key("ed25519", "ed25519", ED25519), &b"\x72"[..], ED25519_SIGNATURE),
            (PublicKey::ecdsa_p256(P256), b"tidelock", P256_SIGNATURE.trim()),
            (key("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", P256), b"tidelock", P256_SIGNATURE.trim()),
            (key("rsa", "rsassa-pss-sha256", RSA), b"tidelock", RSA_SIGNATURE.trim()),
        ];
        for (key, message, signature) in cases {
            let material = key.material().unwrap();
            assert!(material.verifies(message, signature), "{}", key.scheme);
            assert!(!material.verifies(b"other", signature), "{}", key.scheme);
            for broken in ["", "00", "zz", &signature[2..], P256_SIGNATURE.trim_end(), ED25519_SIGNATURE] {
                assert!(
                    broken == signature || !material.verifies(message, broken),
                    "{} {broken}",
                    key.scheme
                );
            }
        }
    }

    #[test]
    fn a_key_of_unknown_type_or_broken_encoding_has_no_material() {
        for (keytype, scheme, public) in [
            ("ml-dsa", "ml-dsa-65/1", ED25519),
            ("ed25519", "rsassa-pss-sha256", ED25519),
            ("ed25519", "ed25519", &ED25519[2..]),
            ("ecdsa", "ecdsa-sha2-nistp256", RSA),
            ("ecdsa", "ecdsa-sha2-nistp256", ED25519),
            ("rsa", "rsassa-pss-sha256", P256),
            ("rsa", "rsassa-pss-sha256", &RSA.replace("MII", "MIJ")),
        ] {
            assert!(key(keytype, scheme, public).material().is_none(), "{keytype} {scheme} {public}");
        }
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // With the neutral element as key, R = the neutral element and S = 0 would sign everything (RFC 8032 §5.1.7).
        let neutral = format!("01{}", "0".repeat(62));
        let signature = format!("{neutral}{}", "0".repeat(64));
        let bytes = <[u8; 32]>::try_from(HEXLOWER.decode(neutral.as_bytes()).unwrap()).unwrap();
        assert!(!Material::Ed25519(bytes).verifies(b"anything at all", &signature));
    }

    #[test]
    fn only_an_uncompressed_point_is_a_p256_key() {
        let pem = |point: &[u8]| {
            let der = BASE64.encode(&[P256_HEAD, point].concat());
            format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----")
        };
        let point = |first: u8, length: usize| [&[first][..], &vec![1; length - 1]].concat();
        let material = |point: &[u8]| PublicKey::ecdsa_p256(&pem(point)).material();
        assert!(material(&point(4, 65)).is_some());
        for other in [point(2, 65), point(4, 64), point(4, 66), point(2, 33)] {
            assert!(material(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn two_spellings_of_one_key_are_one_material() {
        let upper = key("ed25519", "ed25519", &ED25519.to_uppercase());
        let lower = key("ed25519", "ed25519", ED25519);
        assert_ne!(upper.key_id(), lower.key_id());
        assert!(upper.material() == lower.material());
        let respaced = P256.replace('\n', "\r\n");
        assert!(PublicKey::ecdsa_p256(&respaced).material() == PublicKey::ecdsa_p256(P256).material());
    }

    #[test]
    fn a_key_id_is_the_published_digest_of_the_canonical_key() {
        // Computed by python-tuf for the same key.
        let id = "eaf1e23f6c823132f437a2eaa299a7950f7386631deff273db195bbd26209e2b";
        assert_eq!(key("ed25519", "ed25519", ED25519).key_id().as_str(), id);
    }
}
