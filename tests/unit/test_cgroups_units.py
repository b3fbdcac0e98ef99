"""The systemd manager's names and properties, which are text and numbers."""

from __future__ import annotations

import pytest

from minirun.cgroups.resources import writes
from minirun.cgroups.units import INFINITY, parse_unit, properties
from minirun.decode import decode
from minirun.errors import SpecError
from minirun.host import Host
from minirun.spec_resources import Resources


@pytest.mark.parametrize(
    ("path", "name", "directory"),
    [
        ("system.slice:runc:c1", "runc-c1.scope", "/system.slice/runc-c1.scope"),
        (":minirun:c1", "minirun-c1.scope", "/system.slice/minirun-c1.scope"),
        ("a-b-c.slice::x", "x.scope", "/a.slice/a-b.slice/a-b-c.slice/x.scope"),
        ("-.slice:p:x", "p-x.scope", "/p-x.scope"),
    ],
)
def test_parse_unit_expands_the_slice(path: str, name: str, directory: str) -> None:
    unit = parse_unit(path)
    assert (unit.name, unit.path) == (name, directory)


@pytest.mark.parametrize(
    "path", ["minirun/web", "a:b", "a:b:c", "system.slice:p:", "a--b.slice:p:x", "../s.slice:p:x"]
)
def test_parse_unit_refuses_what_names_no_scope(path: str) -> None:
    with pytest.raises(SpecError, match="the systemd manager expects") as caught:
        parse_unit(path)
    assert "system.slice:minirun:web" in caught.value.hint


def test_properties_are_what_the_files_say() -> None:
    given = {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20},
        "pids": {"limit": 20},
        "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0"},
    }
    assert dict(properties(writes(decode(Resources, given), Host()))) == {
        "MemoryMax": ("t", 64 << 20),
        "MemorySwapMax": ("t", INFINITY),
        "MemoryLow": ("t", 32 << 20),
        "TasksMax": ("t", 20),
        "CPUWeight": ("t", 100),
        "CPUQuotaPerSecUSec": ("t", 250_000),  # 246,900 rounded up to whole 10 ms
        "CPUQuotaPeriodUSec": ("t", 50_000),
    }


def test_no_quota_is_infinity() -> None:
    lines = writes(decode(Resources, {"cpu": {"quota": -1}}), Host())
    assert dict(properties(lines)) == {"CPUQuotaPerSecUSec": ("t", INFINITY)}
