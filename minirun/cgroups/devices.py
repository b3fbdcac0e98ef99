"""Which devices a container may open: the rules, and their two forms.

On v1 the rules are lines for ``devices.allow`` and ``devices.deny``. On v2 they are an eBPF program
that the kernel runs at every open and mknod of a device; ``device_program`` compiles them, with an
assembler of six instructions.

Last match wins, separately for each of read, write and mknod. The rules start with "deny
everything" unless the spec allows everything, and the devices that config-linux.md promises to
every container come last, so no rule can take /dev/null away.

Pure. See: the kernel's cgroup-v1/devices.rst, and struct bpf_cgroup_dev_ctx in <linux/bpf.h>.
Next: ``bpf.py``, which attaches the program.
"""

from __future__ import annotations

from struct import pack

from ..errors import SpecError
from ..record import Record
from ..spec_resources import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: mknod of any device is harmless, since it cannot be opened; the rest is in config-linux.md.
DEFAULT_DEVICES = (
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    DeviceRule(allow=True, type="c", major=1, minor=3),  # /dev/null
    DeviceRule(allow=True, type="c", major=1, minor=5),  # /dev/zero
    DeviceRule(allow=True, type="c", major=1, minor=7),  # /dev/full
    DeviceRule(allow=True, type="c", major=1, minor=8),  # /dev/random
    DeviceRule(allow=True, type="c", major=1, minor=9),  # /dev/urandom
    DeviceRule(allow=True, type="c", major=5, minor=0),  # /dev/tty
    DeviceRule(allow=True, type="c", major=5, minor=1),  # /dev/console
    DeviceRule(allow=True, type="c", major=5, minor=2),  # /dev/ptmx
    DeviceRule(allow=True, type="c", major=136),  # /dev/pts/*
)


class Exact(Record):
    """A rule of one type, ``b`` or ``c``; None stands for every number."""

    allow: bool
    type: str
    major: int | None
    minor: int | None
    access: str

    def line(self) -> str:
        """Return the rule as the v1 files spell it."""
        major = "*" if self.major is None else self.major
        minor = "*" if self.minor is None else self.minor
        return f"{self.type} {major}:{minor} {self.access}"

    def covers(self, other: Exact) -> bool:
        """Tell whether every device of the other rule is one of ours."""
        pairs = ((self.major, other.major), (self.minor, other.minor))
        return self.type == other.type and all(mine in (None, its) for mine, its in pairs)

    def overlaps(self, other: Exact) -> bool:
        """Tell whether some device and some access fall under both."""
        pairs = ((self.major, other.major), (self.minor, other.minor))
        same = all(None in pair or pair[0] == pair[1] for pair in pairs)
        return self.type == other.type and same and bool({*self.access} & {*other.access})


class Policy(Record):
    """All rules, reduced: what happens by default, then the exceptions in their order."""

    default_allow: bool
    rules: tuple[Exact, ...]


def policy(rules: Iterable[DeviceRule] | None) -> Policy:
    """Return the spec's rules between "deny everything" and the default devices.

    Raises:
        SpecError: a rule has an unknown type, access or number.
    """
    default_allow = False
    exact: list[Exact] = []
    for i, rule in enumerate((*(rules or ()), *DEFAULT_DEVICES)):
        _check(i, rule)
        if _is_everything(rule):
            default_allow, exact = rule.allow, []  # it overrides whatever came before
        else:
            exact += _split(rule)
    # An exception that says what the default says, before any that differs, says nothing.
    while exact and exact[0].allow == default_allow:
        del exact[0]
    return Policy(default_allow, tuple(exact))


def _check(index: int, rule: DeviceRule) -> None:
    path = f"$.linux.resources.devices[{index}]"
    if rule.type not in ("a", "b", "c", "u", "p", ""):
        raise SpecError(f"{path}.type", f"{rule.type!r} is not one of a, b, c, u, p")
    if rule.type == "p":
        raise SpecError(f"{path}.type", "a pipe is no device: it cannot be ruled")
    if set(rule.access) - set("rwm"):
        raise SpecError(f"{path}.access", f"{rule.access!r} is not made of r, w and m")
    for name, value in (("major", rule.major), ("minor", rule.minor)):
        if value is not None and not -1 <= value < 1 << 32:
            raise SpecError(f"{path}.{name}", f"{value} is no device number")


def _is_everything(rule: DeviceRule) -> bool:
    return (
        rule.type in ("a", "")
        and _number(rule.major) is None
        and (_number(rule.minor) is None and set(rule.access or "rwm") == set("rwm"))
    )


def _split(rule: DeviceRule) -> Iterator[Exact]:
    """Yield the rule once per type.

    The v1 file reads any line that starts with ``a`` as "everything", numbers or not: a narrow rule
    written that way would open every device.
    """
    access = "".join(letter for letter in "rwm" if letter in (rule.access or "rwm"))
    for kind in {"a": "bc", "": "bc", "u": "c"}.get(rule.type, rule.type):
        yield Exact(rule.allow, kind, _number(rule.major), _number(rule.minor), access)


def _number(value: int | None) -> int | None:
    """Return None for the wildcard, which engines write as -1 or leave out."""
    return None if value in (None, -1) else value


# ── v1 ────────────────────────────────────────────────────────────────────────────────────────


def v1_lines(wanted: Policy, current: str) -> Iterator[tuple[str, str]]:
    """Yield (file, line) that turn the group's rules, read from devices.list, into the wanted ones.

    Only differences are written, so an update never blocks a device that stays allowed, and a
    running GPU job does not notice. See: https://github.com/NVIDIA/nvidia-container-toolkit/issues/48

    Raises:
        SpecError: a rule takes a part out of an earlier one, which the v1 files cannot say.
    """
    target = _exceptions(wanted)
    if current.split() == ["a", "*:*", "rwm"]:  # a fresh group, or one that may use everything
        if not wanted.default_allow:
            yield "devices.deny", "a"
        yield from ((_file(wanted), line) for line in _lines(target))
    elif wanted.default_allow:
        yield "devices.allow", "a"
        yield from (("devices.deny", line) for line in _lines(target))
    else:
        held = _parse_list(current)
        yield from (("devices.allow", line) for line in _lines(_minus(target, held)))
        yield from (("devices.deny", line) for line in _lines(_minus(held, target)))


_Exceptions = dict[tuple[str, int | None, int | None], str]


def _file(wanted: Policy) -> str:
    return "devices.deny" if wanted.default_allow else "devices.allow"


def _exceptions(wanted: Policy) -> _Exceptions:
    """Reduce ordered rules to the unordered exceptions that v1 keeps."""
    found: _Exceptions = {}
    for rule in wanted.rules:
        key = (rule.type, rule.major, rule.minor)
        if rule.allow != wanted.default_allow:
            found[key] = "".join(a for a in "rwm" if a in found.get(key, "") + rule.access)
            continue
        _refuse_partial(found, rule)
        for held in [k for k in found if rule.covers(Exact(True, *k, ""))]:
            left = "".join(a for a in found.pop(held) if a not in rule.access)
            if left:
                found[held] = left
    return found


def _refuse_partial(found: _Exceptions, rule: Exact) -> None:
    """Refuse to take part of a wider exception back: the kernel would silently keep it whole."""
    for key, access in found.items():
        wider = Exact(not rule.allow, *key, access)
        if wider.overlaps(rule) and not rule.covers(wider):
            raise SpecError(
                "$.linux.resources.devices",
                f"cgroup v1 cannot take {rule.line()!r} out of {wider.line()!r}",
                hint="name the single devices, or use a host with cgroup v2",
            )


def _lines(exceptions: _Exceptions) -> list[str]:
    return [Exact(True, *key, access).line() for key, access in exceptions.items()]


def _minus(left: _Exceptions, right: _Exceptions) -> _Exceptions:
    """Return the part of the left that the right does not have."""
    rest = {
        key: "".join(a for a in access if a not in right.get(key, ""))
        for key, access in left.items()
    }
    return {key: access for key, access in rest.items() if access}


def _parse_list(current: str) -> _Exceptions:
    """Parse devices.list, where each line is ``c 1:3 rwm``."""
    found: _Exceptions = {}
    for line in current.splitlines():
        kind, numbers, access = line.split()
        major, minor = (None if n == "*" else int(n) for n in numbers.split(":"))
        found[kind, major, minor] = access
    return found


# ── v2: the program ───────────────────────────────────────────────────────────────────────────

# Registers: the verdict, a scratch copy, and the four parts of struct bpf_cgroup_dev_ctx. ACCESS
# holds the letters that no rule has granted yet.
R0, SCRATCH, TYPE, ACCESS, MAJOR, MINOR = range(6)
CONTEXT = 1  # at entry; SCRATCH reuses its register once everything is loaded

LOAD = 0x61  # dst = *(u32 *)(src + offset)
AND, SHIFT = 0x54, 0x74  # dst &= imm; dst >>= imm, on 32 bits
COPY, SET = 0xBC, 0xB7  # dst = src; dst = imm
SKIP_IF, SKIP_UNLESS = 0x16, 0x56  # leave the rule if dst == imm; unless dst == imm, on 32 bits
EXIT = 0x95

_TYPES = {"b": 1, "c": 2}
_LETTERS = {"m": 1, "r": 2, "w": 4}

_Instruction = tuple[int, int, int, int, int]


def device_program(wanted: Policy) -> bytes:
    """Compile the rules to eBPF: last rule first, out at the first that decides.

    Returns the instructions of a BPF_PROG_TYPE_CGROUP_DEVICE program, 8 bytes each.
    See: struct bpf_insn in <linux/bpf.h>.
    """
    code: list[_Instruction] = [
        (LOAD, TYPE, CONTEXT, 0, 0),  # access_type: the access above, the type in the lower half
        (LOAD, ACCESS, CONTEXT, 0, 0),
        (LOAD, MAJOR, CONTEXT, 4, 0),
        (LOAD, MINOR, CONTEXT, 8, 0),
        (AND, TYPE, 0, 0, 0xFFFF),
        (SHIFT, ACCESS, 0, 0, 16),
    ]
    for rule in reversed(wanted.rules):
        code += _compile(rule)
    code += _verdict(wanted.default_allow)
    return b"".join(map(_assemble, code))


def _compile(rule: Exact) -> list[_Instruction]:
    """Compile one rule; each test that fails skips to its end."""
    tests = [(SKIP_UNLESS, TYPE, 0, 0, _TYPES[rule.type])]
    if rule.major is not None:
        tests.append((SKIP_UNLESS, MAJOR, 0, 0, rule.major))
    if rule.minor is not None:
        tests.append((SKIP_UNLESS, MINOR, 0, 0, rule.minor))
    mask = sum(_LETTERS[letter] for letter in rule.access)
    if mask != sum(_LETTERS.values()):
        tests += _granted(mask) if rule.allow else _touched(mask)
    block = tests + _verdict(rule.allow)
    return [
        (code, dst, src, len(block) - at - 1 if code in (SKIP_IF, SKIP_UNLESS) else offset, imm)
        for at, (code, dst, src, offset, imm) in enumerate(block)
    ]


def _granted(mask: int) -> list[_Instruction]:
    """Take the granted letters away; go on while one is left for an earlier rule to grant."""
    return [(AND, ACCESS, 0, 0, ~mask & 0xFFFF), (SKIP_UNLESS, ACCESS, 0, 0, 0)]


def _touched(mask: int) -> list[_Instruction]:
    """Go on where no letter that this rule denies is asked for."""
    return [
        (COPY, SCRATCH, ACCESS, 0, 0),
        (AND, SCRATCH, 0, 0, mask),
        (SKIP_IF, SCRATCH, 0, 0, 0),
    ]


def _verdict(allow: bool) -> list[_Instruction]:
    return [(SET, R0, 0, 0, int(allow)), (EXIT, 0, 0, 0, 0)]


def _assemble(instruction: _Instruction) -> bytes:
    code, dst, src, offset, imm = instruction
    return pack("=BBhI", code, src << 4 | dst, offset, imm)
