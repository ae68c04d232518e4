"""Fleet repositories of many apps and a long history, by `git fast-import`: nothing of them is checked out.

Never here: what is compared (publisher.py).
"""

import itertools
import subprocess

from rig import Fleet, output

# Larger files are cut: an app of a few megabytes has many files.
FILE = 1 << 20


class Great(Fleet):
    """A fleet of `apps` apps of `each` bytes, cut out of the files of `source`, and no file of two apps is alike;
    `rules` are more lines of fleet.toml."""

    def __init__(self, server, home, source, apps, each, rules=""):
        super().__init__(server, home)
        self.apps = [f"a{n:03}" for n in range(apps)]
        self.branch = output("git", "-C", self.git, "symbolic-ref", "--short", "HEAD").strip()
        self.commits = 0
        wanted = "[apps]\n" + "".join(f'{app} = "follow"\n' for app in self.apps)
        files = {"fleet.toml": (self.git / "fleet.toml").read_bytes() + rules.encode(),
                 "environments/staging.toml": wanted.encode(), "environments/prod.toml": wanted.encode()}
        found = itertools.cycle(sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()))
        for app in self.apps:
            files[f"apps/{app}/app.toml"] = f'path = "apps/{app}/tree"\n'.encode()
            files[f"apps/{app}/tree/release.toml"] = b"format = 1\n"
            left = each
            for n, path in enumerate(found):
                content = f"{app}\n".encode() + path.read_bytes()[:min(FILE, left)]
                files[f"apps/{app}/tree/d{n % 20:02}/f{n:04}"] = content
                left -= len(content)
                if left <= 0:
                    break
        self.history([files])

    def touch(self, app):
        """A commit that changes one small file of `app`."""
        self.history([{f"apps/{app}/tree/d00/count": str(self.commits).encode()}])

    def history(self, commits):
        """One commit after the other, each of `{path: content}`."""
        process = subprocess.Popen(["git", "-C", self.git, "fast-import", "--quiet", "--force"], stdin=subprocess.PIPE)
        begun = self.commits
        for files in commits:
            write = process.stdin.write
            write(f"commit refs/heads/{self.branch}\ncommitter b <b@b> {1700000000 + self.commits} +0000\ndata 5\nbench\n".encode())
            if begun and begun == self.commits:
                write(f"from refs/heads/{self.branch}^0\n".encode())
            for path, content in files.items():
                write(f"M 644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n")
            self.commits += 1
        process.stdin.close()
        if process.wait():
            raise SystemExit("git fast-import failed")

    def roles(self):
        """The newest file of each app's role."""
        newest = {}
        for path in (self.out / "metadata").glob("*.app.*.json"):
            version, role = path.name.split(".", 1)
            newest[role] = max(newest.get(role, (0, None)), (int(version), path))
        return [path for _, path in newest.values()]
