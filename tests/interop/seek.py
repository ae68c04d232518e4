"""What python-tuf makes of a published directory, target by target: seek.py OUT SCRATCH TARGET...

One line for each: its SHA-256, `nothing` where no role that may name it does, or the error by which it is refused.
"""

import os
import sys

import read


def main() -> None:
    out, scratch, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    for name in names:
        client, _ = read.updater(out, os.path.join(scratch, "seek-" + name))
        try:
            client.refresh()
            info = client.get_targetinfo(name)
            found = "nothing" if info is None else info.hashes["sha256"]
        except Exception as error:  # Whatever it is: the test says which it must be.
            found = type(error).__name__
        print(f"{name}: {found}")


main()
