"""How long an app does not run because of its update, beside a bare `systemctl restart`; by systemd's own clock."""

import json
import statistics

from machine import Machine
from rig import WORK, Fleet, Nginx

ROUNDS = 7
# Seconds that a release which never passes is given.
DEADLINE = 10
SERVICE = "tidelock-app-bench.web.service"
UNIT = """[Unit]
Description=web, {words}
# It is started more often here than systemd likes.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/var/lib/tidelock/apps/bench/current/tree/bin/web
EnvironmentFile=/var/lib/tidelock/apps/bench/current/release.env

[Install]
WantedBy=multi-user.target
"""
# Which release it is, it says when it starts.
PROGRAM = '#!/bin/sh\necho {version} >>"$TIDELOCK_DATA/starts"\nexec sleep infinity\n'
RECIPE = """format = 1
user = "web"
units = ["web.service"]

[[check]]
name = "asks"
{check}
interval = 1
deadline = {deadline}
"""
GOOD, BAD = 'unit = "web.service"', 'tcp = "127.0.0.1:9"'


class Stage:
    """A fleet, and a machine that has joined it, with the daemon of its package at work."""

    def __init__(self, fleet, machine, nginx):
        self.fleet, self.machine, self.version, self.words = fleet, machine, 0, "at first"
        self.starts = machine.root / "var/lib/tidelock/apps/bench/data/starts"
        self.publish()
        machine.run("tidelock", "join", f"https://127.0.0.1:{nginx.tls_port}", "--root-sha256", fleet.root(), "--env", "prod")
        machine.run("systemctl", "enable", "--now", "tidelock-guard.service", "tidelock.service")
        self.poke()
        self.arrives(self.version)
        self.settles()

    def publish(self, check=GOOD):
        self.version += 1
        self.fleet.write("bench/release.toml", RECIPE.format(check=check, deadline=DEADLINE))
        self.fleet.write("bench/web.service", UNIT.format(words=self.words))
        self.fleet.write("bench/bin/web", PROGRAM.format(version=self.version))
        (self.fleet.git / "bench/bin/web").chmod(0o755)
        self.fleet.commit()
        self.fleet.publish()

    def poke(self):
        self.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=USR1", "tidelock.service")

    def arrives(self, version):
        """Waits until the release was the last to start, without a process in there that would delay it."""
        last = lambda: self.starts.exists() and self.starts.read_text().split()[-1:] == [str(version)]
        self.machine.until(f"version {version} runs", last)

    def settles(self):
        """Waits until no trial is under way."""
        def app():
            return json.loads(self.machine.run("tidelock", "status", "--json"))["apps"].get("bench", {})
        self.machine.until("the release is committed", lambda: app().get("health") == "Healthy", 120)

    def times(self):
        """Seconds since boot when its service last left the state of running, and when it last came to it."""
        found = self.machine.shown(SERVICE, "ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        return [int(time) / 1e6 for time in found]

    def restart(self):
        self.machine.run("systemctl", "restart", SERVICE)
        return self.gap()

    def update(self):
        before = self.times()[1]
        self.publish()
        self.poke()
        self.arrives(self.version)
        self.settles()
        return self.gap(before)

    def change(self):
        self.words = f"since {self.version}"
        return self.update()

    def gap(self, before=0):
        stopped, began = self.times()
        if not before < stopped < began:
            raise SystemExit("it was not restarted")
        return began - stopped

    def way_back(self):
        """From the stop for a release that never passes until the one before it runs again."""
        before = self.version
        self.publish(check=BAD)
        self.poke()
        self.arrives(self.version)
        stopped = self.times()[0]
        self.arrives(before)
        self.settles()
        return self.times()[1] - stopped


def downtime(line, ratio_line, agent, server):
    fleet = Fleet(server, WORK / "downtime")
    with Machine(agent, 'ca_file = "/etc/tidelock/ca.pem"\n') as machine, Nginx(fleet.out, within=machine.network()) as nginx:
        with open(machine.root / "etc/passwd", "a") as users:
            users.write("web:x:990:990::/:/usr/sbin/nologin\n")
        machine.write("etc/tidelock/ca.pem", (nginx.home / "ca.pem").read_text())
        stage = Stage(fleet, machine, nginx)
        rounds = [(stage.restart(), stage.update(), stage.change()) for _ in range(ROUNDS)]
        restart, update, changed = map(statistics.median, zip(*rounds))
        for what, ours, bounds in (("an update", update, ("+0.5 s", "+0.2 s")), ("one that changes unit files", changed, ())):
            ratio_line(f"downtime of {what}, against `systemctl restart`", ours, restart, "s", ours / restart, *bounds)
            line("  the difference", f"{(ours - restart) * 1000:.0f} ms", "", "")
        line("stopped for a bad release until the previous one runs", f"{stage.way_back():.2f} s", f"{DEADLINE} s", "", "", "+5 s")
