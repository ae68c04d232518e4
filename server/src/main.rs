//! The program `tidelock-server`: reads the command line, and brings `turn` and `web` together for `serve`.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};

use clap::Parser;
use tidelock_server::cli::{self, Arguments, Command, Exit, Notify, Serve, Serving};
use tidelock_server::turn::{self, Desk, News, Said, Wake};
use tidelock_server::web::{Certificate, Limits, Options, Web};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Init(arguments) => cli::init(&arguments),
        Command::Publish(arguments) => cli::publish(&arguments),
        Command::Validate(arguments) => cli::validate(&arguments),
        Command::Plan(arguments) => cli::plan(&arguments),
        Command::Promote(arguments) => cli::promote(&arguments),
        Command::Push(arguments) => cli::push(&arguments),
        Command::Wait(arguments) => cli::wait(&arguments),
        Command::Token(command) => cli::token(&command),
        Command::BreakGlass(arguments) => cli::break_glass(&arguments),
        Command::Status(arguments) => cli::status(&arguments),
        Command::Expiring(arguments) => cli::expiring(&arguments),
        Command::Serve(arguments) => serve(&arguments),
    };
    let exit = result.unwrap_or_else(|error| {
        cli::complain(&error);
        error.exit()
    });
    exit.into()
}

/// Serves until it is told to stop; turns run on a thread of their own, so that a slow repository slows no answer down.
fn serve(arguments: &Serve) -> Result<Exit, cli::Error> {
    let Serving { settings, listen, poll, certificate } = cli::serving(arguments)?;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&error);
            return Ok(Exit::Error);
        }
    };
    let (wake, woken) = channel();
    let desk = Desk::new(&settings.state, &settings.out, wake.clone());
    let options = Options {
        desk: Some(desk.clone()),
        root: settings.out.clone(),
        listen,
        certificate: certificate.map(|(chain, key)| Certificate { chain, key }),
        limits: Limits::default(),
    };
    let web = match runtime.block_on(Web::bind(options)) {
        Ok(web) => web,
        Err(error) => {
            cli::complain(&error);
            return Ok(Exit::Error);
        }
    };
    // Before anybody is told that it serves: from then on it may be told to stop.
    let asked = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    };
    cli::say(&format!("serving {} at {}", settings.out.display(), web.url()));
    let mut manager = Notify::from_environment();
    let (alive, ended) = oneshot::channel::<()>();
    let turns = std::thread::spawn(move || {
        // Dropped with this thread, also by a panic: a server that never publishes again must not look alive.
        let _alive = alive;
        let turn = || {
            let turned = turn::steadily(&settings);
            manager.turned(&match &turned {
                Ok(outcome) => outcome.in_short(),
                Err(error) => format!("trouble: {}", cli::chain(error)),
            });
            turned.map(|outcome| {
                desk.pin(outcome.board.clone());
                News::from(outcome)
            })
        };
        turn::watch(turn, poll, &woken, say);
    });
    runtime.block_on(web.run(async {
        tokio::select! {
            () = asked_to_stop(asked, wake) => {}
            _ = ended => {}
        }
    }));
    // A turn under way is finished: what it wrote so far would be finished by the next one too, but why leave it.
    Ok(if turns.join().is_ok() { Exit::Done } else { Exit::Error })
}

/// Until SIGTERM or SIGINT; then the turns are told as well.
async fn asked_to_stop(asked: (io::Result<Signal>, io::Result<Signal>), turns: Sender<Wake>) {
    match asked {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without a way to be told, the kernel ends the process instead.
        _ => std::future::pending().await,
    }
    // Nobody listens any more: then there is nothing to stop.
    let _ = turns.send(Wake::Stop);
}

fn say(said: Said) {
    match said {
        Said::News(text) => cli::say(text.trim_end()),
        Said::Warning(text) => cli::say(&format!("warning: {text}")),
        Said::Trouble(text) => cli::say(&format!("trouble: {text}")),
        Said::Well => cli::say("well again"),
    }
}
