//! The app of the demo: a small web process, its hooks, and a supervisor of its own. Standard library only, since this
//! very file, compiled, is the executable that the demo commits to its fleet repository.
//!
//! `supervise SOCKET` runs beside the agent and outlives it; `start` and `stop` are the hooks, which ask it over the
//! socket that `SUPERVISOR` names; `serve` is the web process: it answers `/` with `page.txt`, `/health` with what
//! `health.txt` says, both read once at its start from the directory it was started in, and `/pid`.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("supervise"), Some(socket)) => supervise(Path::new(&socket)),
        (Some("start"), None) => ask(&format!("start {}", std::env::current_dir()?.display())),
        (Some("stop"), None) => ask("stop"),
        (Some("serve"), None) => serve(),
        _ => Err(Error::other("usage: demo-web supervise SOCKET | start | stop | serve")),
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| Error::other(format!("{name} is not set")))
}

/// Sends one line to the supervisor and waits for its answer.
fn ask(line: &str) -> Result<()> {
    let mut supervisor = UnixStream::connect(variable("SUPERVISOR")?)?;
    writeln!(supervisor, "{line}")?;
    let mut answer = String::new();
    BufReader::new(supervisor).read_line(&mut answer)?;
    if answer.trim() == "ok" { Ok(()) } else { Err(Error::other(answer)) }
}

/// What is wanted, and what runs.
#[derive(Default)]
struct Service {
    directory: Option<PathBuf>,
    child: Option<Child>,
}

impl Service {
    fn obey(&mut self, line: &str) -> Result<()> {
        self.stop();
        match line.trim().split_once(' ') {
            Some(("start", directory)) => {
                self.directory = Some(directory.into());
                self.start()
            }
            _ => {
                self.directory = None;
                Ok(())
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut command = Command::new(directory.join("bin/web"));
        // The pipe is how the web process learns that its supervisor is gone.
        self.child = Some(command.arg("serve").current_dir(directory).stdin(Stdio::piped()).spawn()?);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts it anew when it ended by itself.
    fn keep(&mut self) {
        let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            self.child = None;
            drop(self.start());
        }
    }
}

/// Takes orders until its own standard input ends.
fn supervise(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    let service = Arc::new(Mutex::new(Service::default()));
    let kept = Arc::clone(&service);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            if let Ok(mut service) = kept.lock() {
                service.keep();
            }
        }
    });
    let ordered = Arc::clone(&service);
    std::thread::spawn(move || {
        for hook in listener.incoming().flatten() {
            drop(answer(hook, &ordered));
        }
    });
    until_input_ends();
    if let Ok(mut service) = service.lock() {
        service.stop();
    }
    drop(std::fs::remove_file(socket));
    Ok(())
}

fn answer(mut hook: UnixStream, service: &Mutex<Service>) -> Result<()> {
    let mut line = String::new();
    BufReader::new(hook.try_clone()?).read_line(&mut line)?;
    let outcome = match service.lock() {
        Ok(mut service) => service.obey(&line),
        Err(_) => Err(Error::other("the supervisor is broken")),
    };
    match outcome {
        Ok(()) => writeln!(hook, "ok"),
        Err(error) => writeln!(hook, "{error}"),
    }
}

fn until_input_ends() {
    let mut nothing = Vec::new();
    drop(std::io::stdin().read_to_end(&mut nothing));
}

fn serve() -> Result<()> {
    let page = std::fs::read_to_string("page.txt")?;
    let healthy = std::fs::read_to_string("health.txt")?.trim() == "good";
    let listener = TcpListener::bind(format!("127.0.0.1:{}", variable("PORT")?))?;
    std::thread::spawn(|| {
        until_input_ends();
        std::process::exit(0);
    });
    for client in listener.incoming().flatten() {
        drop(respond(client, &page, healthy));
    }
    Ok(())
}

fn respond(mut client: TcpStream, page: &str, healthy: bool) -> Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    let id = std::process::id().to_string();
    let (status, body) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", page),
        Some("/pid") => ("200 OK", id.as_str()),
        Some("/health") if healthy => ("200 OK", "good\n"),
        Some("/health") => ("503 Service Unavailable", "bad\n"),
        _ => ("404 Not Found", "nothing here\n"),
    };
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
