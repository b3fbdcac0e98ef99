"""From text to plain values: YAML as Compose reads it, then ``${VARIABLES}``.

Compose is YAML 1.2, PyYAML reads 1.1: there ``22:22`` is the number 1342 and ``no`` is false. So
the loader here knows the types of the 1.2 core schema only. It also refuses a key that is given
twice, and a document that grows without end through its own aliases.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping

import yaml

from minirun import ScheduleError

#: PyYAML reads some 30 KiB of the worst text in a second, and ten times that of a usual one.
LARGEST_TEXT = 1 << 20
MOST_VALUES = 100_000
DEEPEST = 64

_CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,18}$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"), ["<"]),
)
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])|(?=\})))"
)
_BRACES = re.compile(r"\$\$|\$\{|\}")
#: How deep one variable may be the default of another.
MOST_NESTED = 16


class _Loader(yaml.SafeLoader):
    """SafeLoader with the 1.2 core schema."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """Refuse a key that is given twice; a merge may be overridden."""
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key is a text"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if key.value in seen:
                problem = f"{key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        """Read an integer in base ten only: 010 is ten."""
        return int(self.construct_scalar(node))


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def load(text: str, variables: Mapping[str, str]) -> object:
    """Return the document's plain values, interpolated.

    Raises:
        ScheduleError: it is not YAML, is too large, or names a variable that must be set.
    """
    if len(text) > LARGEST_TEXT:
        hint = "split it: minisched apply takes several -f"
        text = f"the file is larger than {LARGEST_TEXT >> 10} KiB"
        raise ScheduleError(text, status=413, hint=hint)
    try:
        document = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ScheduleError(f"not YAML: {problem}", status=400) from error
    return _Walk(variables).interpolated(document, "", 0)


class _Walk:
    """One pass over a document, with a limit to it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._left = MOST_VALUES

    def interpolated(self, value: object, path: str, depth: int) -> object:
        self._left -= 1
        if self._left < 0 or depth > DEEPEST:
            raise ScheduleError(f"{path or 'the file'}: too many values", status=413)
        if isinstance(value, str):
            return interpolate(value, self._variables, path)
        if isinstance(value, list):
            return [self.interpolated(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        if isinstance(value, dict):
            inside = f"{path}." if path else ""
            return {k: self.interpolated(v, f"{inside}{k}", depth + 1) for k, v in value.items()}
        return value


def interpolate(text: str, variables: Mapping[str, str], path: str, depth: int = 0) -> str:
    """Return a text with its variables replaced, as Compose does; ``$$`` is a dollar sign.

    >>> interpolate("${IMAGE:-digits}:$TAG costs 1$$", {"TAG": "2"}, "x")
    'digits:2 costs 1$'
    >>> interpolate("${A:-${B:-c}}", {}, "x")
    'c'

    Raises:
        ScheduleError: a variable must be set and is not, or the syntax is wrong.
    """
    found, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        match = _VARIABLE.match(text, dollar)
        end = match.end() if match else -1
        if match and match["name"]:
            end = _closing(text, end)
        if match is None or end < 0 or depth > MOST_NESTED:
            hint = "write $$ for a dollar sign"
            raise ScheduleError(f"{path}: {text[:80]!r} is not a variable", status=422, hint=hint)
        word = text[match.end() : end]
        found += text[at:dollar] + _value(match, word, variables, path, depth)
        at = end + bool(match["name"])
    return found + text[at:]


def _closing(text: str, at: int) -> int:
    """Return where the brace is that closes a variable; -1 where none does."""
    opened = 1
    for match in _BRACES.finditer(text, at):
        opened += {"${": 1, "}": -1}.get(match[0], 0)
        if not opened:
            return match.start()
    return -1


def _value(
    match: re.Match[str], word: str, variables: Mapping[str, str], path: str, depth: int
) -> str:
    if match["escaped"]:
        return "$"
    name, how = match["bare"] or match["name"], match["how"] or ""
    found = variables.get(name)
    is_set = bool(found) if how.startswith(":") else found is not None
    if is_set and not how.endswith("+"):
        return found or ""
    if how.endswith("+") and not is_set:
        return ""
    word = interpolate(word, variables, path, depth + 1)
    if how.endswith("?"):
        raise ScheduleError(f"{path}: variable {name} is not set: {word}", status=422)
    return word


_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:=\s*(.*))?")


def env_file(text: str, variables: Mapping[str, str], path: str) -> dict[str, str]:
    r"""Return what an env_file sets: ``NAME=value`` lines, quotes and comments as in Compose.

    A name alone is taken from the variables, or left out.

    >>> env_file("export A=1 # one", {}, "x"), env_file("B='$A'", {}, "x")
    ({'A': '1'}, {'B': '$A'})
    >>> env_file("HOME\nNOWHERE", {"HOME": "/root"}, "x")
    {'HOME': '/root'}
    """
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ScheduleError(f"{path}: line {number} is not NAME=value", status=422)
        known = {**variables, **found}
        if match[2] is not None:
            found[match[1]] = _line_value(match[2], known, f"{path}: line {number}")
        elif match[1] in variables:
            found[match[1]] = variables[match[1]]
    return found


def _line_value(text: str, variables: Mapping[str, str], path: str) -> str:
    quote = text[:1]
    if quote in {"'", '"'}:
        end = text.rfind(quote)
        rest = text[end + 1 :].strip()
        if end == 0 or (rest and not rest.startswith("#")):
            raise ScheduleError(f"{path}: a quote is not closed", status=422)
        inner = text[1:end]
        if quote == "'":
            return inner
        return interpolate(inner.replace("\\n", "\n").replace('\\"', '"'), variables, path)
    return interpolate(re.split(r"\s#", text, maxsplit=1)[0].rstrip(), variables, path)
