"""Words and variables of a Dockerfile, as BuildKit's shell lexer reads them.

Two jobs share one small scanner: replacing ``$name`` and ``${name:-default}`` in a word, and
splitting a line into words. It resembles a shell but is not one: no commands run, no globs open,
and only the forms below exist. Everything is decided character by character, so quoting can
protect a variable and a variable can bring a space into a word.

    $name  ${name}            the value, or nothing
    ${name:-word} ${name-word}   word when unset (with the colon: or empty)
    ${name:+word} ${name+word}   word when set (with the colon: and not empty)
    ${name:?word} ${name?word}   an error that says word when unset (or empty)
    ${name#pat} ${name##pat}     without the shortest, longest prefix that matches
    ${name%pat} ${name%%pat}     without the shortest, longest suffix
    ${name/pat/word} ${name//pat/word}   first, every match replaced

Pure. Next: ``dockerfile_patterns.py``, then ``dockerfile.py``, which finds the instructions that
these words belong to.
See: docs.docker.com/reference/dockerfile, "Environment replacement".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .dockerfile_patterns import regular, trimmed

#: What Go's unicode.IsSpace calls space. Python's str.isspace counts four control characters more.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
SPACE += "\u2028\u2029\u202f\u205f\u3000"
_SPECIAL_PARAMETERS = "@*#?-$!0"


class WordError(Exception):
    """A word that cannot be read; the caller knows the file and line and adds them."""


def comma_words(text: str) -> list[str]:
    """Return the words between commas, quoted as in CSV: the value of ``--mount``, ``--secret``.

    >>> comma_words('type=bind,"target=/a,b"')
    ['type=bind', 'target=/a,b']

    Raises:
        WordError: a line break, or more than a flag can hold.
    """
    try:
        return next(csv.reader([text]), [])
    except csv.Error as error:
        raise WordError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Lexer:
    r"""How to read words.

    Args:
        escape: the escape character, ``\`` unless the ``escape`` directive says otherwise.
        raw_quotes: keep quotes in the result.
        raw_escapes: keep escape characters in the result.
        keep_unset: leave a reference to an unset variable as it is written.
    """

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False

    def expand(self, word: str, env: Mapping[str, str], used: set[str] | None = None) -> str:
        """Return the word with quotes removed and variables replaced.

        Args:
            word: one argument as written.
            env: the variables in scope.
            used: receives the name of every variable that was looked up.

        Raises:
            WordError: an open quote, a bad substitution, or ``${name:?…}`` on an unset name.

        >>> Lexer().expand("${tag:-latest}-'$x'", {})
        'latest-$x'
        """
        return _Scan(self, word, env, used).until("").text

    def split(self, line: str, env: Mapping[str, str], used: set[str] | None = None) -> list[str]:
        """Return the words of a line: split at spaces that are not quoted, then expanded.

        >>> Lexer().split("a 'b c' $d", {"d": "e f"})
        ['a', 'b c', 'e', 'f']
        """
        return _Scan(self, line, env, used).until("").finish()

    def expand_text(self, text: str, env: Mapping[str, str]) -> str:
        r"""Return running text with its variables replaced; quotes in it are only characters.

        The escape character protects ``$`` and itself, as in a shell's here-document.

        >>> Lexer().expand_text("it's $x, not \\$x", {"x": "1"})
        "it's 1, not $x"
        """
        return _Scan(self, text, env, None).text()


class _Words:
    """Text collected both as one string and as words."""

    def __init__(self) -> None:
        self.text = ""
        self._words: list[str] = []
        self._word = ""

    def add(self, text: str, *, splits: bool) -> None:
        """Append text; a space in it ends the current word when ``splits``."""
        self.text += text
        if not splits:
            self._word += text
            return
        for character in text:
            if character not in SPACE:
                self._word += character
            elif self._word:
                self._words.append(self._word)
                self._word = ""

    def finish(self) -> list[str]:
        """Return the words; an empty one does not count, not even in quotes."""
        return [*self._words, *([self._word] if self._word else [])]


class _Scan:
    """One pass over one text."""

    def __init__(
        self, lexer: Lexer, text: str, env: Mapping[str, str], used: set[str] | None
    ) -> None:
        self._lexer = lexer
        self._text = text
        self._env = env
        self._used = used
        self._at = 0
        self._raw_escapes = lexer.raw_escapes

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += len(character)
        return character

    def until(self, stop: str, *, raw_escapes: bool | None = None) -> _Words:
        """Read up to the stop character, or to the end when it is ""."""
        before = self._raw_escapes
        self._raw_escapes = before if raw_escapes is None else raw_escapes
        words = _Words()
        while character := self._peek():
            if character == stop:
                self._at += 1
                self._raw_escapes = before
                return words
            if character == "$":
                words.add(self._dollar(), splits=True)
            elif character in "'\"":
                quoted = self._single_quoted() if character == "'" else self._double_quoted()
                words.add(quoted, splits=False)
            else:
                self._plain(words)
        if stop:
            raise WordError(f"missing {stop!r}")
        return words

    def text(self) -> str:
        """Read everything as running text."""
        result = ""
        while character := self._peek():
            if character == "$":
                result += self._dollar()
                continue
            self._at += 1
            if character == self._lexer.escape and self._peek() in ("$", self._lexer.escape):
                character = self._next()
            result += character
        return result

    def _plain(self, words: _Words) -> None:
        character = self._next()
        if character != self._lexer.escape:
            words.add(character, splits=True)
            return
        if self._raw_escapes:
            words.add(character, splits=False)
        words.add(self._next(), splits=False)

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise WordError("missing a closing single quote")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._lexer.raw_quotes else inside

    def _double_quoted(self) -> str:
        quote = self._next() if self._lexer.raw_quotes else self._next()[:0]
        inside = ""
        while character := self._peek():
            if character == '"':
                self._at += 1
                return quote + inside + quote
            inside += self._dollar() if character == "$" else self._in_double_quotes()
        raise WordError("missing a closing double quote")

    def _in_double_quotes(self) -> str:
        character = self._next()
        if character != self._lexer.escape:
            return character
        kept = character if self._raw_escapes else ""
        follower = self._peek()
        if not follower:
            return kept
        return kept + (self._next() if follower in ('"', "$", self._lexer.escape) else character)

    # ---- variables -------------------------------------------------------------------------------

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name, f"${name}") if name else "$"
        self._at += 1
        if self._peek() in ("{", "}", ":"):
            raise WordError("bad substitution")
        if not self._peek():
            raise WordError("missing '}'")
        return self._braced(self._name())

    def _name(self) -> str:
        """Read a name; digits alone and the shell's one-character parameters are names too."""
        match = re.compile(r"\d+|[^\W\d]\w*").match(self._text, self._at)
        name = match.group() if match else self._peek()
        if not match and (not name or name not in _SPECIAL_PARAMETERS):
            return ""
        self._at += len(name)
        return name

    def _look_up(self, name: str) -> str | None:
        if self._used is not None:
            self._used.add(name)
        return self._env.get(name)

    def _value(self, name: str, written: str) -> str:
        value = self._look_up(name)
        if value is None:
            return written if self._lexer.keep_unset else ""
        return value

    def _braced(self, name: str) -> str:
        operator = self._next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if operator == "/":
            return self._replaced(name)
        colon = operator == ":"
        if colon:
            operator = self._next()
        if not operator or operator not in "-+?#%":
            raise WordError(f"unsupported modifier {':' * colon}{operator} in ${{{name}}}")
        word = self.until("}", raw_escapes=operator in "#%").text
        value = self._look_up(name)
        if value is None and self._lexer.keep_unset:
            return f"${{{name}{':' * colon}{operator}{word}}}"
        if operator in "#%":
            return trimmed(value or "", operator, word)
        return _chosen(name, value, operator, word, missing=value is None or (colon and not value))

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self._at += every
        pattern = self.until("/", raw_escapes=True).text
        replacement = self.until("}", raw_escapes=True).text
        value = self._look_up(name)
        if value is None:
            return f"${{{name}/{pattern}/{replacement}}}" if self._lexer.keep_unset else ""
        expression = regular(pattern, greedy=True)
        return re.sub(expression, lambda _: replacement, value, count=0 if every else 1)


def _chosen(name: str, value: str | None, operator: str, word: str, *, missing: bool) -> str:
    """Return what ``-``, ``+`` or ``?`` makes of a value."""
    if operator == "+":
        return "" if missing else word
    if not missing:
        return value or ""
    if operator == "?":
        raise WordError(f"{name}: {word or 'must be set, and not be empty'}")
    return word
