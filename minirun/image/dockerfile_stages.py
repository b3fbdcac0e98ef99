"""A Dockerfile grouped by FROM: the stages, and which of them a target needs.

    ARG VERSION=3.11                 before the first FROM: only FROM lines see it
    FROM minirun/python:$VERSION AS build
    RUN …                            stage 0, "build"
    FROM scratch
    COPY --from=build /app /app      stage 1 needs stage 0

Pure. Next: ``build.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches

from .dockerfile import Dockerfile, DockerfileError, Instruction
from .dockerfile_words import Lexer, WordError, comma_words

#: A number is what an unnamed stage is called by.
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
#: The flags of each instruction that are understood; any other is refused by name.
FLAGS: Mapping[str, frozenset[str]] = {
    "ADD": frozenset({"chown", "chmod", "link", "exclude", "checksum", "unpack"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "exclude", "parents"}),
    "FROM": frozenset({"platform"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
    "RUN": frozenset({"mount", "network", "security"}),
}
#: Flags that BuildKit knows and this builder does not, each with what to do instead.
_NOT_BUILT = {
    ("RUN", "device"): "pass devices to the container, not to the build",
    ("ADD", "keep-git-dir"): "clone the repository into the context",
}
#: The flags that may come several times.
_REPEATED = frozenset({"exclude", "mount"})


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its base and what is done on top.

    Args:
        index: from 0, in the order of the file.
        name: after AS, in lower case, or "".
        base: the image or stage to start from, expanded.
        platform: of ``--platform``, expanded, or "".
        start: the FROM instruction.
        instructions: what follows, up to the next FROM.
    """

    index: int
    name: str
    base: str
    platform: str
    start: Instruction
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a file, and the values of the ARGs above the first FROM."""

    file: Dockerfile
    stages: tuple[Stage, ...]
    global_args: Mapping[str, str]

    def find(self, name: str) -> Stage | None:
        """Return a stage by its name or number; the last one where a name is repeated."""
        for stage in reversed(self.stages):
            if name.lower() == stage.name or name == str(stage.index):
                return stage
        return None

    def target(self, name: str = "") -> Stage:
        """Return the stage to build: the one named, else the last.

        Raises:
            DockerfileError: no stage has that name.
        """
        if not name:
            return self.stages[-1]
        found = self.find(name)
        if found is None:
            names = [stage.name or str(stage.index) for stage in self.stages]
            hint = f"the stages are: {', '.join(names)}"
            raise DockerfileError(f"{self.file.name}: no stage is named {name!r}", hint=hint)
        return found

    def needed(self, target: Stage) -> list[Stage]:
        """Return the stages to build for a target, in the order to build them."""
        wanted = {target.index}
        for stage in reversed(self.stages[: target.index + 1]):
            if stage.index in wanted:
                wanted |= self.needs(stage)
        return [self.stages[index] for index in sorted(wanted)]

    def needs(self, stage: Stage) -> set[int]:
        """Return the numbers of the stages that one stage starts from or takes files of."""
        found = [self.before(stage, name) for name in names_in(stage.instructions)]
        base = self.base_of(stage)
        if base is not None:
            triggers = [i.trigger for i in base.instructions if i.trigger]
            found += [base, *(self.before(stage, name) for name in names_in(triggers))]
        return {one.index for one in found if one is not None}

    def base_of(self, stage: Stage) -> Stage | None:
        """Return the stage that another starts from; a number after FROM is an image's name."""
        return None if stage.base.isdecimal() else self.before(stage, stage.base)

    def before(self, stage: Stage, name: str) -> Stage | None:
        """Return the stage a name means inside another: only earlier ones can be meant."""
        return Plan(self.file, self.stages[: stage.index], {}).find(name) if stage.index else None


def plan(file: Dockerfile, build_args: Mapping[str, str], platform_args: Mapping[str, str]) -> Plan:
    """Return the stages of a file.

    Args:
        file: the parsed file.
        build_args: ``--build-arg`` values; they replace the defaults of ARG.
        platform_args: BUILDPLATFORM, TARGETARCH…, known to FROM without ARG.

    Raises:
        DockerfileError: nothing before FROM but ARG; FROM's words; a flag that is not understood.
    """
    values = dict(platform_args)
    declared: dict[str, str] = {}
    starts = [at for at, i in enumerate(file.instructions) if i.keyword == "FROM"]
    first = starts[0] if starts else len(file.instructions)
    for instruction in file.instructions[:first]:
        if instruction.keyword != "ARG":
            problem = f"{instruction.keyword} comes before the first FROM"
            raise file.error(instruction, problem, hint="only ARG may stand above FROM")
        for name, value in arguments(file, instruction, values):
            chosen = build_args.get(name, value)
            if chosen is not None:
                values[name] = declared[name] = chosen
    if not starts:
        raise DockerfileError(f"{file.name}: no FROM", hint="start with FROM IMAGE or FROM scratch")
    for instruction in file.instructions:
        check_flags(file, instruction)
    ends = [*starts[1:], len(file.instructions)]
    stages = [
        _stage(file, index, file.instructions[start:end], values)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return Plan(file, tuple(stages), declared)


def arguments(
    file: Dockerfile, instruction: Instruction, env: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """Return the (name, default) pairs of an ARG; a default of None means there is none."""
    if not instruction.words:
        raise file.error(instruction, "ARG needs a name", hint="write ARG NAME or ARG NAME=value")
    pairs: list[tuple[str, str | None]] = []
    for word in instruction.words:
        name, equals, value = word.partition("=")
        expanded = expand(file, instruction, name, env)
        scope = {**env, **{n: v for n, v in pairs if v is not None}}
        pairs.append((expanded, expand(file, instruction, value, scope) if equals else None))
    return pairs


def expand(file: Dockerfile, instruction: Instruction, word: str, env: Mapping[str, str]) -> str:
    """Return a word with its variables replaced; an error names the line."""
    try:
        return Lexer(file.escape).expand(word, env)
    except WordError as problem:
        raise file.error(instruction, f"{problem} in {word!r}") from problem


def expand_text(
    file: Dockerfile, instruction: Instruction, text: str, env: Mapping[str, str]
) -> str:
    """Return a here-document's text with its variables replaced; an error names the line."""
    try:
        return Lexer(file.escape).expand_text(text, env)
    except WordError as problem:
        raise file.error(instruction, f"{problem} in the here-document") from problem


def flags_of(instruction: Instruction) -> dict[str, list[str]]:
    """Return the flags by name; a flag without a value is ``true``, one may come several times."""
    found: dict[str, list[str]] = {}
    for flag in instruction.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        found.setdefault(name, []).append(value if equals else "true")
    return found


def check_flags(file: Dockerfile, instruction: Instruction) -> None:
    """Refuse a flag that this builder does not carry out, by its name."""
    known = FLAGS.get(instruction.keyword, frozenset())
    for mode in flags_of(instruction).get("security", []):
        if mode != "sandbox":
            hint = "a RUN step never gets more privileges here"
            raise file.error(instruction, f"RUN --security={mode} is not supported", hint=hint)
    for name, values in flags_of(instruction).items():
        if (instruction.keyword, name) in _NOT_BUILT:
            hint = _NOT_BUILT[(instruction.keyword, name)]
            raise file.error(
                instruction, f"{instruction.keyword} --{name} is not supported", hint=hint
            )
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean --{close[0]}?" if close else ""
            raise file.error(instruction, f"{instruction.keyword} has no flag --{name}", hint=hint)
        if len(values) > 1 and name not in _REPEATED:
            raise file.error(instruction, f"--{name} is given twice")


def _stage(
    file: Dockerfile, index: int, lines: tuple[Instruction, ...], env: Mapping[str, str]
) -> Stage:
    start, *rest = lines
    words = start.words
    is_named = len(words) == 3 and words[1].upper() == "AS"
    if not (len(words) == 1 or is_named):
        raise file.error(
            start, "FROM takes one image", hint="write FROM IMAGE or FROM IMAGE AS NAME"
        )
    base = expand(file, start, words[0], env)
    if not base:
        hint = "give the ARG a default value, or pass it with --build-arg"
        raise file.error(start, f"base name {words[0]!r} is empty once expanded", hint=hint)
    platform = flags_of(start).get("platform", [""])[0]
    name = words[2].lower() if is_named else ""
    if name and not _STAGE_NAME.fullmatch(name):
        hint = "a letter, then letters, digits and any of . _ -"
        raise file.error(start, f"{words[2]!r} cannot be the name of a stage", hint=hint)
    return Stage(index, name, base, expand(file, start, platform, env), start, tuple(rest))


def names_in(instructions: Iterable[Instruction]) -> list[str]:
    """Return what ``--from`` and the ``from=`` of mounts name."""
    names: list[str] = []
    for instruction in instructions:
        flags = flags_of(instruction)
        names += flags.get("from", [])
        for mount in flags.get("mount", []):
            with suppress(WordError):  # told when the instruction is carried out
                names += [word[5:] for word in comma_words(mount) if word.startswith("from=")]
    return names
