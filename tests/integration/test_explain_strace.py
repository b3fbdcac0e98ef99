"""The narration cannot lie: what a plan says a start calls is what strace(1) sees it call.

A real container is started under strace. Each step's ``call`` texts must appear in the trace, in
the plan's order: as written, but for lowercase words such as ``fd``, which stand for what only a
running process knows, and for the order of flags, which strace chooses.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.cli_lab import Cli, fresh

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "strace", "busybox")

#: Starts a container that was made, without a shim, and writes down what its plan says.
_DRIVER = """
import json, os, sys
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.seccomp import default_filter
from minirun.shim.place import Place, StartFile
from minirun.spec import Spec

data, root, id, told = sys.argv[1:]
place = Place(data, root, id)
spec, how = place.read("config.json", Spec), place.read("start.json", StartFile)
ours, theirs = os.pipe()
program = default_filter(spec.process.capabilities.bounding, root + "/.seccomp")
if not how.default_seccomp:
    program = b""
request = Request(
    id, place.file("").rstrip("/"), how.overlay, program, stdio=(ours, theirs, theirs)
)
container = Container(root, id, probe())
plan, _ = container.plan(spec, request)
json.dump([(step.title, step.call) for step in plan.steps], open(told, "w"))
try:
    container.create(spec, request)
    pid = container.state().pid
    container.start()
    os.waitpid(pid, 0)
finally:
    container.delete(force=True)
"""

#: Steps that do nothing where all is right: another user's streams are given away only once.
_ONLY_WHERE_NEEDED = ("chown-stdio",)
_WORDS = re.compile(r"\b(fd|path|prog)\b")
_FLAGS = re.compile(r"[A-Z][A-Z0-9_]+(?:\|[A-Z][A-Z0-9_]+)+")


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


def _sorted_flags(text: str) -> str:
    return _FLAGS.sub(lambda found: "|".join(sorted(found[0].split("|"))), text)


def _pattern(call: str) -> re.Pattern[str]:
    """Return what a call text stands for; a text that begins with a quote is an argument."""
    parts = re.split(r"(…|\b(?:fd|path|prog)\b(?![^\"]*\"(?:[^\"]*\"[^\"]*\")*[^\"]*$))", call)
    regex = "".join(
        ".*" if part == "…" else "[^,()]+" if _WORDS.fullmatch(part) else re.escape(part)
        for part in map(_sorted_flags, parts)
    )
    return re.compile(regex if call.startswith('"') else rf"\d+ +{regex}")


def _calls(trace: str) -> list[str]:
    """Return the calls in the order in which they began, each on one line."""
    calls: list[str] = []
    begun: dict[str, int] = {}
    for written in trace.splitlines():
        line = written
        pid, _, rest = line.partition(" ")
        if rest.lstrip().startswith("<... ") and pid in begun:
            calls[begun.pop(pid)] += rest.partition("resumed>")[2]
            continue
        if line.endswith("<unfinished ...>"):
            line = line.removesuffix("<unfinished ...>").rstrip() + " "
            begun[pid] = len(calls)
        calls.append(line)
    return [_sorted_flags(call.replace(" )", ")")) for call in calls]


def _lies(told: Sequence[tuple[str, list[str]]], calls: Sequence[str], case: str) -> list[str]:
    """Return the steps and calls that the trace does not show, each with what it shows instead."""
    position, lies = 0, []
    for title, texts in told:
        if title in _ONLY_WHERE_NEEDED and case != "guarded":
            continue
        for text in texts:
            pattern = _pattern(text)
            found = next(
                (i for i in range(position, len(calls)) if pattern.match(calls[i])
                 or (text.startswith('"') and pattern.search(calls[i]))), None
            )  # fmt: skip
            if found is None:
                kind = text.partition("(")[0]
                after = [call[:300] for call in calls[position:] if f" {kind}(" in call][:6]
                lies.append("\n    ".join((f"{title}: {text}", *after)))
            else:
                position = found + 1
    return lies


_CASES = {
    "plain": ("--network", "none"),
    "guarded": (
        *("--network", "none", "--read-only", "-m", "64m", "--pids-limit", "50", "--cpus", "1"),
        *("--tmpfs", "/tmp", "-u", "1000:1000", "-w", "/work", "--ulimit", "nofile=100"),
        *("--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--hostname", "calm"),
        *("--sysctl", "net.ipv4.ip_default_ttl=63", "-v", "{volume}:/data:ro", "-h", "calm"),
    ),
    "mapped": ("--network", "none", "--userns", "auto"),
    "privileged": ("--network", "none", "--privileged", "--oom-score-adj", "100"),
}


@pytest.mark.parametrize("case", _CASES)
def test_explain_agrees_with_strace(case: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    flags = [flag.format(volume=tmp_path / "volume") for flag in _CASES[case]]
    made = cli("create", *flags, str(cli.rootfs), "true").out.strip()
    told, trace = tmp_path / "told.json", tmp_path / "trace"
    try:
        done = subprocess.run(
            [
                *("strace", "-f", "-s", "65536", "-o", str(trace), sys.executable, "-c", _DRIVER),
                *(str(cli.data), str(cli.root), made, str(told)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=Path(__file__).parents[2],
            env=os.environ | cli.environment,
        )
        assert done.returncode == 0, done.stderr
    finally:
        cli("rm", "-f", made)
    steps = json.loads(told.read_text())
    assert len(steps) > 25
    lies = _lies(steps, _calls(trace.read_text()), case)
    assert not lies, "\n".join(lies)
