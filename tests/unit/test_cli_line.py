"""The line of run, its table of flags, templates and the keys of a terminal."""

from __future__ import annotations

import pytest

from minirun.cli.fastline import parse
from minirun.cli.flags import FLAGS, OWN
from minirun.cli.output import formatter
from minirun.cli.terminal import Escape, detach_keys
from minirun.container import flagtable
from minirun.errors import UsageError


def test_table_and_parsers_know_the_same_flags() -> None:
    typed = {flag.key for flag in FLAGS} - {name.replace("-", "_") for name in OWN}
    tables = (
        *(flagtable.ONCE, flagtable.RESOURCES_ONCE, flagtable.NETWORK_ONCE, flagtable.HEALTH_ONCE),
        *(flagtable.REPEATED, flagtable.RESOURCES_REPEATED, flagtable.NETWORK_REPEATED),
        *(flagtable.SWITCHES, flagtable.REFUSED),
    )
    special = {
        *("env", "env_file", "label", "label_file", "annotation", "sysctl", "security_opt"),
        *("log_driver", "log_opt", "volume", "mount", "tmpfs", "entrypoint", "publish_all"),
        "oom_kill_disable",
    }
    assert typed == special.union(*tables)


@pytest.mark.parametrize(
    ("words", "flag", "value"),
    [
        ("--name web x", "name", "web"),
        ("--name=web x", "name", "web"),
        ("-it x", "tty", True),
        ("-itp80:80 x", "publish", ["80:80"]),
        ("-e A=1 -e B x", "env", ["A=1", "B"]),
        ("--rm=false x", "rm", False),
        ("--net host x", "network", "host"),
        ("-m=64m x", "memory", "64m"),
    ],
)
def test_line_reads_every_spelling(words: str, flag: str, value: object) -> None:
    line = parse(words.split())
    assert line is not None
    assert line.flags[flag] == value
    assert (line.image, line.command) == ("x", ())


def test_line_ends_its_flags_at_the_image() -> None:
    line = parse(["--rm", "x", "ls", "--rm", "-la"])
    assert line is not None
    assert line.command == ("ls", "--rm", "-la")


@pytest.mark.parametrize("words", ["", "--rm", "--what x", "-z x", "--rm=maybe x", "--name", "-e"])
def test_line_that_is_odd_is_left_to_click(words: str) -> None:
    assert parse(words.split()) is None


def test_template_is_filled() -> None:
    row = {"Name": "web", "State": {"Up": True}}
    assert formatter("{{.Name}}: {{.State.Up}} {{json .State}}")(row) == 'web: true {"Up": true}'


@pytest.mark.parametrize("text", ["{{range .}}", "{{.Nothing}}", "{{.Name", "yaml"])
def test_template_beyond_fields_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        formatter(text)({"Name": "web"})


def test_escape_finds_keys_that_come_one_by_one() -> None:
    escape = Escape(detach_keys("ctrl-p,ctrl-q"))
    assert [escape.feed(b) for b in (b"a\x10", b"\x10", b"\x11")] == [
        (b"a", False),
        (b"\x10", False),
        (b"", True),
    ]
