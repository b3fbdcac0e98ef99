"""``minisched`` where things end in an unusual way: cut, refused, gone, or half typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.cli.events import _watched
from scheduler.client import ApiError, Client
from tests.scheduler.api_lab import SPEC
from tests.scheduler.cli_desk import Desk, desk
from tests.scheduler.served import MAX_STREAMS, ROOT, serving


@pytest.fixture
def sched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    with desk(tmp_path, monkeypatch, capsys) as made:
        yield made


def deployed(sched: Desk, name: str = "web") -> Desk:
    Path("c.yaml").write_text(f"services: {{{name}: {{image: good, expose: [80]}}}}")
    sched("apply", "-f", "c.yaml", "--wait")
    return sched


# ── a scheduler that goes and comes ───────────────────────────────────────────────────────────


def test_a_watch_goes_on_with_the_next_scheduler_and_skips_nothing(tmp_path: Path) -> None:
    """What if the scheduler is restarted while somebody watches, and decides things meanwhile."""
    environment = os.environ | {"MINISCHED_ADDRESS": f"unix://{tmp_path}/api.sock"}
    words = "events -w --after 0 --format json".split()
    with serving(tmp_path) as first:
        watch = subprocess.Popen(
            [sys.executable, "-m", "scheduler.cli", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        assert watch.stdout is not None
        assert watch.stderr is not None
        patience = threading.Timer(90, watch.kill)
        patience.start()
        try:
            first.ask("PUT", "/v1/deployments/one", SPEC)
            told = [json.loads(watch.stdout.readline())]
            first.process.terminate()
            assert "the scheduler has gone" in watch.stderr.readline()
            first.process.wait(20)
            with serving(tmp_path) as second:
                second.ask("PUT", "/v1/deployments/two", SPEC)
                while told[-1]["deployment"] != "two":
                    told.append(json.loads(watch.stdout.readline()))
            assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))
        finally:
            patience.cancel()
            watch.kill()
            watch.communicate()


def test_a_watch_waits_until_there_is_room_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What if as many others watch as may."""
    with serving(tmp_path) as served:
        sched = Client(f"unix://{served.path}")
        sched.apply("one", SPEC)
        others = [sched.watch(after=0) for _ in range(MAX_STREAMS)]
        first, *_ = [next(other) for other in others]  # each of them has begun
        told: list[object] = []
        watch = threading.Thread(target=lambda: told.append(next(_watched(sched, "", 0))))
        watch.start()
        said = ""
        while "streams already" not in said and watch.is_alive():
            watch.join(0.02)
            said += capsys.readouterr().err
        for other in others:
            other.close()  # type: ignore[attr-defined]  # a generator
        watch.join(30)
    assert told == [first]


def test_a_body_that_is_too_large_is_refused_as_that(tmp_path: Path) -> None:
    with serving(tmp_path) as served, pytest.raises(ApiError) as caught:
        Client(f"unix://{served.path}").put_secret("big", b"x" * 4_000_000)
    assert (caught.value.status, caught.value.message) == (413, "the body is too large")
    assert "1048576 bytes" in caught.value.hint


# ── exec ──────────────────────────────────────────────────────────────────────────────────────


def test_exec_refuses_an_option_that_it_does_not_have(sched: Desk) -> None:
    deployed(sched)
    assert "no such option" in sched("exec", "-it", "web", "--", "sh", code=125)
    assert "-l -a" in sched("exec", "web", "ls", "-l", "-a", code=3)


def test_exec_says_that_there_was_more(sched: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(sched)
    from scheduler.control import Executed

    cut = Executed(0, b"the beginning\n", truncated=True)
    monkeypatch.setattr(sched.lab.insides, "execute", lambda *_: cut)
    said = sched("exec", "web", "--", "cat", "big")
    assert said.startswith("the beginning\nminisched: there was more output than is shown\nhint:")


# ── describe ──────────────────────────────────────────────────────────────────────────────────


def test_describe_does_not_show_a_limit_that_is_none(
    sched: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scheduler.control import Usage

    deployed(sched)
    monkeypatch.setattr(sched.lab.insides, "usage", lambda: {"web.1": Usage(1.0, 2 << 20, 0, 500)})
    said = sched("describe", "web.1")
    assert "Memory limit" not in said
    assert "Cpu limit:       0.5" in said


# ── names and completion ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["", "a b", "a\n"])
def test_a_context_needs_a_name_that_can_be_typed(sched: Desk, name: str) -> None:
    assert "no name for a context" in sched("context", "add", name, "https://x:1", code=125)


@pytest.mark.parametrize(
    ("line", "kind", "found"),
    [
        ("minisched scale w", "plain", "web"),
        ("minisched get deployments w", "plain", "web"),
        ("minisched apply -f c", "file", "c"),
        ("minisched secret create x --from-file c", "file", "c"),
    ],
)
def test_completion_knows_what_comes_there(sched: Desk, line: str, kind: str, found: str) -> None:
    deployed(sched)
    words = line.split()
    done = subprocess.run(
        [sys.executable, "-c", "from scheduler.cli import main; main()"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | {
            "_MINISCHED_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )  # fmt: skip
    assert f"{kind},{found}" in done.stdout.split()


# ── what is not all there ─────────────────────────────────────────────────────────────────────

PART = """
services:
  one: {image: good, expose: [80]}
  two: {image: nowhere}
  three: {image: good, expose: [80]}
"""


def test_a_service_that_is_refused_keeps_no_other_from_being_asked_for(sched: Desk) -> None:
    Path("c.yaml").write_text(PART)
    said = sched("diff", "-f", "c.yaml", code=125)
    assert ("one (created" in said, "three (created" in said) == (True, True)
    said = sched("apply", "-f", "c.yaml", "--wait", "--prune", "-l", "app=shop", code=125)
    assert said.splitlines()[:2] == ["one created", "three created"]
    assert "minisched: two: /image: there is no image nowhere" in said
    assert [row[0] for row in sched.rows("get", "deployments")] == ["one", "three"]


def test_get_of_a_replica_that_is_not_there_is_an_error(sched: Desk) -> None:
    deployed(sched)
    assert "not found: web.99" in sched("get", "replicas", "web", "web.99", code=125)
    assert [row[0] for row in sched.rows("get", "replicas", "web.1")] == ["web.1"]
