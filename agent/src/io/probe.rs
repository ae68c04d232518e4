//! One run of one check: a question to the app, and whether the answer is as it should be.
//!
//! Never here: how often to ask, or what an answer is worth (`decide`). The app is on this machine and proves nothing
//! about itself: certificates are not judged, proxies are not used, redirects are not followed.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tidelock_protocol::recipe::Probe;
use ureq::tls::TlsConfig;

use super::service::{self, Ended, Job, Shown, Stopped};
use super::wake::Wake;
use crate::decide::model::Outcome;

/// How much of an answer is shown when it is not as it should be.
const BODY: u64 = 1024;
/// systemd and the agent read their clocks one after the other.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// Asks what `probe` asks of a release that was started at `started` since boot, for at most `job.timeout`; `job` is how a
/// command of this release is run. Units have the names that they have on the device.
///
/// # Errors
/// [`Stopped`]: the agent was asked to end before there was an answer.
pub fn run(probe: &Probe, job: Job<'_>, started: Duration, wake: &Wake) -> Result<Ended, Stopped> {
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
        Probe::Unit(unit) => {
            Ok(asked(unit).map_or_else(Ended::failed, |shown| stands(unit, &shown, started)))
        }
        Probe::LastRun(timer) => Ok(last_run(timer, started).unwrap_or_else(Ended::failed)),
    }
}

/// What systemd knows of one unit.
fn asked(unit: &str) -> Result<Shown, String> {
    let all = service::show(&[unit.to_owned()].into())
        .map_err(|error| format!("cannot ask about {unit}: {error}"))?;
    let shown = all.into_values().next().unwrap_or_default();
    match shown.load.as_str() {
        "loaded" => Ok(shown),
        load => Err(format!("{unit} cannot be used: it is {load}")),
    }
}

/// Whether a unit is up and was not restarted by systemd since the release was started.
fn stands(unit: &str, shown: &Shown, started: Duration) -> Ended {
    let Shown { active, sub, result, restarts, since, .. } = shown;
    let restarted = *restarts > 0 && *since > started + CLOCKS_DIFFER;
    match shown.is_up() && !restarted {
        true => passed(format!("{unit} is {active} ({sub})")),
        false => Ended::failed(format!(
            "{unit} is {active} ({sub}, {result}), restarted {restarts} times\n{}",
            service::story(&[unit.to_owned()].into())
        )),
    }
}

/// Whether what a timer starts has ended well since the release was started; it is started once, if it has not run yet.
fn last_run(timer: &str, started: Duration) -> Result<Ended, String> {
    let triggers = asked(timer)?.triggers;
    let unit = triggers.split_whitespace().next().ok_or_else(|| format!("{timer} starts nothing"))?;
    let shown = asked(unit)?;
    let has_run = shown.exited + CLOCKS_DIFFER > started && !shown.exited.is_zero();
    if shown.is_busy() {
        return Ok(Ended::failed(format!("{unit} has not ended yet")));
    }
    if !has_run {
        service::begin(unit).map_err(|error| format!("cannot start {unit}: {error}"))?;
        return Ok(Ended::failed(format!("{unit} had not run since the start, and was started now")));
    }
    Ok(match shown.result.as_str() {
        "success" => passed(format!("{unit} ended well")),
        result => Ended::failed(format!(
            "{unit} ended with {result}\n{}",
            service::story(&[unit.to_owned()].into())
        )),
    })
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
            unit: None,
        };
        run(probe, job, Duration::ZERO, &wake).unwrap()
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
    }

    #[test]
    fn a_unit_stands_while_systemd_did_not_restart_it() {
        let started = Duration::from_secs(100);
        let shown = |active: &str, restarts, since| Shown {
            load: "loaded".into(),
            active: active.into(),
            restarts,
            since: Duration::from_secs(since),
            ..Shown::default()
        };
        let stands = |shown: &Shown| stands("web.service", shown, started).outcome == Outcome::Passed;
        assert!(
            stands(&shown("active", 0, 100)) && stands(&shown("active", 0, 130)),
            "a socket may start it later"
        );
        assert!(!stands(&shown("active", 1, 130)));
        assert!(stands(&shown("active", 3, 90)), "restarts before a reload do not count");
        assert!(!stands(&shown("activating", 1, 90)) && !stands(&shown("failed", 0, 90)));
    }

    #[test]
    fn a_command_answers_with_its_status() {
        let command = |text: &str| Probe::Command(Command::Shell(text.into()));
        assert_eq!(ask(&command("true"), LATE).outcome, Outcome::Passed);
        assert_eq!(ask(&command("echo bad; false"), LATE), Ended::failed("ended with status 1: bad"));
    }
}
