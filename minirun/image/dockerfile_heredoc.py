"""Here-documents of a Dockerfile: ``<<NAME`` on a line, and the lines up to NAME.

Pure. Next: ``dockerfile_forms.py``. See: docs.docker.com/reference/dockerfile, "Here-Documents".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .dockerfile_words import Lexer, WordError

_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)\Z")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: ``<<NAME`` on the instruction's line and the lines up to NAME.

    Args:
        name: the terminator, without quotes.
        content: the lines, each with its newline.
        expand: False when any part of the name was quoted: then variables stay as they are.
        chomp: True for ``<<-``: leading tabs are removed.
        fd: the file descriptor written before ``<<``, 0 when none was.
    """

    name: str
    content: str = ""
    expand: bool = True
    chomp: bool = False
    fd: int = 0

    def body(self) -> str:
        """Return the content without leading tabs where ``<<-`` asked for it."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


def heredocs_in(line: str) -> list[Heredoc]:
    """Return the here-documents that a line announces, their content still empty.

    >>> heredocs_in("COPY <<a.txt <<-'b' /dir/")[1]
    Heredoc(name='b', content='', expand=False, chomp=True, fd=0)
    """
    try:
        words = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True).split(line, {})
    except WordError:
        return []
    return [doc for word in words if (doc := heredoc_of(word))]


def heredoc_of(word: str) -> Heredoc | None:
    """Return the here-document that one word announces, or None."""
    match = _HEREDOC.match(word)
    if not match or not match.group(3):
        return None
    try:
        plain = Lexer(keep_unset=True).split(match.group(3), {})
        raw = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True).split(match.group(3), {})
    except WordError:
        return None
    if len(plain) != 1:
        return None
    return Heredoc(plain[0], "", plain == raw, match.group(2) == "-", int(match.group(1) or 0))
