"""docs/conformance.md has a row for every property, and tells no step that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import spec, spec_resources
from minirun.decode import decode, json_names
from minirun.errors import HostError, SpecError
from minirun.host import Host
from minirun.record import Record
from minirun.steps import (
    devices,
    filters,
    handoff,
    hooks,
    identity,
    idmapped,
    limits,
    masks,
    mounts,
    namespaces,
    overlay,
    priorities,
    resctrl,
    rootfs,
    trees,
)
from minirun.steps.base import Step
from minirun.validate import validate

PAGE = Path(__file__).parents[2] / "docs/conformance.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| (.*) \|$", re.MULTILINE)
ROWS = {path: (status.strip(), how) for path, status, how in ROW.findall(PAGE.read_text())}
MODULES = (
    *(devices, filters, handoff, hooks, identity, idmapped, limits, masks),
    *(mounts, namespaces, overlay, priorities, resctrl, rootfs, trees),
)


def _leaves(cls: type[Record], before: str = "") -> Iterator[str]:
    """Yield the JSON path of every property that has none below it."""
    for field, name in json_names(cls).items():
        kind = str(cls.__annotations__[field]).replace("| None", "").strip()
        inner = re.sub(r"^(?:tuple\[(.+), \.\.\.\]|Mapping\[str, (.+)\])$", r"\1\2", kind)
        below = getattr(spec, inner, None) or getattr(spec_resources, inner, None)
        path = before + name
        if isinstance(below, type) and issubclass(below, Record):
            yield from _leaves(below, path + ("[]." if inner != kind else "."))
        else:
            yield path


def _row_for(path: str) -> str:
    """Return the longest row that the path is in, or ""."""
    plain = path.replace("[]", "")
    known = {row: row.replace("[]", "") for row in ROWS}
    fitting = [r for r, p in known.items() if plain == p or plain.startswith(p + ".")]
    return max(fitting, key=len, default="")


def test_conformance_has_a_row_for_every_property() -> None:
    assert [path for path in _leaves(spec.Spec) if not _row_for(path)] == []


def test_conformance_has_no_row_for_nothing() -> None:
    used = {_row_for(path) for path in _leaves(spec.Spec)}
    assert sorted(ROWS.keys() - used) == []


def test_conformance_names_steps_that_exist() -> None:
    ids = {
        held.id
        for module in MODULES
        for held in vars(module).values()
        if isinstance(held, type) and issubclass(held, Step) and hasattr(held, "id")
    }
    told = {word for _, how in ROWS.values() for word in re.findall(r"`([a-z-]+)`", how)}
    assert sorted(told - ids - {"state", "exec", "start", "delete"}) == []


REFUSED: dict[str, dict[str, dict[str, object]]] = {
    "process.selinuxLabel": {"process": {"selinuxLabel": "x"}},
    "linux.mountLabel": {"linux": {"mountLabel": "x"}},
    "linux.personality.flags": {
        "linux": {"personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}}
    },
    "linux.intelRdt.enableCMT": {"linux": {"intelRdt": {"enableCMT": True}}},
    "linux.intelRdt.enableMBM": {"linux": {"intelRdt": {"enableMBM": True}}},
}


def test_conformance_lists_what_is_refused() -> None:
    said = {path for path, (status, _) in ROWS.items() if status == "refused"}
    assert said == REFUSED.keys()


@pytest.mark.parametrize("path", REFUSED)
def test_refused_property_is_refused_by_name(path: str) -> None:
    parts: dict[str, dict[str, object]] = {
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"]},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    for part, change in REFUSED[path].items():
        parts[part] |= change
    config = {"ociVersion": "1.3.0", **parts}
    with pytest.raises((SpecError, HostError), match=re.escape(path)):
        validate(decode(spec.Spec, config), Host())
