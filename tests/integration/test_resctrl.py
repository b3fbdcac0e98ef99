"""A container's class of the processor's caches: made, joined, shared and removed.

Few processors have them, so a control group of version 1 stands in for resctrl: its directories are
made and removed in the same way, and its ``tasks`` takes processes in the same way. What it lacks
is ``schemata``: which lines are written where is told from plain files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from minirun.cgroups.resctrl import make, service_class, usage
from minirun.decode import decode
from minirun.errors import HostError, SpecError, StateError, StepError
from minirun.execute import ExecRequest, execute, process_like
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.record import replace
from minirun.spec import IntelRdt, Spec
from minirun.steps.base import Step
from minirun.validate import validate
from tests.features import cgroup1_mount
from tests.integration.engine_lab import eventually, kill_hard
from tests.integration.lifecycle_lab import Json, Lab, fork
from tests.integration.oci_lab import Runtime

needs_groups = pytest.mark.requires("root", "overlay", "busybox", "cgroup1")


@pytest.fixture
def top() -> Iterator[Path]:
    """Return an empty group that plays the mounted resctrl."""
    mounted = cgroup1_mount("blkio")
    assert mounted is not None
    made = mounted / "minirun" / f"lab-{os.getpid()}-resctrl"
    made.mkdir(parents=True)
    yield made
    made.rmdir()  # EBUSY where a test has left a class


class Classes:
    """Containers on a host with resctrl."""

    def __init__(self, lab: Lab, top: Path) -> None:
        self.lab, self.host = lab, replace(probe(), resctrl=str(top))

    def container(self, name: str) -> Container:
        made = Container(str(self.lab.root), name, self.host)
        self.lab.made.append(made)
        return made

    def create(
        self, container: Container, rdt: Json, observe: Callable[..., None] | None = None
    ) -> None:
        config = self.lab.config("sleep", "1000")
        config["root"]["path"] = str(self.lab.rootfs)
        config["linux"]["intelRdt"] = rdt
        null = os.open(os.devnull, os.O_RDWR)
        request = Request(
            container.id, str(self.lab.folder), cgroup_manager="disabled", stdio=(null, null, null)
        )
        try:
            container.create(decode(Spec, config), request, observe=observe)
        finally:
            os.close(null)


@pytest.fixture
def classes(lab: Lab, top: Path) -> Classes:
    return Classes(lab, top)


def tasks(directory: Path) -> list[int]:
    return [int(line) for line in (directory / "tasks").read_text().split()]


@needs_groups
def test_class_of_its_own_is_made_joined_and_removed(classes: Classes, top: Path) -> None:
    name = f"lab-{os.getpid()}-own"
    web = classes.container(name)
    classes.create(web, {})
    web.start()
    assert web.state().pid in tasks(top / name)
    spec = web.directory.read_spec()
    null = os.open(os.devnull, os.O_RDWR)
    request = ExecRequest(stdio=(null, null, null))
    inside = execute(web, process_like(spec, ["sleep", "1000"]), request)
    os.close(null)
    assert inside.pid in tasks(top / name)
    kill_hard(inside.pid)  # init cannot go before somebody has collected it
    web.delete(force=True)
    assert not (top / name).exists()


@needs_groups
def test_named_class_is_shared_and_stays(classes: Classes, top: Path) -> None:
    gold = top / "gold"
    web = classes.container(f"lab-{os.getpid()}-gold")
    with pytest.raises(StepError, match="there is no class"):
        classes.create(web, {"closID": "gold"})
    (gold / "mon_groups").mkdir(parents=True)
    classes.create(web, {"closID": "gold", "enableMonitoring": True})
    assert web.state().pid in tasks(gold / "mon_groups" / web.id)
    web.delete(force=True)
    assert not (gold / "mon_groups" / web.id).exists()
    (gold / "mon_groups").rmdir()
    gold.rmdir()


@needs_groups
def test_class_goes_with_a_create_that_was_killed(classes: Classes, top: Path) -> None:
    name = f"lab-{os.getpid()}-killed"

    def die(_index: int, step: Step, _seconds: float) -> None:
        if step.id == "join-service-class":
            os.kill(os.getpid(), signal.SIGKILL)

    pid = fork(partial(classes.create, classes.container(name), {}, observe=die))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    eventually(partial(tasks, top / name), lambda left: not left)  # resctrl would not mind them
    classes.container(name).delete(force=True)
    assert not (top / name).exists()


# ── schemata ──────────────────────────────────────────────────────────────────────────────────


def test_schemata_are_written_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/schemata").write_text("")
    rdt = IntelRdt(l3_cache_schema="L3:0=f\nMB:0=9", mem_bw_schema="MB:0=20", schemata=("L2:0=3",))
    make(service_class(rdt, "web", str(tmp_path)))
    assert (tmp_path / "web/schemata").read_text() == "L3:0=f\nMB:0=20\nL2:0=3\n"


@pytest.mark.parametrize(
    ("have", "line", "fits"),
    [
        ("    L3:0=00f;1=0ff\n    MB:0= 20;1=100\n", "L3:0=f;1=ff", True),
        ("    L3:0=00f;1=0ff\n    MB:0= 20;1=100\n", "MB:0=20", True),
        ("L3:0=f\n", "L3:0=7", False),
        ("L3:0=f\n", "MB:0=20", False),
    ],
)
def test_shared_class_must_mean_the_same(tmp_path: Path, have: str, line: str, fits: bool) -> None:
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold/schemata").write_text(have)
    wanted = service_class(IntelRdt(clos_id="gold", schemata=(line,)), "web", str(tmp_path))
    if fits:
        make(wanted)
    else:
        with pytest.raises(StateError, match=r"intelRdt: .* has "):
            make(wanted)
    assert (tmp_path / "gold/schemata").read_text() == have


def test_usage_is_told_as_runc_tells_it(tmp_path: Path) -> None:
    domain = tmp_path / "web/mon_data/mon_L3_00"
    domain.mkdir(parents=True)
    (tmp_path / "schemata").write_text("    L3:0=fff\n")
    (tmp_path / "web/schemata").write_text("    L3:0=00f\n    MB:0= 20\n")
    (domain / "llc_occupancy").write_text("4096\n")
    assert usage(service_class(IntelRdt(), "web", str(tmp_path)), str(tmp_path)) == {
        "l3_cache_schema_root": "L3:0=fff",
        "l3_cache_schema": "L3:0=00f",
        "mem_bw_schema": "MB:0=20",
        "cmt_stats": [{"llc_occupancy": 4096}],
    }


@needs_groups
def test_update_of_a_container_without_a_class_is_refused(oci: Runtime) -> None:
    oci.start("web")
    done = oci.run("update", "--l3-cache-schema", "L3:0=f", "web")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the container has no intelRdt" in done.stderr


def test_refused_schemata_are_told_in_the_kernels_words(tmp_path: Path) -> None:
    (tmp_path / "info").mkdir()
    (tmp_path / "info/last_cmd_status").write_text("Need MB:0 >= 10\n")
    with pytest.raises(HostError, match="Need MB:0 >= 10"):
        make(service_class(IntelRdt(mem_bw_schema="MB:0=1"), "web", str(tmp_path)))


@pytest.mark.parametrize(
    ("rdt", "where"),
    [
        ({"closID": "../x"}, "closID"),
        ({"closID": "info"}, "closID"),
        ({"memBwSchema": "L3:0=f"}, "memBwSchema"),
        ({"schemata": ["L3:0=f\nMB:0=1"]}, r"schemata\[0\]"),
    ],
)
def test_words_that_are_no_class_are_refused(rdt: Json, where: str) -> None:
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}], "intelRdt": rdt},
    }
    spec = decode(Spec, config)
    with pytest.raises(SpecError, match=rf"\$\.linux\.intelRdt\.{where}"):
        validate(spec, replace(probe(), resctrl="/sys/fs/resctrl", uid=0, in_user_namespace=False))
    with pytest.raises(SpecError, match="no resctrl file system is mounted"):
        validate(spec, replace(probe(), resctrl="", uid=0, in_user_namespace=False))
