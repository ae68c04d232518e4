//! The real nginx on 127.0.0.1: a published tree over HTTP or HTTPS, or Git over smart HTTP.
//!
//! Never here: what is served.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::authority::Pair;
use crate::program::{Running, find, free_address, run};
use crate::scratch::Scratch;

/// A running nginx with a configuration of its own; ends on drop.
pub struct Nginx {
    address: SocketAddr,
    scheme: &'static str,
    logs: Scratch,
    // Ended in this order.
    _nginx: Running,
    _fcgiwrap: Option<Running>,
}

/// What nginx is to do.
#[derive(Clone, Debug, Default)]
pub struct Config {
    tls: Option<Pair>,
    clients: Option<PathBuf>,
    location: String,
    git: bool,
}

impl Config {
    /// Serves the files below `root`, as the README tells an operator to.
    pub fn files(root: &Path) -> Self {
        let location = format!("root {};\n  etag on; default_type application/octet-stream;", root.display());
        Self { location, ..Self::default() }
    }

    /// Serves the bare repositories below `root` by smart HTTP: `git http-backend` behind fcgiwrap.
    pub fn git(root: &Path) -> Self {
        let backend = Path::new(&run(find("git"), &["--exec-path"])).join("git-http-backend");
        assert!(backend.is_file(), "git comes without {}", backend.display());
        let backend = backend.display();
        let root = root.display();
        let location = format!(
            "client_max_body_size 0;
  include /etc/nginx/fastcgi_params;
  fastcgi_param SCRIPT_FILENAME {backend};
  fastcgi_param PATH_INFO $uri;
  fastcgi_param GIT_PROJECT_ROOT {root};
  fastcgi_param GIT_HTTP_EXPORT_ALL 1;
  fastcgi_param GIT_PROTOCOL $http_git_protocol;
  fastcgi_param REMOTE_USER tester;
  fastcgi_pass unix:LOGS/fcgi.sock;"
        );
        Self { location, git: true, ..Self::default() }
    }

    /// Serves by TLS with this certificate.
    pub fn tls(self, pair: Pair) -> Self {
        Self { tls: Some(pair), ..self }
    }

    /// Lets only clients in that have a certificate of the authority `ca`.
    pub fn only_clients_of(self, ca: PathBuf) -> Self {
        Self { clients: Some(ca), ..self }
    }

    /// More lines for the location, such as `limit_rate 1m;`.
    pub fn with(self, lines: &str) -> Self {
        Self { location: format!("{}\n  {lines}", self.location), ..self }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When nginx is not there or will not start; with what it said.
    pub fn start(self) -> Nginx {
        let logs = Scratch::new("nginx");
        let fcgiwrap = self.git.then(|| fcgiwrap(&logs));
        // The port is free when it is chosen, and perhaps not any more when nginx takes it.
        for _ in 0..5 {
            let address = free_address();
            let file = logs.join("nginx.conf");
            fs::write(&file, self.text(address, logs.path())).unwrap();
            let arguments: [&OsStr; 4] = ["-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), file.as_ref()];
            let mut nginx = Running::start(&find("nginx"), &arguments, &logs.join("nginx.log"));
            if nginx.listens_on(address) {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                return Nginx { address, scheme, logs, _nginx: nginx, _fcgiwrap: fcgiwrap };
            }
            let said = nginx.said();
            assert!(said.contains("Address already in use"), "nginx does not start: {said}");
        }
        panic!("nginx found no free port five times");
    }

    fn text(&self, address: SocketAddr, logs: &Path) -> String {
        let directory = logs.display();
        // The workers run as whoever runs the tests: nobody else may read what a test has just made.
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let port = address.port();
        let tls = self.tls.as_ref().map_or(String::new(), |pair| {
            format!("ssl_certificate {}; ssl_certificate_key {};", pair.chain.display(), pair.key.display())
        });
        let listen = if self.tls.is_some() { format!("{port} ssl") } else { port.to_string() };
        let clients = self.clients.as_ref().map_or(String::new(), |ca| {
            format!("ssl_client_certificate {}; ssl_verify_client on;", ca.display())
        });
        let location = self.location.replace("LOGS", &directory.to_string());
        format!(
            "{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
 access_log {directory}/access.log;
 client_body_temp_path {directory}/body;
 proxy_temp_path {directory}/proxy;
 fastcgi_temp_path {directory}/fastcgi;
 uwsgi_temp_path {directory}/uwsgi;
 scgi_temp_path {directory}/scgi;
 keepalive_timeout 600;
 types {{ application/json json; application/gzip gz; }}
 server {{
  listen 127.0.0.1:{listen};
  {tls} {clients}
  location / {{
  {location}
  }}
 }}
}}
"
        )
    }
}

fn fcgiwrap(logs: &Scratch) -> Running {
    let socket = logs.join("fcgi.sock");
    let address = format!("unix:{}", socket.display());
    let arguments: [&OsStr; 4] = ["-c".as_ref(), "2".as_ref(), "-s".as_ref(), address.as_ref()];
    let mut fcgiwrap = Running::start(&find("fcgiwrap"), &arguments, &logs.join("fcgiwrap.log"));
    assert!(fcgiwrap.until("listen", || socket.exists()), "fcgiwrap does not start: {}", fcgiwrap.said());
    fcgiwrap
}

impl Nginx {
    /// Such as `https://127.0.0.1:40123`; the certificate of [`crate::authority::Authority::server`] fits it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its access log, one line per request answered.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.logs.join("access.log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// Makes an empty bare repository below `root` that takes pushes, and gives back its directory.
///
/// # Panics
/// When git fails.
pub fn bare_repository(root: &Path, name: &str) -> PathBuf {
    let directory = root.join(name);
    crate::program::output(
        Command::new(find("git")).args(["init", "-q", "--bare", "--initial-branch=main"]).arg(&directory),
    );
    crate::program::output(Command::new(find("git")).arg("-C").arg(&directory).args([
        "config",
        "http.receivepack",
        "true",
    ]));
    directory
}
