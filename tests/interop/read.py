"""python-tuf reads a published directory: read.py OUT SCRATCH TARGET...

Trusts the first root, refreshes, and downloads each target by its name. Fails at the first that it refuses.
"""

import functools
import http.server
import json
import os
import sys
import threading

from tuf.ngclient import Updater


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def updater(out: str, scratch: str) -> tuple[Updater, str]:
    """A client that trusts the first root of `out`, and the directory where it keeps metadata."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=out))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    places = [os.path.join(scratch, name) for name in ("python-metadata", "python-targets")]
    for place in places:
        os.makedirs(place, exist_ok=True)
    with open(os.path.join(out, "metadata", "1.root.json"), "rb") as file:
        root = file.read()
    client = Updater(
        metadata_dir=places[0],
        metadata_base_url=url + "/metadata/",
        target_dir=places[1],
        target_base_url=url + "/targets/",
        bootstrap=root,
    )
    return client, places[0]


def main() -> None:
    out, scratch, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    client, kept = updater(out, scratch)
    client.refresh()
    for name in names:
        info = client.get_targetinfo(name)
        if info is None:
            sys.exit(f"python-tuf finds no {name}")
        client.download_target(info)
    # The trusted set is not public; the version of the root that was reached is in the file it keeps.
    with open(os.path.join(kept, "root.json"), "rb") as file:
        version = json.load(file)["signed"]["version"]
    print(f"python-tuf read root {version}, {len(names)} targets")


if __name__ == "__main__":
    main()
