"""A machine beside this one: Debian with a real systemd as process 1, in namespaces of its own, on this processor.

What is measured here costs what it costs, where the virtual machine of the suites is emulated. It sees nothing of this
machine but its kernel, its disk and a few devices; everything in it, and every mount, ends with it, and with the bench.

Never here: what is measured.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import time

import rig
from rig import WORK, fresh, quiet

# The system that the packages suite installs in: systemd, git, the system's authorities.
RECIPE = rig.ROOT / "tests/packages/root"
# What a booted one has no use for here: what is set up from the outside, and what would work beside what is measured.
UNUSED = """getty.target systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service systemd-sysctl.service
    systemd-logind.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    sys-fs-fuse-connections.mount""".split()

# The first process of the new process namespace, still outside of the control group that the machine is to take for all.
FIRST = 'echo 0 >"$0/cgroup.procs"; exec unshare --cgroup sh -ec "$@"'
# And then in it: the file systems that a systemd in a container expects, and no way back to those of this machine.
SECOND = '''
mount --bind "$0" "$0" && cd "$0"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup sys/fs/cgroup
mount -t tmpfs -o nosuid,mode=755 dev dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
for place in run tmp; do mount -t tmpfs -o nosuid,nodev $place $place; done
for kernel in proc/sys proc/sysrq-trigger; do
    [ ! -e $kernel ] || { mount --bind $kernel $kernel; mount -o remount,bind,ro $kernel; }
done
pivot_root . mnt && cd / && umount -l /mnt
exec env -i container=bench PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --log-target=journal
'''


def system():
    """The system that machines are copies of, made when it is not there yet."""
    made = WORK / f"system-{hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:12]}"
    quiet(RECIPE, made)
    return made


class Machine:
    """A machine with the agent as its package installs it, that has joined nothing; it runs in a `with`."""

    def __init__(self, agent, settings=""):
        self.root = WORK / "machine"
        fresh(self.root).rmdir()
        quiet("cp", "-a", "--reflink=auto", system(), self.root)
        shutil.copy(agent, self.root / "usr/bin/tidelock")
        for unit in ("tidelock.service", "tidelock-guard.service"):
            shutil.copy(rig.ROOT / "systemd" / unit, self.root / "usr/lib/systemd/system")
        for unit in UNUSED:
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        # Without one this were its first boot, at which systemd enables units by itself.
        self.write("etc/machine-id", "b" * 32 + "\n")
        self.write("etc/hostname", "device\n")
        self.write("etc/fstab", "")
        self.write("etc/tidelock/config.d/owner.toml", settings)
        (self.root / "var/log/journal").mkdir(exist_ok=True)
        self.group = self.control_groups() / "tidelock-bench"
        self.process = self.init = None

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    @staticmethod
    def control_groups():
        """Where this machine has the second version of control groups, which may be beside the first."""
        asked = "findmnt --types cgroup2 --noheadings --first-only --output TARGET".split()
        found = subprocess.run(asked, text=True, stdout=subprocess.PIPE)
        if found.returncode:
            raise SystemExit("no cgroup2 is mounted here, and systemd wants one")
        return pathlib.Path(found.stdout.strip())

    def __enter__(self):
        # A bench that was killed has left an empty one.
        self.ungroup()
        self.group.mkdir()
        try:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--uts", "--ipc", "--net", "--fork",
                 "--kill-child", "sh", "-ec", FIRST, self.group, SECOND, self.root],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.init = self.until("systemd begins", self.began)
            self.until("systemd answers", lambda: pathlib.Path(f"/proc/{self.init}/root/run/systemd/private").exists())
            state = self.run("systemctl", "is-system-running", "--wait", check=False).strip()
            if state != "running":
                raise SystemExit(f"the machine is {state}:\n" + self.run("systemctl", "list-units", "--failed", check=False))
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        # Its first process goes with this one, and with that everything that runs in it, and every mount.
        if self.process:
            self.process.kill()
            self.process.wait()
        self.init = None
        self.until("its processes are gone", lambda: "populated 0" in (self.group / "cgroup.events").read_text())
        self.ungroup()

    def ungroup(self):
        for directory, *_ in os.walk(self.group, topdown=False):
            os.rmdir(directory)

    def began(self):
        """The process identifier of systemd, out here, once it is systemd that runs as it."""
        if self.process.poll() is not None:
            raise SystemExit("the machine does not begin")
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return children and pathlib.Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n" and int(children[0])

    def until(self, what, asked, patience=60):
        """What `asked` answers, once that is something."""
        end = time.monotonic() + patience
        while not (answer := asked()):
            if time.monotonic() > end:
                told = self.run("journalctl", "--lines=30", check=False) if self.init else ""
                raise SystemExit(f"in vain for {patience} s: {what}\n{told}")
            time.sleep(0.05)
        return answer

    def network(self):
        """Words that have a program of this machine run in the network of that one, and end with it."""
        return ["nsenter", f"--target={self.init}", "--net", "--pid"]

    def run(self, *command, check=True):
        """What a command in there printed; it must end well."""
        inside = ["nsenter", "--target", self.init, "--pid", "--mount", "--uts", "--ipc", "--net", "--root", "--wd"]
        done = subprocess.run([str(c) for c in [*inside, *command]], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def shown(self, unit, *properties):
        """Properties of a unit, in this order."""
        said = self.run("systemctl", "show", f"--property={','.join(properties)}", unit)
        found = dict(line.split("=", 1) for line in said.splitlines())
        return [found[name] for name in properties]
