"""What a device of each target pays for the agent, beside what Debian's other updaters bring with them."""

import pathlib
import subprocess
import time
import tomllib

import rig
from rig import WORK, Device, Nginx, Wire, fresh, output, quiet

OTHERS = {"rauc": "rauc", "swupdate": "swupdate", "mender-client": "mender", "casync": "casync", "ostree": "ostree", "curl": "curl"}
OUT = rig.ROOT / "target/cross/out"


def built():
    """The files that `cross/build` makes, each with the words that run it here."""
    table = tomllib.loads((rig.ROOT / "cross/budget.toml").read_text())["target"]
    agents = {name: row for name, row in table.items() if "program" not in row}
    quiet(rig.ROOT / "cross/build", *agents)
    return {name: (OUT / f"tidelock-{name}", row["run"]) for name, row in agents.items()}


def runnable(name, file, run):
    """The file as one program: itself, or a script that has the emulator run it."""
    if not run:
        return file
    script = fresh(WORK / f"run-{name}") / "tidelock"
    script.write_text(f'#!/bin/sh\nexec {" ".join(run)} {file} "$@"\n')
    script.chmod(0o755)
    return script


def rest(program, fleet, native):
    """(bytes on the wire per idle poll over a kept TLS connection, resting memory in MiB or None in an emulator)."""
    with Nginx(fleet.out) as nginx:
        wire = Wire(nginx.tls_port)
        device = Device(program, WORK / "small-device", fleet, f"https://127.0.0.1:{wire.port}", nginx.home / "ca.pem")
        device.update()
        process = subprocess.Popen(device.command("run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(8)
            nginx.log.write_text("")
            before = wire.count
            time.sleep(15)
            sent, polls = wire.count - before, len(nginx.log.read_text().splitlines())
            rollup = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            pss = next(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:")) / 1024
            return sent / max(polls, 1), pss if native else None
        finally:
            process.terminate()
            process.wait()


def closures():
    """Per updater of Debian's, in a root where all are installed as Debian does it: bytes of the program, and with every
    library that it is linked with."""
    root = fresh(WORK / "others") / "root"
    quiet("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(OTHERS)}", "bookworm", root)
    for name, program in OTHERS.items():
        path = output("chroot", root, "sh", "-c", f"command -v {program}").strip()
        said = output("chroot", root, "ldd", path)
        libraries = {word for row in said.splitlines() for word in row.split() if word.startswith("/")}
        size = lambda file: int(output("chroot", root, "stat", "--dereference", "--format=%s", file))
        yield name, size(path), size(path) + sum(map(size, libraries)), len(libraries)


def targets(line, fleet):
    for name, (file, run) in built().items():
        sent, pss = rest(runnable(name, file, run), fleet, not run)
        line(f"{name}: bytes of the file", f"{file.stat().st_size:,}", "", "")
        line(f"{name}: an idle poll over TLS, on the wire", f"{sent:.0f} B", "", "", "360")
        line(f"{name}: resting memory (PSS)", f"{pss:.2f} MiB" if pss else "emulated", "", "", "4", "2.5")
    for name, alone, whole, count in closures():
        line(f"Debian's {name}: program, with its {count} libraries", f"{alone:,}", f"{whole:,}", "")
