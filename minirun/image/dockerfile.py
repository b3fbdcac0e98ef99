r"""A Dockerfile as data: its instructions, with their lines, flags and here-documents.

The language is BuildKit's, line by line:

    # directive=value    only above everything else: syntax, escape, check
    # comment            anywhere a line starts, also between continued lines
    KEYWORD --flag=value words ["json", "form"] \
        continued <<EOF
    the body of a here-document, up to a line that is exactly
    EOF

Nothing is expanded or executed here: a variable's value depends on the stage that is being built.
The parser keeps what it does not understand as data only where BuildKit does; an unknown keyword is
an error that names the line and the closest keyword.

Pure. Next: ``dockerfile_stages.py``, which groups the instructions by FROM.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches

from ..errors import ImageError
from .dockerfile_forms import FORMS, WHITESPACE, SyntaxProblem, leading_flags
from .dockerfile_heredoc import Heredoc, heredocs_in
from .dockerfile_words import SPACE

_DIRECTIVE = re.compile(r"#[ \t\v\f\r]*([A-Za-z][A-Za-z0-9]*)[ \t\v\f\r]*=[ \t\v\f\r]*(.+?)\s*$")
_DIRECTIVES = {"syntax", "escape", "check"}
#: BuildKit would run any image that is named here; a mirror of the usual one is as good.
_FRONTEND = re.compile(r"(\S*/)?docker/dockerfile(-upstream)?([:@]\S+)?")
_CHECK_WORDS = ("skip", "error", "experimental")
_TAKES_HEREDOC = {"ADD", "COPY", "RUN"}


class DockerfileError(ImageError):
    """A Dockerfile that cannot be read or built; the message starts with file:line."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Args:
        keyword: in capitals.
        words: the arguments: the strings of a JSON form; the words of FROM, COPY, EXPOSE…; name and
            value in turn for ENV and LABEL; else the rest of the line as one string.
        flags: ``--mount=…`` and the like, as written.
        is_json: the arguments were a JSON array: the exec form.
        original: the whole instruction on one line, here-documents below it.
        start_line: first line in the file, from 1.
        end_line: last line, here-documents included.
        heredocs: in the order of their names on the line.
        trigger: what ONBUILD is to run later.
    """

    keyword: str
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()
    is_json: bool = False
    original: str = ""
    start_line: int = 0
    end_line: int = 0
    heredocs: tuple[Heredoc, ...] = ()
    trigger: Instruction | None = None


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed file: its name for messages, its directives, its instructions in order."""

    name: str
    instructions: tuple[Instruction, ...]
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def escape(self) -> str:
        """The character that escapes and continues lines."""
        return self.directives.get("escape", "\\")

    def error(self, at: Instruction, problem: str, *, hint: str = "") -> DockerfileError:
        """Return an error about one instruction."""
        return DockerfileError(f"{self.name}:{at.start_line}: {problem}", hint=hint)


def parse(text: str, name: str = "Dockerfile") -> Dockerfile:
    r"""Return the instructions of a Dockerfile.

    Args:
        text: the file's content; a byte-order mark is skipped.
        name: the file's name for messages.

    Raises:
        DockerfileError: a line that BuildKit would refuse to parse, or an unknown instruction.

    >>> [i.words for i in parse('FROM scratch\nCMD ["/init"]').instructions]
    [('scratch',), ('/init',)]
    """
    reader = _Reader(text, name)
    instructions = tuple(iter(reader.instruction, None))
    if not instructions:
        raise DockerfileError(
            f"{name}: no instructions", hint="a Dockerfile starts with FROM, see FROM scratch"
        )
    return Dockerfile(name, instructions, reader.directives)


class _Reader:
    """Takes the file apart, one logical line after the other."""

    def __init__(self, text: str, name: str) -> None:
        # Only \n separates lines: str.splitlines would also cut at form feeds and U+2028.
        self._lines = text.removeprefix("\ufeff").split("\n")
        if not self._lines[-1]:
            self._lines.pop()
        self._name = name
        self._at = 0
        self.directives: dict[str, str] = {}
        self._read_directives()

    def _error(self, line: int, problem: str, hint: str = "") -> DockerfileError:
        return DockerfileError(f"{self._name}:{line}: {problem}", hint=hint)

    def _read_directives(self) -> None:
        """Read directives from the top: the first line that is not one ends them."""
        for number, line in enumerate(self._lines, start=1):
            match = _DIRECTIVE.match(line.lstrip(SPACE))
            key = match.group(1).lower() if match else ""
            if not match or key not in _DIRECTIVES:
                return
            if key in self.directives:
                raise self._error(number, f"only one {key} parser directive can be used")
            problem, hint = _directive_problem(key, match.group(2))
            if problem:
                raise self._error(number, problem, hint)
            self.directives[key] = match.group(2)

    def instruction(self) -> Instruction | None:
        """Return the next instruction, or None at the end of the file."""
        escape = re.escape(self.directives.get("escape", "\\"))
        # A doubled escape character is a character, not a continuation.
        continued = re.compile(rf"([^{escape}]|^){escape}[ \t]*$")
        while self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r").lstrip(SPACE)
            self._at += 1
            start = self._at
            line, ends = _cut(continued, "" if line.startswith("#") else line)
            while not ends and self._at < len(self._lines):
                more = self._lines[self._at].rstrip("\r")
                self._at += 1
                if more.strip(SPACE) and not more.lstrip(SPACE).startswith("#"):
                    more, ends = _cut(continued, more)
                    line += more
            if line.strip(SPACE):
                return self._finish(line, start)
        return None

    def _finish(self, line: str, start: int) -> Instruction:
        """Return the instruction of one logical line, with its here-documents."""
        try:
            made = _instruction(line, self.directives.get("escape", "\\"))
        except SyntaxProblem as problem:
            raise self._error(start, str(problem), problem.hint) from problem
        takes = made.trigger or made
        heredocs: tuple[Heredoc, ...] = ()
        if takes.keyword in _TAKES_HEREDOC and not takes.is_json and "<<" in line:
            heredocs = tuple(self._body(doc, start) for doc in heredocs_in(line))
        for doc in heredocs:
            line += f"\n{doc.content}{doc.name}"
        if made.trigger:
            made = _with(made, trigger=_with(made.trigger, heredocs=heredocs, start_line=start))
        return _with(made, original=line, start_line=start, end_line=self._at, heredocs=heredocs)

    def _body(self, doc: Heredoc, start: int) -> Heredoc:
        """Return the here-document with the lines up to its terminator."""
        content = ""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            bare = line.rstrip("\r")
            if (bare.lstrip("\t") if doc.chomp else bare) == doc.name:
                return Heredoc(doc.name, content, doc.expand, doc.chomp, doc.fd)
            content += line + "\n"
        problem = f"here-document {doc.name!r} is not terminated"
        raise self._error(start, problem, f"end it with a line that is exactly {doc.name}")


def _directive_problem(key: str, value: str) -> tuple[str, str]:
    """Return what is wrong with a directive, and a hint; two times "" where nothing is."""
    if key == "escape" and value not in ("\\", "`"):
        return f"invalid escape character {value!r}", "use ` or \\"
    if key == "syntax" and not _FRONTEND.fullmatch(value):
        return f"syntax {value} is another language", "this builder reads docker/dockerfile"
    if key == "check":
        for word in filter(None, value.split(";")):
            name = word.partition("=")[0].strip()
            if name not in _CHECK_WORDS:
                hint = f"one of {', '.join(_CHECK_WORDS)}"
                return f"unknown check option {name!r}", hint
    return "", ""


def _with(instruction: Instruction, **changes: object) -> Instruction:
    from dataclasses import replace

    return replace(instruction, **changes)  # type: ignore[arg-type] # names checked by the callers


def _cut(continued: re.Pattern[str], line: str) -> tuple[str, bool]:
    """Return the line without its continuation character, and whether it ends here."""
    match = continued.search(line)
    return (line[: match.end(1)], False) if match else (line, True)


# ---- one instruction ----------------------------------------------------------------------------


def _instruction(line: str, escape: str) -> Instruction:
    """Return the instruction on one logical line, without position."""
    keyword, _, rest = WHITESPACE.sub(" ", line.strip(SPACE), count=1).partition(" ")
    keyword = keyword.upper()
    if keyword not in FORMS:
        close = get_close_matches(keyword, FORMS, n=1, cutoff=0.5)
        raise SyntaxProblem(
            f"unknown instruction {keyword}", f"did you mean {close[0]}?" if close else ""
        )
    flags, rest = leading_flags(rest)
    rest = rest.strip(SPACE)
    if keyword == "ONBUILD":
        trigger = _instruction(rest, escape) if rest else None
        return Instruction(keyword, trigger.words if trigger else (), flags, trigger=trigger)
    words, is_json = FORMS[keyword](rest, escape)
    return Instruction(keyword, words, flags, is_json)
