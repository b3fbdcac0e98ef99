"""What metadata instructions make of an image's configuration, and how stages are planned."""

from __future__ import annotations

import pytest

from minirun.image.build_ignore import Ignore
from minirun.image.build_state import State, duration_ns
from minirun.image.dockerfile import DockerfileError, parse
from minirun.image.dockerfile_stages import plan
from minirun.image.model import ContainerConfig


def _state(text: str, **build_args: str) -> State:
    file = parse(f"FROM scratch\n{text}")
    state = State(file, build_args, {"GLOBAL": "outer"})
    for instruction in file.instructions[1:]:
        assert state.apply(instruction)
    return state


def _config(text: str) -> ContainerConfig:
    return _state(text).config


def test_env_sees_the_values_from_before_its_line() -> None:
    config = _config("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nENV old a  b")
    assert config.env == ("abc=bye", "def=hello", "ghi=bye", "old=a  b")


def test_env_hides_an_argument_of_the_same_name() -> None:
    config = _config("ARG V=arg\nENV V=env\nLABEL v=$V")
    assert config.labels == {"v": "env"}


def test_arg_takes_build_argument_then_default_then_global() -> None:
    state = _state("ARG A=1 B=2\nARG GLOBAL\nARG NONE", B="given")
    assert state.args == {"A": "1", "B": "given", "GLOBAL": "outer"}


def test_command_forms_and_the_shell() -> None:
    config = _config('CMD echo $HOME\nENTRYPOINT ["/x", "y z"]')
    assert (config.cmd, config.entrypoint) == (("/bin/sh", "-c", "echo $HOME"), ("/x", "y z"))
    assert _config('SHELL ["ash", "-c"]\nCMD x').cmd == ("ash", "-c", "x")


def test_entrypoint_drops_the_command_of_the_base() -> None:
    file = parse('FROM a\nENTRYPOINT ["/x"]')
    state = State(file, {}, {}, config=ContainerConfig(cmd=("base",)))
    state.apply(file.instructions[1])
    assert state.config.cmd == ()


def test_expose_and_volume_are_sets() -> None:
    config = _config('ARG P="81 82/udp"\nEXPOSE 80 $P 90-91/TCP\nVOLUME ["/a b"]\nVOLUME /c /d')
    assert sorted(config.exposed_ports) == ["80/tcp", "81/tcp", "82/udp", "90/tcp", "91/tcp"]
    assert sorted(config.volumes) == ["/a b", "/c", "/d"]


def test_healthcheck_in_both_forms() -> None:
    text = "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=4 CMD curl x || exit 1"
    health = _config(text).healthcheck
    assert health is not None
    assert health.test == ("CMD-SHELL", "curl x || exit 1")
    assert (health.interval, health.timeout, health.retries) == (90 * 10**9, 5 * 10**8, 4)
    none = _config("HEALTHCHECK NONE").healthcheck
    assert none is not None
    assert none.test == ("NONE",)


@pytest.mark.parametrize(
    "line",
    [
        "EXPOSE 70000",
        "EXPOSE 1/icmp",
        "STOPSIGNAL SIGNONE",
        "HEALTHCHECK --interval=5 CMD x",
        "HEALTHCHECK MAYBE",
        "HEALTHCHECK --retries=x CMD y",
        "SHELL /bin/sh",
        "ONBUILD FROM x",
        "ONBUILD ONBUILD RUN x",
        "VOLUME",
        "USER",
        "LABEL",
        "ENV A='open",
    ],
)
def test_malformed_metadata_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DockerfileError, match=r"^Dockerfile:2: "):
        _state(line)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-1s", "1d"])
def test_duration_needs_number_and_unit(text: str) -> None:
    with pytest.raises(Exception, match="invalid duration"):
        duration_ns(text)


def test_plan_needs_only_what_the_target_uses() -> None:
    text = (
        "FROM a AS one\nFROM one AS two\nFROM b AS three\nCOPY --from=0 x y\nFROM c\n"
        "COPY --from=three x y\n"
    )
    made = plan(parse(text), {}, {})
    assert [s.index for s in made.needed(made.target())] == [0, 2, 3]
    assert [s.index for s in made.needed(made.target("TWO"))] == [0, 1]


def test_plan_expands_from_with_build_arguments() -> None:
    made = plan(parse("ARG V=1\nARG W=x$V\nFROM a:$W\n"), {"V": "2"}, {})
    assert (made.stages[0].base, made.global_args) == ("a:x2", {"V": "2", "W": "x2"})


@pytest.mark.parametrize(
    ("patterns", "hidden", "seen"),
    [
        ("*.pyc", ["a.pyc"], ["d/a.pyc", "a.py"]),
        ("**/*.pyc", ["a.pyc", "d/e/a.pyc"], ["a.py"]),
        ("/d/", ["d", "d/x"], ["e/d"]),
        ("d/*\n!d/keep", ["d/x"], ["d", "d/keep", "d/keep/y"]),
        ("# comment\n\n  x  ", ["x"], ["# comment"]),
        ("a?[0-9]", ["ab1"], ["ab", "abc", "a/1"]),
        ("..", [], ["x"]),
    ],
)
def test_ignore_patterns(patterns: str, hidden: list[str], seen: list[str]) -> None:
    rules = Ignore(patterns)
    assert [rules.hides(path) for path in hidden] == [True] * len(hidden)
    assert [rules.hides(path) for path in seen] == [False] * len(seen)
