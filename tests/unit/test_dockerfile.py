"""The parser against BuildKit's own, which runs in a subprocess: it starts threads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.image.dockerfile import DockerfileError, parse

# One line in, one line out: a JSON string with a Dockerfile, a JSON list or null for an error.
_ORACLE = """
import json, sys
import dockerfile
for line in sys.stdin:
    try:
        found = dockerfile.parse_string(json.loads(line))
        rows = [[c.cmd and c.cmd.upper(), c.json,
                 c.start_line, c.end_line, list(c.flags), list(c.value),
                 [[h.name, h.file_descriptor, h.content] for h in c.heredocs]] for c in found]
    except dockerfile.GoParseError:
        rows = None
    print(json.dumps(rows), flush=True)
"""

CORPUS = [
    "FROM a\nRUN echo \\\\\nRUN b\n",
    "FROM a\nRUN a \\\n# c\n  b \\\n\n c\n",
    "FROM a\nRUN a \\\n  # indented comment\n  b\n",
    "FROM a\nCOPY <<EOF <<'E2' /x/\nq\nEOF\n\tz\nE2\n",
    "FROM a\nRUN <<-EOF\n\tx\n\tEOF\n",
    "FROM a\nRUN cat 3<<EOF x\nq\nEOF\n",
    "FROM a\nRUN cat <<EOF | sh\r\nq\r\nEOF\r\nUSER x\r\n",
    'FROM a\nRUN ["a", 1]\n',
    "FROM a\nRUN ['a']\n",
    "",
    "#c\n",
    "FROM a\nENV\n",
    "FROM a\nENV x\n",
    "FROM a\nENV a=b c\n",
    'from a as b\nHEALTHCHECK --interval=5s CMD a b\nHEALTHCHECK NONE\nhealthcheck cmd ["x"]\n',
    "FROM a\nRUN echo << EOF\n",
    'FROM a\nRUN echo "<<EOF"\n',
    'FROM a\nRUN echo "\n',
    "FROM a\nARG a b=c 'd e'=f\nCMD\nONBUILD\n",
    "FROM a\nRUN --a --b='x y' -- --c d\n",
    "FROM a\nRUN --a=\\ b c\n",
    "FROM a\nRUN\n",
    "# escape=`\nFROM a\nRUN a `\n b\n",
    "# escape=x\nFROM a\n",
    "# syntax=docker/dockerfile:1\n#escape=`\n# escape=`\nFROM a",
    "# comment\n# escape=`\nFROM a\nRUN a \\\n b\n",
    'FROM a\nCOPY a\\ b c\nADD ["a b","c"]\nEXPOSE 1 2/tcp\nVOLUME ["/a"]\nVOLUME /a /b\n',
    "FROM a \\",
    "FROM a\nRUN x <<EOF\nnope\n",
    'FROM a\nRUN x\t\t<<"EOF" <<F"G"\nnope\nEOF\nFG\n',
    "FROM a\nRUN \\\n--mount=a \\\n b\n",
    'FROM a\nSTOPSIGNAL x y\nUSER a b\nMAINTAINER a "b" c  d \n',
    'FROM a\nLABEL a=\'b c\' "d e"="f g" h=i\\ j\n',
    'FROM a\nENV a="x \\"y\\" z" b=\'c\\\' d=\n',
    'FROM a\nENV name the whole   rest "quoted"\n',
    "\ufeffFROM a\n  RUN b  \n\t\n",
    'FROM a\nCMD [ ]\nENTRYPOINT ["/x", "y z"] \n',
    'FROM a\nCMD ["unfinished"\n',
    'FROM a\nWORKDIR /a b\nSHELL ["/bin/sh", "-c"]\n',
    'FROM a\nONBUILD RUN ["a","b"]\nONBUILD ENV a=b c=d\n',
]
_LINES = st.lists(
    st.sampled_from(
        [
            "FROM ", "RUN ", "COPY ", "ENV ", "LABEL ", "ARG ", "CMD ", "EXPOSE ", "HEALTHCHECK ",
            "\n", "\n", "\n", " ", "\t", "\\\n", "\\", "`", "# x", "#escape=`\n", "a=b", "a", "b c",
            "'", '"', '["a", "b"]', "[", "]", "--f=g", "--", "<<EOF", "<<-E", "EOF", "E", "$x",
            "${x:-y}", "=", "\r\n", "3<<'EOF'",
        ]
    ),
    max_size=14,
).map("".join)  # fmt: skip


class _Oracle:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ORACLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def parse(self, text: str) -> Any:  # noqa: ANN401 # JSON
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def oracle() -> Iterator[_Oracle]:
    """Return BuildKit's parser, in a process of its own."""
    started = _Oracle()
    yield started
    started.close()


def _ours(text: str) -> Any:  # noqa: ANN401 # JSON
    try:
        found = parse(text)
    except DockerfileError as error:
        return None if "unknown instruction" not in error.message else "unknown"
    return [
        [
            i.keyword,
            (i.trigger or i).is_json,
            i.start_line,
            i.end_line,
            list(i.flags),
            list(i.words),
            [[doc.name, doc.fd, doc.content] for doc in i.heredocs],
        ]
        for i in found.instructions
    ]


@pytest.mark.parametrize("text", CORPUS)
def test_parse_reads_what_buildkit_reads(text: str, oracle: _Oracle) -> None:
    assert _ours(text) == oracle.parse(text)


@settings(max_examples=400, deadline=None)
@given(rest=_LINES)
def test_parse_agrees_with_buildkit_on_anything(rest: str, oracle: _Oracle) -> None:
    """Except for unknown instructions: BuildKit's parser leaves those to a later stage.

    To it, a continued line with nothing on it is such an instruction too; here it is nothing.
    """
    text = f"FROM a\n{rest}"
    ours, theirs = _ours(text), oracle.parse(text)
    has_nothing = theirs is not None and any(row[0] is None for row in theirs)
    # The oracle's version reads an array and ignores what follows it; later ones, and we, do not.
    trails = re.search(r"\][^\n]*\S", text)
    if ours != "unknown" and not has_nothing and not trails:
        assert ours == theirs, text


def test_parse_names_line_and_hint_of_an_unknown_instruction() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse("FROM a\n\nCPOY a b\n", "images/x/Dockerfile")
    assert caught.value.message == "images/x/Dockerfile:3: unknown instruction CPOY"
    assert caught.value.hint == "did you mean COPY?"


def test_parse_keeps_directives_and_escape() -> None:
    found = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\n")
    assert found.directives == {"syntax": "docker/dockerfile:1", "escape": "`"}
    assert found.escape == "`"


def test_heredoc_body_removes_tabs_only_when_asked() -> None:
    plain, chomped = (
        parse(f"FROM a\nRUN <<{dash}E\n\tx\n y\nE\n").instructions[1].heredocs[0]
        for dash in ("", "-")
    )
    assert (plain.body(), chomped.body()) == ("\tx\n y\n", "x\n y\n")


def test_onbuild_keeps_what_it_triggers_with_its_heredoc() -> None:
    trigger = parse("FROM a\nONBUILD COPY <<E /x\nb\nE\n").instructions[1].trigger
    assert trigger is not None
    assert (trigger.keyword, trigger.heredocs[0].content) == ("COPY", "b\n")
