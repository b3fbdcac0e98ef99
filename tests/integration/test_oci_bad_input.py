"""Configs, bundles and hooks that are wrong in every way: one line, exit 1, and the id is free."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci_lab import Runtime, limits

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")

Json = dict[str, Any]


def change(oci: Runtime, edit: Callable[[Json], object]) -> None:
    """Change config.json, which runs ``true`` otherwise."""
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def refused(oci: Runtime, *words: str) -> str:
    """Return the line that a create ends with, and its hint; the id is free, the group is gone."""
    done = oci.run(*(words or ("create", "bad")))
    assert (done.returncode, done.stdout) == (1, "")
    _, *hint = done.stderr.splitlines()
    assert [line[:6] for line in hint] in ([], ["hint: "])
    assert oci.run("list", "--quiet").stdout == ""
    with pytest.raises(FileNotFoundError):
        limits("minirun/bad")
    return done.stderr


WRONG: dict[str, tuple[Callable[[Json], object], str]] = {
    "version 2": (lambda c: c.update(ociVersion="2.0.0"), "$.ociVersion: 2.0.0 is not supported"),
    "no version": (lambda c: c.pop("ociVersion"), "$.ociVersion"),
    "version of words": (lambda c: c.update(ociVersion="new"), "$.ociVersion"),
    "args is a string": (lambda c: c["process"].update(args="true"), "$.process.args"),
    "an arg is a number": (lambda c: c["process"].update(args=["true", 1]), "$.process.args[1]"),
    "an arg is half a character": (
        lambda c: c["process"].update(args=["true", "\ud800"]), "$.process.args[1]",
    ),
    "a name with a NUL": (
        lambda c: c["linux"].update(sysctl={"net.a\0": "1"}), "$.linux.sysctl: a string may not",
    ),
    "uid is a string": (lambda c: c["process"]["user"].update(uid="0"), "$.process.user.uid"),
    "uid is negative": (lambda c: c["process"]["user"].update(uid=-1), "$.process.user.uid"),
    "mounts is an object": (lambda c: c.update(mounts={}), "$.mounts"),
    "a mount is null": (lambda c: c.update(mounts=[None]), "$.mounts[0]"),
    "root is null": (lambda c: c.update(root=None), "$.root"),
    "readonly is a word": (lambda c: c["root"].update(readonly="yes"), "$.root.readonly"),
    "hooks is a list": (lambda c: c.update(hooks=[]), "$.hooks"),
    "limit too large": (
        lambda c: c["linux"].update(resources={"memory": {"limit": 2**63}}),
        "$.linux.resources.memory.limit",
    ),
    "namespace of no kind": (
        lambda c: c["linux"]["namespaces"].append({"type": "moon"}), "$.linux.namespaces[",
    ),
    "namespace that is none": (
        lambda c: c["linux"]["namespaces"].append({"type": "user", "path": "/etc/passwd"}),
        "/etc/passwd",
    ),
    "group that climbs": (
        lambda c: c["linux"].update(cgroupsPath="/../x"), "$.linux.cgroupsPath",
    ),
    "terminal without a socket": (
        lambda c: c["process"].update(terminal=True), "console socket",
    ),
    "directory that is a file": (
        lambda c: c["process"].update(cwd="/etc/passwd"), "/etc/passwd",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_config_that_is_wrong_is_refused_by_name(oci: Runtime, case: str) -> None:
    edit, words = WRONG[case]
    change(oci, edit)
    assert words in refused(oci)


def test_root_that_is_missing_or_a_file(oci: Runtime, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    change(oci, lambda c: c["root"].update(path=str(tmp_path / "file")))
    assert "not a directory" in refused(oci)
    change(oci, lambda c: c["root"].update(path=str(tmp_path / "missing")))
    assert "no such file or directory" in refused(oci)


def test_links_that_go_round(oci: Runtime, tmp_path: Path) -> None:
    """What if the root, a mount's destination or source, or the program is a link to itself?"""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    round_ = oci.bundle / "rootfs/round"
    round_.symlink_to("/round")
    try:
        for edit in (
            lambda c: c["root"].update(path=str(loop)),
            lambda c: c["mounts"].append({"destination": "/round/x", "type": "tmpfs"}),
            lambda c: c["mounts"].append(
                {"destination": "/tmp", "source": str(loop), "options": ["bind"]}
            ),
            lambda c: c["process"].update(args=["/round"]),
            lambda c: c["process"].update(cwd="/round"),
        ):
            oci.config(args=["true"])
            change(oci, edit)
            assert "too many levels of symbolic links" in refused(oci).lower()
    finally:
        round_.unlink()


def test_bundle_that_is_missing_or_a_file(oci: Runtime, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    for bundle in ("missing", "file"):
        words = ("create", "--bundle", str(tmp_path / bundle), "bad")
        assert "config.json" in refused(oci, *words)


@pytest.mark.parametrize(
    ("kind", "hook", "words"),
    [
        ("prestart", {"path": "/no/such/hook"}, "no such file or directory"),
        ("createContainer", {"path": "/etc/passwd"}, "permission denied"),
        ("createRuntime", {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1},
         "timed out after 1 s"),
    ],
    ids=["missing", "no program", "hangs"],
)  # fmt: skip
def test_hook_that_cannot_do_its_work(oci: Runtime, kind: str, hook: Json, words: str) -> None:
    change(oci, lambda c: c.update(hooks={kind: [hook]}))
    assert words in refused(oci).lower()


def test_two_creates_of_one_id_make_one_container(oci: Runtime) -> None:
    with open(os.devnull, "r+b") as null:
        racers = [
            subprocess.Popen(
                [*oci.argv, "create", "race"], cwd=oci.bundle, stdin=null, stdout=null,
                stderr=null,
            )
            for _ in range(4)
        ]  # fmt: skip
        codes = sorted(racer.wait(60) for racer in racers)
    assert codes == [0, 1, 1, 1]
    assert oci.state("race")["status"] == "created"


def test_init_that_died_before_start_is_told(oci: Runtime) -> None:
    oci.create("dead")
    pidfd = os.pidfd_open(oci.pid("dead"))
    os.kill(oci.pid("dead"), 9)
    select.select([pidfd], [], [], 10)
    os.close(pidfd)
    done = oci.run("start", "dead")
    assert done.returncode == 1
    assert "cannot start a container" in done.stderr
    oci.quiet("delete", "dead")


def test_forced_delete_ends_a_start_whose_hook_never_does(oci: Runtime) -> None:
    """What if the engine gives up on a start? The lock that it holds must not hold the delete."""
    told = oci.bundle / "rootfs/tmp/told"
    told.unlink(missing_ok=True)
    os.mkfifo(told)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo here > /tmp/told; exec sleep 1000"]}
    change(oci, lambda c: c["root"].update(readonly=False))
    change(oci, lambda c: c.update(hooks={"startContainer": [hook]}))
    oci.create("hung")
    start = subprocess.Popen([*oci.argv, "start", "hung"], stderr=subprocess.DEVNULL)
    assert told.read_text() == "here\n"
    oci.quiet("delete", "--force", "hung")
    start.wait(30)
    told.unlink()
    assert oci.run("list", "--quiet").stdout == ""
