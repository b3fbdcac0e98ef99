"""``python -m scheduler.cli`` is ``minisched``, also where pip has not put that into PATH."""

from . import main

if __name__ == "__main__":
    main()
