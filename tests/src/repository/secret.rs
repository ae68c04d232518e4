//! Private keys of a repository in memory, of every kind that devices verify.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
};
use tidelock_protocol::keys::{KeyValue, PublicKey};

/// A private key.
#[derive(Clone)]
pub struct Secret {
    public: PublicKey,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Ed25519(Box<SigningKey>),
    Ecdsa(Arc<EcdsaKeyPair>),
    Rsa(Arc<RsaKeyPair>),
}

impl Secret {
    /// An Ed25519 key that no other call of this process gives.
    pub fn ed25519() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let key = SigningKey::from_bytes(&seed);
        Self {
            public: PublicKey::ed25519(key.verifying_key().as_bytes()),
            kind: Kind::Ed25519(Box::new(key)),
        }
    }

    /// A new P-256 key.
    ///
    /// # Panics
    /// When the system gives no random numbers.
    pub fn ecdsa() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let head = HEXLOWER.decode(b"3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let der = [&*head, key.public_key().as_ref()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&der));
        Self { public: PublicKey::ecdsa_p256(&pem), kind: Kind::Ecdsa(Arc::new(key)) }
    }

    /// The one RSA key of the suites: 2048 bits, always the same, since making one takes seconds.
    ///
    /// # Panics
    /// When its file was altered.
    pub fn rsa() -> Self {
        let key = RsaKeyPair::from_pkcs8(include_bytes!("rsa.pk8")).unwrap();
        let public = include_str!("rsa.pem").to_owned();
        let (keytype, scheme) = ("rsa".to_owned(), "rsassa-pss-sha256".to_owned());
        let public = PublicKey { keytype, scheme, keyval: KeyValue { public } };
        Self { public, kind: Kind::Rsa(Arc::new(key)) }
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its id as tidelock writes it.
    pub fn id(&self) -> String {
        self.public.key_id().to_string()
    }

    /// Its signature over `message`, hex.
    ///
    /// # Panics
    /// When the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Ed25519(key) => HEXLOWER.encode(&key.sign(message).to_bytes()),
            Kind::Ecdsa(key) => HEXLOWER.encode(key.sign(&random, message).unwrap().as_ref()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
                HEXLOWER.encode(&signature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_verified_by_the_protocol() {
        for secret in [Secret::ed25519(), Secret::ecdsa(), Secret::rsa()] {
            let material = secret.public().material().unwrap();
            assert!(material.verifies(b"m", &secret.sign(b"m")), "{}", secret.public().scheme);
        }
        assert_ne!(Secret::ed25519().id(), Secret::ed25519().id());
    }
}
