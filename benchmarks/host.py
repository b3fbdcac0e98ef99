"""What machine this was, how busy it was, and which versions met."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
from dataclasses import dataclass

import minirun

from .timing import BenchError, run

#: Above it, two processes compete for a core and the spread tells more than the median.
QUIET_LOAD = 1.0
_TOOLS = ("dockerd", "containerd", "podman", "runc", "crun")


@dataclass(frozen=True)
class Host:
    """The facts that a number means nothing without.

    Args:
        date: of the measurement.
        machine: cores, kernel and Python, in words.
        versions: {tool: version} of what was compared.
        load_before: runnable processes, averaged over the minute before.
        load_after: the same over the last minute of the benchmark, which includes itself.
    """

    date: str
    machine: str
    versions: dict[str, str]
    load_before: float
    load_after: float = 0.0


def look() -> Host:
    """Return this machine as it is now."""
    return Host(
        datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        _machine(),
        {"minirun": minirun.__version__, **{name: _version(name) for name in _TOOLS}},
        load(),
    )


def load() -> float:
    """Return the load of the last minute."""
    return round(os.getloadavg()[0], 2)


def _machine() -> str:
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {kernel}, "
        f"Python {platform.python_version()}"
    )


def _version(tool: str) -> str:
    """Return the first thing that looks like a version in what ``--version`` prints."""
    if shutil.which(tool) is None:
        return "not installed"
    try:
        said = run((tool, "--version"))
    except BenchError:
        return "unknown"
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found.group() if found else "unknown"
