//! Settings: the third stage of the configuration, in types that cannot be wrong.

use std::path::PathBuf;

/// How the publisher is reached. Secrets are read from their files when a connection is made, and never logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Base URL without a trailing slash; `metadata/` and `targets/` lie below it.
    pub url: String,
    /// Certificates to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// A file whose one line `Name: value` is sent with every request.
    pub header_file: Option<PathBuf>,
    /// This device's certificate chain and key, PEM.
    pub client: Option<ClientCertificate>,
}

/// A client certificate for the publisher's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}
