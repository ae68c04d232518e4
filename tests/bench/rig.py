"""What the bench stands on: measured commands, nginx, loop file systems, a published fleet and its devices.

Never here: what is compared (bench.py).
"""

import contextlib
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target/bench"


class Cost:
    """One finished command: wall and CPU seconds, and the peak memory of its largest process in MiB."""

    def __init__(self, wall, cpu, peak):
        self.wall, self.cpu, self.peak = wall, cpu, peak


def cost(command, **options):
    """Runs `command` (a list, or a string for bash) to its end and fails when it does."""
    shell = ["bash", "-o", "pipefail", "-ec", command] if isinstance(command, str) else [str(c) for c in command]
    # The rusage of a child begins with the memory of its parent: a small parent in between tells the truth.
    WORK.mkdir(parents=True, exist_ok=True)
    peak = WORK / "peak"
    shell = ["/usr/bin/time", "-f", "%M", "-o", str(peak), *shell]
    begin = time.monotonic()
    process = subprocess.Popen(shell, stdout=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shell} failed with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, int(peak.read_text().split()[-1]) / 1024)


def versus(ours, theirs, runs=5):
    """Median ratios ours/theirs of wall and CPU over interleaved runs, one warm-up first, and the last costs."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(runs)]
    ratio = lambda what: statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)
    return ratio("wall"), ratio("cpu"), pairs[-1]


def output(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def quiet(*command, **options):
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, **options)


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def size_on_disk(*paths):
    return sum(f.stat().st_size for path in paths for f in path.rglob("*") if f.is_file() and not f.is_symlink())


def listens(port, who):
    """Waits until somebody listens there."""
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"{who} does not listen")


@contextlib.contextmanager
def file_system(kind, megabytes, options=()):
    """A fresh file system in a file, mounted; gives its mount point and the name of its loop device."""
    WORK.mkdir(parents=True, exist_ok=True)
    image, mount = WORK / f"{kind}.img", fresh(WORK / f"mount-{kind}")
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    quiet(f"mkfs.{kind}", *(["-q"] if kind != "btrfs" else []), *options, image)
    device = output("losetup", "--show", "-f", image).strip()
    try:
        quiet("mount", device, mount)
        try:
            yield mount, device.rsplit("/", 1)[1]
        finally:
            quiet("umount", mount)
    finally:
        quiet("losetup", "-d", device)
        image.unlink()


def written(loop):
    """Bytes that the kernel wrote to a loop device since it exists."""
    os.sync()
    return int(pathlib.Path(f"/sys/block/{loop}/stat").read_text().split()[6]) * 512


def read_from(loop):
    """Bytes that the kernel read from a loop device since it exists."""
    return int(pathlib.Path(f"/sys/block/{loop}/stat").read_text().split()[2]) * 512


def cold(mount, loop):
    """Has the kernel forget what it holds of a file system."""
    quiet("umount", mount)
    quiet("mount", f"/dev/{loop}", mount)


def empty_log(mount):
    """Has a file system write what its log holds to its place: what is written later is of what is done later."""
    quiet("fsfreeze", "-f", mount)
    quiet("fsfreeze", "-u", mount)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """nginx serving a directory on 127.0.0.1, plain and over TLS, with a log of status and bytes; `within` are words that
    have it do so in the network of another machine."""

    def __init__(self, served, keepalive=3600, within=()):
        self.home, self.within = fresh(WORK / "nginx"), within
        self.port, self.tls_port = free_port(), free_port()
        self.log = self.home / "access.log"
        self.certify()
        (self.home / "nginx.conf").write_text(f"""
            user root; daemon off; worker_processes 1; pid {self.home}/pid; error_log {self.home}/error.log;
            events {{ worker_connections 256; }}
            http {{
                log_format bench '$status $body_bytes_sent $request_uri'; access_log {self.log} bench;
                sendfile on; keepalive_timeout {keepalive}; keepalive_requests 100000; types {{ }}
                client_body_temp_path {self.home}; proxy_temp_path {self.home}; fastcgi_temp_path {self.home};
                uwsgi_temp_path {self.home}; scgi_temp_path {self.home};
                server {{
                    listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.tls_port} ssl; root {served};
                    ssl_certificate {self.home}/cert.pem; ssl_certificate_key {self.home}/key.pem;
                }}
            }}""")
        self.process = None

    def certify(self):
        """An authority, `ca.pem`, and a certificate of it for 127.0.0.1: one for both is refused by rustls."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=bench"]
        at = lambda name: self.home / name
        (at("names")).write_text("subjectAltName=IP:127.0.0.1\n")
        for command in (
            ["req", "-x509", *key, "-days", "2", "-keyout", at("ca.key"), "-out", at("ca.pem")],
            ["req", *key, "-keyout", at("key.pem"), "-out", at("request")],
            ["x509", "-req", "-in", at("request"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial",
             "-days", "2", "-extfile", at("names"), "-out", at("cert.pem")],
        ):
            quiet("openssl", *command, stderr=subprocess.DEVNULL)

    def __enter__(self):
        self.process = subprocess.Popen([*self.within, "nginx", "-c", self.home / "nginx.conf"], stderr=subprocess.DEVNULL)
        for _ in range(100):
            # It writes this once it listens.
            if (self.home / "pid").exists():
                return self
            time.sleep(0.05)
        raise SystemExit("nginx does not listen")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def served(self):
        """(requests, body bytes) of all answers with a body since the last call."""
        time.sleep(0.1)
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        # nginx keeps the file open and appends: truncating it starts the count anew.
        sent = [int(line[1]) for line in lines if line[0] in ("200", "206")]
        return len(sent), sum(sent)


class Wire(threading.Thread):
    """A proxy that counts the bytes of both directions, per moment of reading `count`."""

    def __init__(self, to):
        super().__init__(daemon=True)
        self.to, self.count, self.port = to, 0, free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self.count += len(piece)
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def binaries():
    """The agent as it ships and the server, built with their own settings."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(ROOT / "target"))
    quiet("cargo", "build", "--quiet", "--locked", "-p", "tidelock", "--profile", "agent", cwd=ROOT, env=environment)
    quiet("cargo", "build", "--quiet", "--locked", "-p", "tidelock-server", "--release", cwd=ROOT, env=environment)
    return ROOT / "target/agent/tidelock", ROOT / "target/release/tidelock-server"


class Fleet:
    """A fleet repository with one app, `bench`, whose tree is replaced, committed and published."""

    def __init__(self, server, home):
        self.server, self.home = server, fresh(home)
        quiet(server, "init", self.home / "new")
        self.git = self.home / "new/fleet"
        self.out = self.home / "out"
        for place in ("apps", "environments"):
            shutil.rmtree(self.git / place)
        self.write("apps/bench/app.toml", 'path = "bench"\n')
        for environment in ("staging", "prod"):
            self.write(f"environments/{environment}.toml", '[apps]\nbench = "follow"\n')

    def write(self, path, text):
        (self.git / path).parent.mkdir(parents=True, exist_ok=True)
        (self.git / path).write_text(text)

    def take(self, tree):
        """Commits a copy of `tree` as the app."""
        shutil.rmtree(self.git / "bench", ignore_errors=True)
        shutil.copytree(tree, self.git / "bench", symlinks=True)
        for ignored in (self.git / "bench").rglob(".git*"):
            shutil.rmtree(ignored) if ignored.is_dir() else ignored.unlink()
        # Git knows no empty directories, and the device gets what Git has.
        quiet("find", self.git / "bench", "-type", "d", "-empty", "-delete")
        (self.git / "bench/release.toml").write_text("format = 1\n")
        self.commit()

    def commit(self):
        quiet("git", "-C", self.git, "add", "-fA")
        quiet("git", "-C", self.git, "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "bench")

    def publish_command(self):
        return [self.server, "publish", "--fleet", self.git, "--keys", self.home / "new/keys", "--out", self.out,
                "--state", self.home / "state"]

    def publish(self):
        quiet(*self.publish_command(), stderr=subprocess.DEVNULL)

    def root(self):
        return output("sha256sum", self.out / "metadata/1.root.json").split()[0]


class Device:
    """A device in a directory of its own, that trusts `authority`; it polls every second, or as `settings` say."""

    def __init__(self, agent, home, fleet, url, authority=None, settings='poll = "1s"\n'):
        self.agent, self.home = agent, fresh(home)
        fragments = home / "etc/tidelock/config.d"
        fragments.mkdir(parents=True)
        if authority:
            # What the configuration names lies below the device's root.
            shutil.copy(authority, home / "etc/tidelock/ca.pem")
            settings += 'ca_file = "/etc/tidelock/ca.pem"\n'
        (fragments / "bench.toml").write_text(settings)
        quiet(*self.command("join", url, "--root-sha256", fleet.root(), "--env", "prod"), stderr=subprocess.DEVNULL)

    def command(self, *words):
        return [self.agent, "--root", self.home, *words]

    def update(self):
        return cost(self.command("update"), stderr=subprocess.DEVNULL)

    def live(self):
        return self.home / "var/lib/tidelock/apps/bench/current/tree"


# In a mount namespace of its own a process sees this directory as the machine, and a systemd that runs it.
MACHINE = '''
mount -t tmpfs machine /run && mkdir -p /run/systemd/system /run/etc /run/tidelock
cp -a /etc/. /run/etc && mkdir -p /run/etc/tidelock && mount --bind /run/etc /etc
mount -t tmpfs machine /var/lib && mkdir -p /var/lib/tidelock
mkdir -p "$0/etc/tidelock" "$0/var/lib/tidelock" "$0/run/tidelock"
for place in etc/tidelock var/lib/tidelock run/tidelock; do mount --bind "$0/$place" "/$place"; done
exec "$@"
'''


class Machine(Device):
    """The same where the agent works on the machine itself, which systemd runs: as on a device, by default."""

    def command(self, *words):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", MACHINE, self.home, self.agent, *words]
