//! A certificate authority of a test's own.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// What this machine is called by those that are served here.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "10.0.2.2"];

/// An authority, its certificate at `ca.pem` in its directory. Certificates are valid from 1975 on: clocks are what
/// other tests are about.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate chain and its key as PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that keeps its files in `directory`.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
        Self { directory: directory.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// The authority's own certificate: what a client trusts.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for a server on this machine: `localhost`, 127.0.0.1, and 10.0.2.2, as its virtual machines call it.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn server(&self, name: &str) -> Pair {
        self.issue(name, HOSTS.map(str::to_owned).to_vec(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same, valid from the first of January of one year to that of another.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn server_between(&self, name: &str, from: i32, until: i32) -> Pair {
        let subjects = HOSTS.map(str::to_owned).to_vec();
        self.issue_between(name, subjects, ExtendedKeyUsagePurpose::ServerAuth, from, until)
    }

    /// A certificate for a device.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn client(&self, name: &str) -> Pair {
        self.issue(name, vec![name.into()], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, subjects: Vec<String>, purpose: ExtendedKeyUsagePurpose) -> Pair {
        self.issue_between(name, subjects, purpose, 1975, 4096)
    }

    fn issue_between(
        &self,
        name: &str,
        subjects: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
        from: i32,
        until: i32,
    ) -> Pair {
        let mut params = CertificateParams::new(subjects).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            chain: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        fs::write(&pair.chain, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}
