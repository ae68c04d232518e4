//! Killing a real program at its system calls, with strace (6.1 or newer).
//!
//! Never here: which program, or what must hold afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::{bounded, find};

/// Everything by which a Linux program can change what a disk holds, as far as programs do so. A kill strikes at each of
/// those that a run really makes.
pub const CHANGING: [&str; 49] = [
    "chmod",
    "chown",
    "copy_file_range",
    "creat",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fdatasync",
    "fremovexattr",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "io_uring_enter",
    "ioctl",
    "lchown",
    "link",
    "linkat",
    "lsetxattr",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "msync",
    "open",
    "openat",
    "openat2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "setxattr",
    "splice",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "syncfs",
    "truncate",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];

/// What changes no disk. A call that is neither here nor in [`CHANGING`] fails the suite: nobody has thought about it.
const HARMLESS: [&str; 95] = [
    "accept",
    "accept4",
    "access",
    "alarm",
    "arch_prctl",
    "bind",
    "brk",
    "clock_adjtime",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "clone",
    "clone3",
    "close",
    "close_range",
    "connect",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "eventfd2",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fcntl",
    "flock",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpeername",
    "getpid",
    "getppid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "getuid",
    "inotify_add_watch",
    "inotify_init1",
    "ioprio_set",
    "kill",
    "listen",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setpgid",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "socket",
    "socketpair",
    "statfs",
    "statx",
    "sysinfo",
    "uname",
    "vfork",
    "wait4",
    "waitid",
];

/// One place at which a run is killed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    /// The system call.
    pub call: String,
    /// Which one of a thread, counted from 1.
    pub number: u32,
}

/// Runs `command` unharmed and gives every place at which it changes something below one of `roots`.
///
/// # Panics
/// When it does not end with `code`, or makes a call that nobody has thought about.
pub fn strikes(command: &Command, code: i32, roots: &[&Path], scratch: &Path) -> Vec<Strike> {
    let log = scratch.join("strace.log");
    let ran = bounded(&mut told(command, &log));
    assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
    places(&log, roots)
}

/// The same command, whose every system call is written to `log`.
pub fn told(command: &Command, log: &Path) -> Command {
    under(command, log, &["-y", "-s", "0"])
}

/// Every place at which a run that was [`told`] to `log` changed something below one of `roots`.
///
/// # Panics
/// When it made a call that nobody has thought about.
pub fn places(log: &Path, roots: &[&Path]) -> Vec<Strike> {
    let log = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let count = counts.entry((thread, call)).or_default();
        *count += 1;
        if !CHANGING.contains(&call) {
            if !HARMLESS.contains(&call) {
                unknown.insert(call);
            }
        } else if changes(call, arguments, roots) {
            found.insert(Strike { call: call.to_owned(), number: *count });
        }
    }
    assert!(unknown.is_empty(), "calls that nobody has thought about: {unknown:?}");
    assert!(!found.is_empty(), "a run that changes nothing");
    found.into_iter().collect()
}

/// Runs `command` and kills whichever of its processes makes the call of `strike`; whether one did (a thread may make
/// fewer calls than last time).
///
/// # Panics
/// When strace cannot be started.
pub fn kill(command: &Command, strike: &Strike, scratch: &Path) -> bool {
    let log = scratch.join("kill.log");
    bounded(&mut killing(command, strike, &log));
    struck(&log)
}

/// The same command, of which whichever process makes the call of `strike` is killed there; what it does is written to
/// `log`.
pub fn killing(command: &Command, Strike { call, number }: &Strike, log: &Path) -> Command {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:signal=KILL:when={number}");
    under(command, log, &["-e", &trace, "-e", &inject])
}

/// Whether a process was killed, of those whose `log` this is.
pub fn struck(log: &Path) -> bool {
    fs::read_to_string(log).unwrap().contains("killed by SIGKILL")
}

/// The same command, but of one system call, such as `fsync`, only says that it did it; `which` of a thread, as strace
/// counts: `when=2+2` every other one from the second on, none: each.
pub fn only_said(command: &Command, call: &str, which: &str, log: &Path) -> Command {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:retval=0{which}"));
    under(command, log, &["-e", &trace, "-e", &inject])
}

fn under(command: &Command, log: &Path, options: &[&str]) -> Command {
    let mut strace = Command::new(find("strace"));
    strace.args(["-f", "-qq", "-o"]).arg(log).args(options).arg("--").arg(command.get_program());
    strace.args(command.get_args());
    for (key, value) in command.get_envs() {
        value.map(|value| strace.env(key, value));
    }
    strace
}

/// Whether this very call changes something below one of `roots`.
fn changes(call: &str, arguments: &str, roots: &[&Path]) -> bool {
    let below = roots.iter().any(|root| arguments.contains(root.to_str().unwrap()));
    let word = |words: &[&str]| words.iter().any(|word| arguments.contains(word));
    below
        && match call {
            "open" | "openat" | "openat2" => word(&["O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC"]),
            "ioctl" => word(&["FICLONE"]),
            _ => true,
        }
}
