//! The private keys of the repository: made, kept and used here.
//!
//! Never here: who may sign what (that follows from key ids in root and targets), or a key in a message or a log.

mod pem;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};
use tidelock_protocol::keys::{KeyId, PublicKey};
use tidelock_protocol::roles::Signature;
use zeroize::Zeroizing;

/// Longest key file that is read, in bytes.
const FILE_BYTES: u64 = 16 * 1024;
/// How deep below the key directory files are looked for: `DIR/<room>/<name>.pem`.
const DEPTH: usize = 2;

/// Why keys could not be made or read. No variant holds anything secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has no randomness to give.
    #[error("the system gave no randomness for a new key")]
    Random,
    /// A file or directory could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others could read the key.
    #[error("{} has mode {mode:04o}: others may read the key; run `chmod 600` on it, and replace the key if it was exposed", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key of ours.
    #[error("{} is no Ed25519 private key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` writes it", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

/// A private key; wiped from memory when dropped.
pub struct Secret {
    key: SigningKey,
    id: KeyId,
}

/// The private keys of one directory, by their ids.
#[derive(Default)]
pub struct Keyring {
    keys: BTreeMap<KeyId, Secret>,
}

/// 256 random bits, for a secret that is no key.
///
/// # Errors
/// The system has none.
pub fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

impl Secret {
    /// A new Ed25519 key from the system's randomness.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(seed.as_mut()).map_err(|_| Error::Random)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let id = PublicKey::ed25519(key.verifying_key().as_bytes()).key_id();
        Self { key, id }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.key.verifying_key().as_bytes())
    }

    /// Its public half as `fleet.toml` writes it.
    pub fn public_text(&self) -> String {
        format!("ed25519:{}", HEXLOWER.encode(self.key.verifying_key().as_bytes()))
    }

    /// How roles name it.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature { keyid: self.id.clone(), sig: HEXLOWER.encode(&self.key.sign(message).to_bytes()) }
    }

    fn mark(&self, words: &[u8]) -> String {
        self.sign(&[b"tidelock-server: mine: ", words].concat()).sig
    }

    /// Writes it to a new file of mode 0600, whose directory is made (0700) when it is missing; durable on return.
    ///
    /// # Errors
    /// The file exists (a key is never overwritten), or the system refuses.
    pub fn write_new(&self, path: &Path) -> Result<(), Error> {
        let failed = |what| move |source| Error::Io { what, path: path.to_owned(), source };
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make the directory of"))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("create the key file"))?;
        let text = pem::write(self.key.as_bytes());
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed("write the key file"))?;
        File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("fsync the directory of"))
    }

    /// The key in this file.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it is no key.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { what: "read the key file", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        match file.take(FILE_BYTES).read_to_string(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(failed(error)),
            _ => {}
        }
        let seed = pem::read(&text).ok_or_else(|| Error::NotAKey { path: path.to_owned() })?;
        Ok(Self::from_seed(&seed))
    }
}

impl Keyring {
    /// Every `*.pem` in `directory` and the directories right below it. What a key may sign follows from its id, not
    /// from the file's name or place.
    ///
    /// # Errors
    /// A directory or file cannot be read, is readable by others, or holds no key: a key that is silently left out
    /// would look like a signature that somebody owes.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        find(directory, DEPTH, &mut files)?;
        let keys = files.iter().map(|path| Secret::from_file(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::from_iter(keys))
    }

    /// What only whoever has these keys can say of `words`, so that one's own are known again wherever they were kept;
    /// none without a key. No signature of a role: those are over JSON.
    pub fn mark(&self, words: &[u8]) -> Option<String> {
        self.keys.values().next().map(|secret| secret.mark(words))
    }

    /// Whether one of these keys said so of `words`: another may have been the first then.
    pub fn is_marked(&self, words: &[u8], mark: &str) -> bool {
        self.keys.values().any(|secret| secret.mark(words) == mark)
    }

    /// The key with this id, if it is here.
    pub fn find(&self, id: &KeyId) -> Option<&Secret> {
        self.keys.get(id)
    }
}

impl FromIterator<Secret> for Keyring {
    fn from_iter<I: IntoIterator<Item = Secret>>(secrets: I) -> Self {
        Self { keys: secrets.into_iter().map(|secret| (secret.id.clone(), secret)).collect() }
    }
}

fn find(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Io { what: "look for keys in", path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if depth > 1 {
                find(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// RFC 8032 §7.1, test 2.
    const SEED: [u8; 32] = [
        0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f, 0x5b,
        0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
    ];

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tidelock-keys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_signature_is_the_one_of_the_standard_and_verifies() {
        let secret = Secret::from_seed(&SEED);
        let signature = secret.sign(b"\x72");
        assert!(signature.sig.starts_with("92a009a9f0d4cab8720e820b5f642540"));
        assert!(secret.public().material().unwrap().verifies(b"\x72", &signature.sig));
        assert_eq!(signature.keyid, secret.public().key_id());
    }

    #[test]
    fn a_mark_is_known_whoever_comes_to_the_keyring_and_is_nobody_elses() {
        let ring = |seeds: &mut dyn Iterator<Item = u8>| -> Keyring {
            seeds.map(|seed| Secret::from_seed(&[seed; 32])).collect()
        };
        for n in 0..8 {
            let alone = ring(&mut std::iter::once(n));
            let mark = alone.mark(b"words").unwrap();
            assert!(alone.is_marked(b"words", &mark) && !alone.is_marked(b"other words", &mark));
            assert!(ring(&mut (0..8)).is_marked(b"words", &mark));
            assert!(!ring(&mut (0..8).filter(|other| *other != n)).is_marked(b"words", &mark));
        }
    }

    #[test]
    fn keys_are_written_once_for_their_owner_alone_and_read_back() {
        let directory = directory("written");
        let path = directory.join("online/timestamp.pem");
        let secret = Secret::generate().unwrap();
        secret.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(secret.write_new(&path), Err(Error::Io { .. })), "a key is never overwritten");
        std::fs::write(directory.join("README"), "no key").unwrap();
        let ring = Keyring::read(&directory).unwrap();
        assert_eq!(ring.find(secret.id()).unwrap().public(), secret.public());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_key_that_others_may_read_and_a_file_that_is_no_key_are_refused() {
        let directory = directory("exposed");
        let path = directory.join("a.pem");
        Secret::from_seed(&SEED).write_new(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keyring::read(&directory).err().unwrap();
        assert!(matches!(error, Error::Exposed { mode: 0o640, .. }), "{error}");
        std::fs::write(&path, "-----BEGIN PUBLIC KEY-----\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Keyring::read(&directory), Err(Error::NotAKey { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
