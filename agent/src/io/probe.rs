//! One run of one check: a question to the app, and whether the answer is as it should be.
//!
//! Never here: how often to ask, or what an answer is worth (`decide`). The app is on this machine and proves nothing
//! about itself: certificates are not judged, proxies are not used, redirects are not followed.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tidelock_protocol::recipe::Probe;
use ureq::tls::TlsConfig;

use super::service::{self, Ended, Job, Stopped};
use super::wake::Wake;
use crate::decide::model::Outcome;

/// How much of an answer is shown when it is not as it should be.
const BODY: u64 = 1024;

/// Asks what `probe` asks, for at most `job.timeout`; `job` is how a command of this release is run.
///
/// # Errors
/// [`Stopped`]: the agent was asked to end before there was an answer.
pub fn run(probe: &Probe, job: Job<'_>, wake: &Wake) -> Result<Ended, Stopped> {
    let timeout = job.timeout;
    match probe {
        Probe::Http(url) => {
            let url = url.clone();
            service::aside(move || http(&url, timeout), wake)
        }
        Probe::Tcp(place) => {
            let place = place.clone();
            service::aside(move || tcp(&place, timeout), wake)
        }
        Probe::Command(command) => service::run(&Job { command: &command.words(), ..job }, wake),
        Probe::Unit(name) | Probe::LastRun(name) => {
            Ok(Ended::failed(format!("{name} is a unit of systemd, and this agent runs none")))
        }
    }
}

fn http(url: &str, timeout: Duration) -> Ended {
    let tls = TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .user_agent(concat!("tidelock/", env!("CARGO_PKG_VERSION")))
        .build();
    match ureq::Agent::new_with_config(config).get(url).call() {
        Err(error) => Ended::failed(format!("no answer from {url}: {error}")),
        Ok(answer) if answer.status().is_success() => passed(format!("answered {}", answer.status())),
        Ok(mut answer) => {
            let mut text = Vec::new();
            let body = answer.body_mut().as_reader();
            // What can be had of the body helps a person; without it the status says enough.
            let _ = std::io::Read::read_to_end(&mut std::io::Read::take(body, BODY), &mut text);
            let text = String::from_utf8_lossy(&text);
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            let text: String = text.trim().chars().map(plain).collect();
            Ended::failed(format!("{url} answered {}: {text}", answer.status()).trim_end_matches(": "))
        }
    }
}

fn tcp(place: &str, timeout: Duration) -> Ended {
    let addresses = match place.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Ended::failed(format!("cannot find {place}: {error}")),
    };
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return passed(format!("{address} takes connections")),
            Err(error) => last = error.to_string(),
        }
    }
    Ended::failed(format!("no connection to {place}: {last}"))
}

fn passed(output: String) -> Ended {
    Ended { outcome: Outcome::Passed, output }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use tidelock_protocol::recipe::Command;

    use super::*;
    use crate::io::service::Rest;
    use crate::room::Room;

    fn ask(probe: &Probe, timeout: Duration) -> Ended {
        let room = Room::new();
        let wake = Wake::listen().unwrap();
        let job = Job {
            command: &[],
            directory: room.path().to_owned(),
            environment: BTreeMap::new(),
            user: None,
            timeout,
            rest: Rest::Ends,
        };
        run(probe, job, &wake).unwrap()
    }

    /// A server that gives one answer to one question, and its address.
    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    fn closed() -> String {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_status_of_success_passes_and_no_other_does() {
        let ask = |answer| ask(&Probe::Http(format!("http://{}/health", answering(answer))), LATE);
        assert_eq!(ask("HTTP/1.1 204 No Content\r\n\r\n").outcome, Outcome::Passed);
        let said = ask("HTTP/1.1 503 Busy\r\ncontent-length: 7\r\n\r\nno \x1bdb\n");
        assert_eq!(said.outcome, Outcome::Failed);
        assert!(said.output.ends_with("answered 503 Service Unavailable: no  db"), "{}", said.output);
        let said = ask("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        assert!(said.output.ends_with("answered 302 Found"), "{}", said.output);
        assert_eq!(ask("no http at all").outcome, Outcome::Failed);
    }

    #[test]
    fn who_does_not_listen_or_answer_fails_with_a_reason() {
        let said = ask(&Probe::Http(format!("http://{}/", closed())), LATE);
        assert!(said.output.starts_with("no answer from http://127.0.0.1:"), "{}", said.output);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        assert_eq!(ask(&Probe::Http(url), Duration::from_millis(200)).outcome, Outcome::Failed);
        assert_eq!(ask(&Probe::Tcp(closed()), LATE).outcome, Outcome::Failed);
        assert_eq!(ask(&Probe::Tcp(silent.local_addr().unwrap().to_string()), LATE).outcome, Outcome::Passed);
        assert!(ask(&Probe::Unit("web.service".into()), LATE).output.contains("systemd"));
    }

    #[test]
    fn a_command_answers_with_its_status() {
        let command = |text: &str| Probe::Command(Command::Shell(text.into()));
        assert_eq!(ask(&command("true"), LATE).outcome, Outcome::Passed);
        assert_eq!(ask(&command("echo bad; false"), LATE), Ended::failed("ended with status 1: bad"));
    }
}
