//! The same on f2fs, in a machine whose kernel has it: that one sees the files of this one and runs this very program.
//!
//! Emulated, an image takes some ten seconds: `tests/run f2fs [N [SEED]]`, by name.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidelock_tests::program::{find, output};
use tidelock_tests::programs::{self, Ours};

const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/kernel");
/// For everything, images and all; each of them takes seconds.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// What is asked of the file system, in the words of the test program. An agent that skips only some syncs is not seen to
/// break there, for f2fs writes everything out at the fsync of a directory.
const SUITE: &str = "power::whatever power::careless power::rig::a_file --skip power::f2fs \
                     --skip power::careless::an_agent_that_skips --test-threads 1 --nocapture";

/// What the machine runs, and its programs; without what only a debugger reads, for all of it lies in memory there.
fn prepare(job: &Path) {
    let programs = job.join("debug");
    fs::create_dir_all(programs.join("deps")).unwrap();
    let strip =
        |from: &Path, to: &Path| drop(output(Command::new(find("strip")).arg("-o").arg(to).arg(from)));
    for (program, name) in [(Ours::Agent, "tidelock"), (Ours::Server, "tidelock-server")] {
        strip(&program.path(), &programs.join(name));
    }
    strip(&std::env::current_exe().unwrap(), &programs.join("deps/system"));
    let images = std::env::var("TIDELOCK_POWER").unwrap_or_else(|_| "24".into());
    let seed = std::env::var("TIDELOCK_POWER_SEED").map(|seed| format!("TIDELOCK_POWER_SEED={seed}"));
    // Nothing is built there: what cargo would build lies there already.
    let script = format!(
        "export TIDELOCK_POWER_ON=f2fs TIDELOCK_POWER={images} CARGO=true {}\nexec /tmp/job/debug/deps/system {SUITE}\n",
        seed.unwrap_or_default()
    );
    fs::write(job.join("job"), script).unwrap();
}

#[test]
fn whatever_a_power_cut_takes_on_f2fs_the_device_reaches_its_goal() {
    let place = programs::kept().join("f2fs");
    output(Command::new(KERNEL).arg(place.join("kernel")));
    prepare(&place.join("job"));
    let console = place.join("console");
    let words = format!("console=ttyS0 quiet mitigations=off job={}", place.join("job").display());
    let mut machine = Command::new(find("setpriv"))
        .args(["--pdeathsig", "KILL", "--"])
        .arg(find("qemu-system-x86_64"))
        .args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-net", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(place.join("kernel/vmlinuz"))
        .arg("-initrd")
        .arg(place.join("kernel/initrd.img"))
        .args(["-append", &words, "-virtfs"])
        .arg("local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap")
        .stdin(Stdio::null())
        .stdout(File::create(&console).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    while machine.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it does not end: {}", console.display());
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = fs::read_to_string(&console).unwrap();
    println!("{said}");
    // Without these words it is a machine that ran something else, or nothing.
    assert!(said.contains("F2fs") && said.contains(" 0 broken, in "), "see {}", console.display());
    assert!(said.lines().any(|line| line.trim_end() == "ended: 0"), "see {}", console.display());
}
