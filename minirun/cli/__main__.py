"""The first lines of the sealed interpreter: get the library path back, then be ``minirun``.

Next: ``__init__.py``.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[:] = sys.argv.pop(1).split(os.pathsep)
    # By name, not by path: modules must not exist twice.
    from minirun.cli import main

    main()
