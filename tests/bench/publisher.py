"""What the publisher's side costs: a publish out of a great fleet repository, a push of a tree that changed a little,
and what ten thousand releases cost a device that has nothing to do."""

import os
import shutil
import statistics
import subprocess
import time

import rig
from fleets import Great
from rig import WORK, Fleet, Wire, cold, cost, file_system, fresh, output, quiet, read_from, versus
from targets import rest

APPS, EACH = 200, 5 << 20


def fleet(line, ratio_line, server, tree):
    """A commit that touches one of 200 apps in a fleet of 1 GB, with one commit of history and with 10,000."""
    with file_system("ext4", 8192) as (mount, loop):
        great = Great(server, WORK / "great", tree, APPS, EACH)
        # The repository alone lies on the small disk: what is read from it is read by git.
        great.git = shutil.move(great.git, mount / "fleet")
        great.publish()
        for commits in (1, 10_000):
            great.history({f"apps/a{n % APPS:03}/tree/d01/count": str(n).encode()} for n in range(commits))
            great.publish()
            one_of_many(line, ratio_line, great, mount, loop, f"{commits:,} commits")


def one_of_many(line, ratio_line, great, mount, loop, name):
    app = great.apps[APPS // 2]
    script = (f"cd {great.git}; git ls-tree -r HEAD apps/{app}/tree | cut -d' ' -f3 | cut -f1 "
              "| git cat-file --batch | gzip -6 | sha256sum")

    def ours():
        great.touch(app)
        return cost(great.publish_command(), stderr=subprocess.DEVNULL)

    wall, cpu, (a, b) = versus(ours, lambda: cost(script))
    ratio_line(f"publish one app of {APPS}, {name}: wall, against cat-file|gzip -6", a.wall, b.wall, "s", wall, "0.8", "0.5")
    ratio_line("  CPU", a.cpu, b.cpu, "s", cpu)
    great.touch(app)
    total = rig.size_on_disk(great.git)
    # What is asked for, not what a system reads ahead of it: that is what it likes, up to megabytes around every page.
    ahead = output("blockdev", "--getra", f"/dev/{loop}").strip()
    quiet("blockdev", "--setra", "0", f"/dev/{loop}")
    cold(mount, loop)
    before = read_from(loop)
    warm = cost(great.publish_command(), stderr=subprocess.DEVNULL)
    quiet("blockdev", "--setra", ahead, f"/dev/{loop}")
    line("  read from a cold disk, of all of the repository", f"{(read_from(loop) - before) / 1e6:.1f} MB", f"{total / 1e6:.0f} MB", "")
    line("  that publish", f"{warm.wall:.2f} s", "", "")


class Served:
    """`serve` of a fleet whose environment staging and app `bench` are a pipeline's."""

    def __init__(self, server, home):
        self.fleet = Fleet(server, home)
        rules = self.fleet.git / "fleet.toml"
        rules.write_text(rules.read_text().replace('[environments.staging]\nowner = "git"', '[environments.staging]\nowner = "push"'))
        (self.fleet.git / "environments/staging.toml").unlink()
        self.fleet.write("environments/prod.toml", "[apps]\n")
        self.fleet.write("apps/bench/app.toml", "")
        self.fleet.commit()
        self.fleet.publish()
        self.server, self.state, self.port = server, home / "state", rig.free_port()
        self.token = output(server, "token", "create", "ci", "--state", self.state, "--expires", "1d").strip()

    def __enter__(self):
        command = self.fleet.publish_command()
        command[1] = "serve"
        self.log = open(self.fleet.home / "log", "w")
        self.process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)
        rig.listens(self.port, "the server")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def push(self, tree, version, port=None):
        return cost([self.server, "push", "--server", f"http://127.0.0.1:{port or self.port}", "--app", "bench", "--version",
                     version, "--env", "staging", tree], env=dict(os.environ, TIDELOCK_TOKEN=self.token), stderr=subprocess.DEVNULL)


class Rsync:
    """An rsync daemon that takes a tree."""

    def __init__(self, home):
        self.home, self.port = fresh(home), rig.free_port()
        self.taken = fresh(home / "taken")
        (home / "conf").write_text(f"use chroot = no\nuid = root\ngid = root\n[taken]\npath = {self.taken}\nread only = no\n")

    def __enter__(self):
        self.process = subprocess.Popen(["rsync", "--daemon", "--no-detach", f"--config={self.home}/conf", f"--port={self.port}",
                                         "--address=127.0.0.1"])
        rig.listens(self.port, "rsync")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def push(self, tree, port=None):
        return cost(["rsync", "-a", "-z", "--delete", f"{tree}/", f"rsync://127.0.0.1:{port or self.port}/taken/"])


def trees(tree, home, count):
    """`tree` as it is built time and again: each time new files, of which one in a hundred bytes is new."""
    before = tree
    for n in range(count):
        now = home / f"tree-{n}"
        shutil.rmtree(now, ignore_errors=True)
        quiet("cp", "-r", "--preserve=mode,links", before, now)
        (now / "release.toml").write_text("format = 1\n")
        files = sorted(p for p in now.rglob("*") if p.is_file() and not p.is_symlink() and p.name != "release.toml")
        left = sum(file.stat().st_size for file in files) // 100
        # Every file of some distance, as a build changes them; a large one in its middle.
        for file in files[n * 17 % 100::29]:
            content = bytearray(file.read_bytes())
            size = min(len(content), left, 1 << 18)
            middle = (len(content) - size) // 2
            content[middle:middle + size] = new_bytes(file, n, size)
            file.write_bytes(content)
            left -= size
            if left <= 0:
                break
        yield now
        if before != tree:
            shutil.rmtree(before)
        before = now


def new_bytes(file, n, size):
    """Half of it compresses, as real files do."""
    noise = os.urandom((size + 1) // 2)
    return (noise + (f"{file.name} {n} " * (size // 8 + 1)).encode())[:size]


def push(line, ratio_line, server, tree):
    """A tree of 200 MB of which one in a hundred bytes is new, all of it with new times, against `rsync -z` of the same."""
    home = fresh(WORK / "push")
    size = rig.size_on_disk(tree) / 1e6
    with Served(server, home / "ours") as ours, Rsync(home / "theirs") as theirs:
        timed, counted = [], []
        for n, now in enumerate(trees(tree, home, 7)):
            # Bytes are counted in rounds of their own: the counting costs time.
            wires = [Wire(ours.port), Wire(theirs.port)] if n > 4 else []
            ports = [wire.port for wire in wires] or [None, None]
            pair = ours.push(now, f"1.{n}", ports[0]), theirs.push(now, ports[1])
            time.sleep(0.2)
            if n == 0:
                ratio_line(f"first push of {size:.0f} MB: wall, against rsync -z", pair[0].wall, pair[1].wall, "s", pair[0].wall / pair[1].wall)
            elif wires:
                counted.append([wire.count / 1e6 for wire in wires])
            elif n > 1:
                timed.append(pair)
        quiet("diff", "-r", "--no-dereference", now, theirs.taken)
    ratio = lambda what: statistics.median(getattr(a, what) / getattr(b, what) for a, b in timed)
    a, b = timed[-1]
    ratio_line("push of 1 % new: wall, against rsync -z", a.wall, b.wall, "s", ratio("wall"), "1.5", "1.0")
    ratio_line("  CPU of the client", a.cpu, b.cpu, "s", ratio("cpu"))
    for a, b in counted:
        ratio_line("  bytes on the wire, both ways", a, b, "MB", a / b, "1.2", "1.0")


def releases(line, ratio_line, agent, server):
    """Bytes of an idle poll of a fleet of one release per app, and after 10,000 were registered."""
    tree = fresh(WORK / "tree")
    (tree / "hello").write_text("hello\n")
    great = Great(server, WORK / "releases", tree, APPS, 100, "\n[retention]\nreleases = 100\n")
    great.publish()
    polled = [rest(agent, great, native=True)[0]]
    for n in range(9_999 // APPS):
        great.history([{f"apps/{app}/tree/d00/count": str(n).encode() for app in great.apps}])
        great.publish()
    polled.append(rest(agent, great, native=True)[0])
    count = len(list(great.out.glob("targets/*.index")))
    named = sum(role.read_bytes().count(b".index\":") for role in great.roles())
    line(f"idle poll with {APPS} releases and with {named:,} named ({count:,} published): bytes", f"{polled[1]:.1f} B",
         f"{polled[0]:.1f} B", f"{polled[1] - polled[0]:+.1f}", "+0", "+0")
