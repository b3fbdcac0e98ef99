"""Device rules as data: reduced, as lines for v1, and as a program of the right shape for v2."""

from __future__ import annotations

import pytest

from minirun.cgroups.devices import DEFAULT_DEVICES, Exact, device_program, policy, v1_lines
from minirun.errors import SpecError
from minirun.spec_resources import DeviceRule

FRESH = "a *:* rwm"
DENY_ALL = DeviceRule(allow=False)
ALLOW_ALL = DeviceRule(allow=True)
DEFAULT_LINES = [
    *("c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm"),
    *("c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"),
]


def written(rules: tuple[DeviceRule, ...] | None, current: str = FRESH) -> list[tuple[str, str]]:
    return list(v1_lines(policy(rules), current))


@pytest.mark.parametrize("rules", [None, (), (DENY_ALL,)], ids=["absent", "empty", "deny"])
def test_no_rules_mean_the_default_devices_and_no_other(rules: tuple[DeviceRule, ...]) -> None:
    assert written(rules) == [
        ("devices.deny", "a"),
        *(("devices.allow", line) for line in DEFAULT_LINES),
    ]
    assert not policy(rules).default_allow


def test_allow_everything_leaves_a_fresh_group_alone() -> None:
    assert written((DENY_ALL, ALLOW_ALL)) == []
    assert policy((ALLOW_ALL,)).rules == ()


def test_everything_overrides_what_came_before() -> None:
    fuse = DeviceRule(allow=True, type="c", major=10, minor=229)
    assert policy((fuse, DENY_ALL)) == policy(None)


def test_narrow_rule_of_type_a_does_not_open_every_device() -> None:
    """What if the type is "a" and there are numbers? The v1 file would ignore them."""
    found = written((DeviceRule(allow=True, type="a", major=7, minor=1, access="r"),))
    assert ("devices.allow", "b 7:1 r") in found
    assert ("devices.allow", "c 7:1 r") in found
    assert ("devices.allow", "a") not in found
    assert not any(line.startswith("a ") for _, line in found)


@pytest.mark.parametrize("wildcard", [-1, None])
def test_minus_one_is_the_wildcard(wildcard: int | None) -> None:
    rule = DeviceRule(allow=True, type="c", major=195, minor=wildcard, access="rw")
    assert ("devices.allow", "c 195:* rw") in written((rule,))


def test_access_of_one_device_adds_up() -> None:
    read = DeviceRule(allow=True, type="c", major=10, minor=1, access="r")
    write = DeviceRule(allow=True, type="c", major=10, minor=1, access="w")
    assert ("devices.allow", "c 10:1 rw") in written((read, write))


def test_default_devices_cannot_be_taken_away() -> None:
    null = DeviceRule(allow=False, type="c", major=1, minor=3)
    assert ("devices.allow", "c 1:3 rwm") in written((null,))


def test_deny_takes_back_an_earlier_allow() -> None:
    fuse = DeviceRule(allow=True, type="c", major=10, minor=229)
    back = DeviceRule(allow=False, type="c", major=10, minor=229, access="w")
    assert ("devices.allow", "c 10:229 rm") in written((fuse, back))


def test_v1_refuses_a_hole_that_the_kernel_would_not_make() -> None:
    wide = DeviceRule(allow=True, type="c", major=10)
    hole = DeviceRule(allow=False, type="c", major=10, minor=229)
    with pytest.raises(SpecError, match=r"cannot take 'c 10:229 rwm' out of 'c 10:\* rwm'"):
        written((wide, hole))
    assert device_program(policy((wide, hole)))  # the program can say it


def test_update_writes_only_the_difference() -> None:
    held = "\n".join([*DEFAULT_LINES, "c 10:229 rwm", "c 195:0 rw"])
    gpu = DeviceRule(allow=True, type="c", major=195, minor=0, access="rwm")
    assert written((gpu,), held) == [
        ("devices.allow", "c 195:0 m"),
        ("devices.deny", "c 10:229 rwm"),
    ]


def test_update_with_the_same_rules_writes_nothing() -> None:
    assert written(None, "\n".join(reversed(DEFAULT_LINES))) == []


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (DeviceRule(allow=True, type="x"), "type"),
        (DeviceRule(allow=True, type="p"), "type"),
        (DeviceRule(allow=True, type="c", access="rx"), "access"),
        (DeviceRule(allow=True, type="c", major=-2), "major"),
        (DeviceRule(allow=True, type="c", minor=1 << 32), "minor"),
    ],
)
def test_malformed_rule_names_its_path(rule: DeviceRule, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        policy((DENY_ALL, rule))
    assert caught.value.path == f"$.linux.resources.devices[1].{path}"


def test_exact_overlap_looks_at_type_numbers_and_access() -> None:
    rule = Exact(True, "c", 1, None, "r")
    assert rule.overlaps(Exact(False, "c", None, 3, "rw"))
    assert not rule.overlaps(Exact(False, "b", 1, 3, "r"))
    assert not rule.overlaps(Exact(False, "c", 2, None, "r"))
    assert not rule.overlaps(Exact(False, "c", 1, 3, "w"))


def test_program_is_whole_instructions_and_ends_with_exit() -> None:
    program = device_program(policy(None))
    assert len(program) % 8 == 0
    assert program[-8] == 0x95
    assert len(program) // 8 < 4096


def test_program_of_more_rules_is_longer() -> None:
    empty = device_program(policy((ALLOW_ALL,)))
    assert len(empty) < len(device_program(policy(DEFAULT_DEVICES[:1])))
