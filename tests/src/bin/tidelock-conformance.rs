//! Speaks the command line of the public TUF conformance suite, on the agent's own trust and nothing else.
//!
//! No verification and no file writing of its own: what it does is `io/http` and `io/refresh`. Only the clock is another,
//! `std`'s, because the suite moves time with a preloaded library that the agent's own system calls go past.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tidelock::config::Connection;
use tidelock::decide::clock::{Floor, Reading};
use tidelock::io::http::Http;
use tidelock::io::refresh::Trust;
use tidelock_protocol::time::Timestamp;

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program's complaint")]
fn complain(error: &dyn std::error::Error) {
    eprint!("tidelock-conformance: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Failed> {
    let mut given = Given::default();
    let mut arguments =
        arguments.map(|argument| argument.into_string().map_err(|_| "an argument is not UTF-8"));
    let command = loop {
        let word = arguments.next().ok_or("a command is missing: init, refresh or download")??;
        let mut value = || arguments.next().ok_or("an option lacks its value")?.map_err(Failed::from);
        match word.as_str() {
            "--metadata-dir" => given.metadata_dir = value()?.into(),
            "--metadata-url" => given.metadata_url = value()?,
            "--target-name" => given.names.push(value()?),
            "--target-dir" => given.target_dir = value()?.into(),
            "--target-base-url" => given.target_base_url = value()?,
            _ => break word,
        }
    };
    match command.as_str() {
        "init" => {
            let root = arguments.next().ok_or("init needs the file of the trusted root")??;
            Ok(Trust::begin(&given.metadata_dir, &std::fs::read(root)?)?)
        }
        "refresh" => given.refresh(),
        "download" => given.download(),
        other => Err(format!("{other:?} is not a command: init, refresh or download").into()),
    }
}

#[derive(Default)]
struct Given {
    metadata_dir: PathBuf,
    metadata_url: String,
    names: Vec<String>,
    target_dir: PathBuf,
    target_base_url: String,
}

impl Given {
    fn refresh(&self) -> Result<(), Failed> {
        let (mut trust, http, reading) = self.client()?;
        trust.refresh(&http, reading)?;
        Ok(())
    }

    fn download(&self) -> Result<(), Failed> {
        let (mut trust, http, reading) = self.client()?;
        if base(&self.target_base_url, "targets") != base(&self.metadata_url, "metadata") {
            return Err("tidelock keeps targets/ beside metadata/: the two URLs do not".into());
        }
        let trusted = trust.refresh(&http, reading)?;
        for name in &self.names {
            trust.file(&http, &trusted, name, &self.target_dir.join(name.replace('/', "%2F")))?;
        }
        Ok(())
    }

    fn client(&self) -> Result<(Trust, Http, Reading), Failed> {
        let civil = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let civil = Timestamp::from_unix(i64::try_from(civil.as_secs())?);
        let reading = Reading { civil, boot: Duration::ZERO, synchronised: true };
        let least = Floor { at: Timestamp::from_unix(0), learnt: Duration::ZERO };
        let (trust, _) = Trust::open(Path::new(&self.metadata_dir), None, least)?;
        let url =
            base(&self.metadata_url, "metadata").ok_or("the metadata URL does not end in /metadata/")?;
        let connection = Connection { url: url.to_owned(), ca_file: None, header_file: None, client: None };
        let http = Http::new(&connection, trust.now(reading))?;
        Ok((trust, http, reading))
    }
}

/// The publisher's base URL: what stands before `metadata/` or `targets/`.
fn base<'a>(url: &'a str, directory: &str) -> Option<&'a str> {
    url.trim_end_matches('/').strip_suffix(directory)?.strip_suffix('/')
}
