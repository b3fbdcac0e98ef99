"""A program for test_cve_2019_5736: exec into a container, visibly, from the attacked interpreter.

It is a program and not a function, because what is attacked is the file that executes it. Apart
from the seal, everything that would protect that file is switched off in both halves.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    given = json.loads(sys.argv[1])
    sys.path[:0] = given["path"]

    from minirun.seal import execute_sealed, is_sealed

    if given["sealed"] and not is_sealed():
        execute_sealed(sys.argv)

    from minirun.execute import execute, process_like
    from minirun.host import probe
    from minirun.lifecycle import Container
    from tests.security import test_cve_2016_9962 as hiding
    from tests.security.lab import become, insert

    for weaken in (
        insert(hiding.Linger(), after="new-session"),
        become(hiding.StayVisible),
        become(hiding.OnlyNewSession),
    ):
        weaken()
    container = Container(given["root"], given["id"], probe())
    execute(container, process_like(container.directory.read_spec(), ["true"]))


if __name__ == "__main__":
    main()
