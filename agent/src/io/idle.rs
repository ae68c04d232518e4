//! Work that gives way to everybody else's: done on a thread whose disk accesses are of the idle class.
//!
//! Never here: which work.

use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::gettid;

/// Does `work` where the disk has nothing else to do; none: no thread could be started for it.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let begun = thread::Builder::new().name("idle".into()).spawn_scoped(scope, || {
            give_way();
            work()
        });
        begun.ok()?.join().ok()
    })
}

/// Puts this thread into the idle class. The system call has no safe door, so the program for it is asked; where there
/// is none, or the disk's scheduler knows no classes, the pauses between two pieces of work must do.
fn give_way() {
    let thread = gettid().as_raw_nonzero().to_string();
    let mut ionice = Command::new("ionice");
    ionice.args(["-c", "3", "-p", &thread]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(ionice.status());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_in_the_idle_class_and_nothing_else_is() {
        let class = || {
            let thread = gettid().as_raw_nonzero().to_string();
            let told = Command::new("ionice").args(["-p", &thread]).output().unwrap();
            String::from_utf8(told.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(run(class).unwrap(), "idle");
        assert_ne!(class(), "idle");
    }
}
