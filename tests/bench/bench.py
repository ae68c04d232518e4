#!/usr/bin/env python3
"""The bench: ratios against named tools in the same run, printed; nothing here is a test.

    tests/bench/bench.py            everything but `hour` and `targets` (as root: loop devices, namespaces; about an hour)
    tests/bench/bench.py NAME…      some of: install next pairs memory resting poll publish great push releases size hour
                                    downtime targets

Each line: what, ours, theirs, ratio, and what is accepted and aimed at.
"""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import downtime
import publisher
import rig
import targets
from rig import WORK, Device, Fleet, Nginx, Wire, cost, empty_log, file_system, fresh, quiet, versus, written

TREES = WORK / "trees"
PAIRS = "esphome pm2 nginx node-red zigbee2mqtt numpy onnxruntime opencv ruff uv containerd".split()
# The software digest is what a Pi without SHA instructions computes.
SOFT_SHA = '--cfg sha2_backend="soft"'


def line(what, ours, theirs, ratio, accept="", aim=""):
    print(f"{what:58} {ours:>14} {theirs:>14} {ratio:>8}   accept {accept:8} aim {aim}", flush=True)


def ratio_line(what, ours, theirs, unit, ratio, accept="", aim=""):
    line(what, f"{ours:.2f} {unit}", f"{theirs:.2f} {unit}", f"{ratio:.2f}", accept, aim)


def variant(name, flags):
    """The agent built with other flags, in a directory of its own."""
    quiet("cargo", "build", "--quiet", "--locked", "-p", "tidelock", "--profile", "agent", cwd=rig.ROOT,
          env=dict(rig.os.environ, CARGO_TARGET_DIR=str(WORK / name), RUSTFLAGS=flags))
    return WORK / name / "agent/tidelock"


def install(agent, server):
    fleet = Fleet(server, WORK / "install")
    fleet.take(TREES / "whole")
    fleet.publish()
    bundle = next(fleet.out.glob("targets/*.tar.gz"))
    soft = variant("soft", SOFT_SHA)
    with Nginx(fleet.out) as nginx, file_system("ext4", 2048) as (mount, _):
        def pipeline():
            to = fresh(mount / "shell")
            return cost(f"curl -fsS {nginx.url()}/targets/{bundle.name} | tee >(sha256sum >{mount}/sum) "
                        f"| tar xz -C {to}; wait; sync -f {to}")

        def ours(program):
            return lambda: Device(program, mount / "device", fleet, nginx.url()).update()

        for name, program, bounds in (("install", agent, (("0.6", "0.35"), ("0.6", "0.4"))),
                                      ("install, software SHA", soft, (("", ""), ("", "")))):
            wall, cpu, (a, b) = versus(ours(program), pipeline)
            ratio_line(f"{name}: wall, against curl|tee|tar", a.wall, b.wall, "s", wall, *bounds[0])
            ratio_line(f"{name}: CPU", a.cpu, b.cpu, "s", cpu, *bounds[1])
            line(f"{name}: peak memory", f"{a.peak:.1f} MiB", "", "")


def next_release(agent, server):
    """One file in a hundred changed, twice, on xfs: as a device under systemd does it by default, and by reflink.

    By reflink every file of a release is an inode of its own, reused or not: 512 bytes in its place, and what the log
    holds of it until then. A hard link costs the log one change of the inode that is there. The second line is taken
    when the log is empty. The release after the next one removes the first besides, which changes as many inodes
    again: it is printed, and nothing is accepted of it.
    """
    for kind, name in ((rig.Machine, "systemd"), (Device, "no systemd")):
        next_releases(kind, name, agent, server)


def next_releases(kind, supervisor, agent, server):
    fleet = Fleet(server, WORK / "next")
    fleet.take(TREES / "whole")
    fleet.publish()
    with Nginx(fleet.out) as nginx, file_system("xfs", 2048) as (mount, loop):
        device = kind(agent, mount / "device", fleet, nginx.url())
        device.update()
        for name, first in (("next release", 0), ("the one after", 50)):
            all_files = sorted(p for p in (fleet.git / "bench").rglob("*") if p.is_file() and not p.is_symlink())
            files = all_files[first::100]
            for file in files:
                with open(file, "ab") as end:
                    end.write(b"#\n")
            changed = sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
            directories = 4096 * sum(1 for p in (fleet.git / "bench").rglob("*") if p.is_dir())
            fleet.commit()
            fleet.publish()
            empty_log(mount)
            before = written(loop)
            device.update()
            synced = written(loop) - before
            empty_log(mount)
            settled, needed = written(loop) - before, changed + directories
            ratio = lambda what, ours, *bounds: ratio_line(f"{name}, {supervisor}: {what}", ours / 1e6, needed / 1e6, "MB", ours / needed, *bounds)
            ratio(f"written / changed ({len(files)} files)", synced, *(("1.3", "1.1") if kind is rig.Machine and not first else ()))
            ratio("the same, once the log is empty", settled)


def pairs(agent, server):
    """What an update between two real releases costs on the wire, beside casync and zchunk on the same trees."""
    totals = {"ours": [0, 0], "casync": [0, 0], "zchunk": [0, 0], "whole": [0, 0]}
    for name in PAIRS:
        old, new = TREES / name / "old", TREES / name / "new"
        row = {"ours": our_pair(agent, server, old, new), **their_pair(old, new)}
        for tool, (requests, sent) in row.items():
            totals[tool][0] += requests
            totals[tool][1] += sent
        print(f"  {name:12}" + "".join(f" {tool} {sent / 1000:9.0f} kB/{requests:<5}" for tool, (requests, sent) in row.items()), flush=True)
    ours = totals["ours"]
    for tool in ("casync", "zchunk"):
        theirs = totals[tool]
        ratio_line(f"eleven pairs: fetched, against {tool}", ours[1] / 1e6, theirs[1] / 1e6, "MB", ours[1] / theirs[1],
                   "1.00" if tool == "casync" else "", "1.00" if tool == "zchunk" else "")
        line(f"eleven pairs: requests, against {tool}", ours[0], theirs[0], f"{ours[0] / theirs[0]:.3f}",
             "0.1" if tool == "casync" else "", "0.05" if tool == "casync" else "")


def our_pair(agent, server, old, new):
    fleet = Fleet(server, WORK / "pair")
    fleet.take(old)
    fleet.publish()
    with Nginx(fleet.out) as nginx:
        device = Device(agent, WORK / "pair-device", fleet, nginx.url())
        device.update()
        fleet.take(new)
        fleet.publish()
        nginx.served()
        device.update()
        # Metadata is the same whatever is installed; the index counts, as it does for the others.
        time.sleep(0.1)
        rows = [row.split() for row in nginx.log.read_text().splitlines()]
        sent = [int(row[1]) for row in rows if row[0] in ("200", "206") and row[2].startswith("/targets/")
                and not row[2].endswith(".json")]
        quiet("diff", "-r", "--no-dereference", fleet.git / "bench", device.live())
        return len(sent), sum(sent)


def their_pair(old, new):
    home = fresh(WORK / "peers")
    tar = "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C {} -cf {} ."
    for side, tree in (("old", old), ("new", new)):
        quiet("bash", "-c", tar.format(tree, home / f"{side}.tar"))
    quiet("zck", "-o", home / "old.zck", home / "old.tar")
    quiet("zck", "-o", home / "new.zck", home / "new.tar")
    quiet("casync", "make", f"--store={home}/served.castr", "--without=all", home / "served.caidx", new)
    served = fresh(home / "served")
    shutil.move(home / "served.castr", served / "default.castr")
    shutil.move(home / "served.caidx", served / "new.caidx")
    shutil.move(home / "new.zck", served / "new.zck")
    with Nginx(served) as nginx:
        nginx.served()
        quiet("casync", "extract", "--without=all", f"--seed={old}", f"--store={nginx.url()}/default.castr",
              f"{nginx.url()}/new.caidx", home / "extracted", stderr=subprocess.DEVNULL)
        casync = nginx.served()
        (home / "download").mkdir()
        shutil.copy(home / "old.zck", home / "download/old.zck")
        quiet("zckdl", "-s", "old.zck", f"{nginx.url()}/new.zck", cwd=home / "download", stderr=subprocess.DEVNULL)
        zchunk = nginx.served()
    quiet("bash", "-c", f"gzip -9 <{home}/new.tar >{home}/new.tar.gz")
    return {"casync": casync, "zchunk": zchunk, "whole": (1, (home / "new.tar.gz").stat().st_size)}


def memory(agent, server):
    """Peak memory of an update must not grow with the bundle: 20 MB and 500 MB in as many files."""
    peaks = {}
    for megabytes in (20, 500):
        tree = fresh(WORK / "tree")
        for n in range(1000):
            # Half of it compresses, as real trees do.
            piece = rig.os.urandom(megabytes * 512) + bytes(megabytes * 512)
            (tree / f"f{n:04}").write_bytes(piece)
        fleet = Fleet(server, WORK / "memory")
        fleet.take(tree)
        fleet.publish()
        with Nginx(fleet.out) as nginx:
            peaks[megabytes] = Device(agent, WORK / "memory-device", fleet, nginx.url()).update().peak
            if megabytes == 500:
                ostree = pull_by_ostree(tree)
    line("peak memory of update, 20 MB and 500 MB", f"{peaks[20]:.1f} MiB", f"{peaks[500]:.1f} MiB",
         f"{peaks[500] - peaks[20]:+.1f}", "12, ±1", "8")
    line("peak memory of ostree pull + checkout, 500 MB", "", f"{ostree:.1f} MiB", "")


def pull_by_ostree(tree):
    home = fresh(WORK / "ostree")
    quiet("ostree", "init", f"--repo={home}/origin", "--mode=archive")
    quiet("ostree", "commit", f"--repo={home}/origin", "-b", "bench", f"--tree=dir={tree}")
    quiet("ostree", "summary", f"--repo={home}/origin", "-u")
    quiet("ostree", "init", f"--repo={home}/device", "--mode=bare")
    with Nginx(home / "origin") as nginx:
        quiet("ostree", f"--repo={home}/device", "remote", "add", "--no-gpg-verify", "origin", nginx.url())
        pull = cost(["ostree", f"--repo={home}/device", "pull", "origin", "bench"])
        checkout = cost(["ostree", f"--repo={home}/device", "checkout", "origin:bench", home / "live"])
        return max(pull.peak, checkout.peak)


def small_fleet(server):
    fleet = Fleet(server, WORK / "small")
    tree = fresh(WORK / "tree")
    (tree / "hello").write_text("hello\n")
    fleet.take(tree)
    fleet.publish()
    return fleet


def daemon(device):
    return subprocess.Popen(device.command("run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def resting(agent, server):
    fleet = small_fleet(server)
    with Nginx(fleet.out) as nginx:
        device = Device(agent, WORK / "small-device", fleet, f"https://127.0.0.1:{nginx.tls_port}", nginx.home / "ca.pem")
        process = daemon(device)
        try:
            time.sleep(15)
            rollup = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            pss = next(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:"))
            line("resting memory (PSS) between polls over TLS", f"{pss / 1024:.2f} MiB", "", "", "4", "2.5")
        finally:
            process.terminate()
            process.wait()


def hour(agent, server):
    """An hour of the service as it is configured when nobody says how: a poll every five minutes, nothing new."""
    fleet = small_fleet(server)
    with Nginx(fleet.out) as nginx:
        url, authority = f"https://127.0.0.1:{nginx.tls_port}", nginx.home / "ca.pem"
        device = Device(agent, WORK / "small-device", fleet, url, authority, settings="")
        device.update()
        process = daemon(device)
        try:
            # The first poll and the first look are of the start, not of the hour.
            time.sleep(60)
            of, asked = lambda: use(process.pid), lambda: len(nginx.log.read_text().splitlines())
            begin, before = of(), asked()
            samples = []
            for _ in range(60):
                time.sleep(60)
                samples.append(of())
            end, polls = samples[-1], asked() - before
            peak = max(sample["Pss"] for sample in samples)
            line(f"an hour of the service, {polls} polls: resting memory (PSS)", f"{end['Pss']:.2f} MiB", f"most {peak:.2f}", "", "4", "2.5")
            seconds = end["cpu"] - begin["cpu"]
            line("  CPU of the hour", f"{seconds:.2f} s", f"{seconds / 36:.4f} %", "")
            line("  times that it was woken", end["switches"] - begin["switches"], "", "")
        finally:
            process.terminate()
            process.wait()


def app_downtime(agent, server):
    """How long an update keeps an app from running, where a real systemd runs it on this processor."""
    downtime.downtime(line, ratio_line, agent, server)


def use(pid):
    """Memory in MiB, CPU seconds and context switches of a process until now."""
    of = lambda name: pathlib.Path(f"/proc/{pid}/{name}").read_text()
    pss = next(int(row.split()[1]) / 1024 for row in of("smaps_rollup").splitlines() if row.startswith("Pss:"))
    # The clock of a process, by the kernel's way to name it: in nanoseconds, where /proc counts ticks.
    cpu = time.clock_gettime(~pid << 3 | 2)
    switches = next(int(row.split()[1]) for row in of("status").splitlines() if row.startswith("voluntary"))
    return {"Pss": pss, "cpu": cpu, "switches": switches}


def poll(agent, server):
    fleet = small_fleet(server)
    for name, keepalive, accept in (("kept", 3600, "360"), ("resumed", 0, "1500")):
        with Nginx(fleet.out, keepalive) as nginx:
            wire = Wire(nginx.tls_port)
            device = Device(agent, WORK / "small-device", fleet, f"https://127.0.0.1:{wire.port}", nginx.home / "ca.pem")
            device.update()
            process = daemon(device)
            try:
                time.sleep(6)
                nginx.log.write_text("")
                before = wire.count
                time.sleep(20)
                sent, polls = wire.count - before, len(nginx.log.read_text().splitlines())
                line(f"idle poll, connection {name}: bytes on the wire", f"{sent / max(polls, 1):.0f} B", f"{polls} polls", "", accept)
            finally:
                process.terminate()
                process.wait()
    instructions(fleet)


def instructions(fleet):
    """Those of a check that finds nothing new."""
    # valgrind hides the vDSO that rustix asks for the time: this build asks the C library.
    counted = variant("counted", "--cfg rustix_use_libc")
    with Nginx(fleet.out) as nginx:
        device = Device(counted, WORK / "small-device", fleet, f"https://127.0.0.1:{nginx.tls_port}", nginx.home / "ca.pem")
        device.update()
        report = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={WORK}/callgrind",
                                 *map(str, device.command("check"))], text=True, stderr=subprocess.PIPE, check=True).stderr
        refs = next(row.split()[-1] for row in report.splitlines() if "Collected" in row)
        line("check with nothing new, whole process over TLS", f"{int(refs) / 1e6:.1f} M", "instructions", "")


def publish(agent, server):
    fleet = Fleet(server, WORK / "publish")
    fleet.take(TREES / "whole")
    fleet.publish()
    script = f"""cd {fleet.git}; git ls-tree -r HEAD bench | cut -d' ' -f3 | cut -f1 | git cat-file --batch | gzip -6 | sha256sum"""
    count = iter(range(1000))

    def ours():
        (fleet.git / "bench/changed").write_text(str(next(count)))
        fleet.commit()
        return cost(fleet.publish_command(), stderr=subprocess.DEVNULL)

    wall, cpu, (a, b) = versus(ours, lambda: cost(script), runs=3)
    ratio_line("publish one changed app of 200 MB: wall, against cat-file|gzip -6", a.wall, b.wall, "s", wall, "0.8", "0.5")
    ratio_line("publish: CPU", a.cpu, b.cpu, "s", cpu)


def size(agent, server):
    for name, program in (("agent", agent), ("server", server)):
        line(f"binary of the {name} (this machine's target)", f"{program.stat().st_size / 1e6:.2f} MB", "", "")


def per_target(agent, server):
    """Size, idle poll and resting memory of each file that `cross/build` makes, beside the closures of Debian's updaters; and
    the instructions of a check, on this processor."""
    fleet = small_fleet(server)
    targets.targets(line, fleet)
    instructions(fleet)


def great(agent, server):
    publisher.fleet(line, ratio_line, server, TREES / "whole")


def push(agent, server):
    publisher.push(line, ratio_line, server, TREES / "whole")


def releases(agent, server):
    publisher.releases(line, ratio_line, agent, server)


BENCHES = {"size": size, "install": install, "next": next_release, "publish": publish, "poll": poll, "resting": resting,
           "memory": memory, "pairs": pairs, "hour": hour, "downtime": app_downtime, "targets": per_target,
           "great": great, "push": push, "releases": releases}
WITHOUT_TREES = {"size", "memory", "resting", "poll", "hour", "downtime", "targets", "releases"}


def main():
    # Whoever ends the bench ends what it set up: mounts, loop devices, a machine.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    names = sys.argv[1:] or [name for name in BENCHES if name not in ("hour", "targets")]
    if unknown := [name for name in names if name not in BENCHES]:
        raise SystemExit(f"no bench {', '.join(unknown)}; there are: {', '.join(BENCHES)}")
    if set(names) - WITHOUT_TREES:
        quiet(pathlib.Path(__file__).with_name("trees"), TREES, *([] if "pairs" in names else ["whole"]))
    programs = rig.binaries()
    for name in names:
        BENCHES[name](*programs)


if __name__ == "__main__":
    main()
