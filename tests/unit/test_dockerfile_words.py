"""Variables, quotes and escapes, as docs.docker.com's table of substitutions has them."""

from __future__ import annotations

import pytest

from minirun.image.dockerfile_words import Lexer, WordError

ENV = {"set": "value", "empty": "", "path": "/usr/local/lib.tar.gz", "spaced": "a  b"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$set", "value"),
        ("${set}x", "valuex"),
        ("$setx", ""),
        ("$unset", ""),
        ("\\$set", "$set"),
        ("'$set'", "$set"),
        ('"$set"', "value"),
        ("'it'\"'\"'s'", "it's"),
        ('"a\\"b\\c"', 'a"b\\c'),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("100$", "100$"),
        ("${unset:-word}", "word"),
        ("${empty:-word}", "word"),
        ("${empty-word}", ""),
        ("${unset-word}", "word"),
        ("${set:-word}", "value"),
        ("${set:+word}", "word"),
        ("${empty:+word}", ""),
        ("${empty+word}", "word"),
        ("${unset:+word}", ""),
        ("${unset:-${set}}", "value"),
        ("${unset:-'a b'}", "a b"),
        ("${path#*/}", "usr/local/lib.tar.gz"),
        ("${path##*/}", "lib.tar.gz"),
        ("${path%.*}", "/usr/local/lib.tar"),
        ("${path%%.*}", "/usr/local/lib"),
        ("${path/l/L}", "/usr/Local/lib.tar.gz"),
        ("${path//l/L}", "/usr/LocaL/Lib.tar.gz"),
        ("${set:?message}", "value"),
        ("$1x", "x"),
    ],
)
def test_expand_does_what_docker_does(word: str, expected: str) -> None:
    assert Lexer().expand(word, ENV) == expected


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("${unset:?no value}", "unset: no value"),
        ("${unset?}", "unset: must be set"),
        ("'open", "single quote"),
        ('"open', "double quote"),
        ("${set", r"unsupported modifier|missing"),
        ("${set:-x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${set!x}", "unsupported modifier ! in"),
    ],
)
def test_expand_names_what_is_wrong(word: str, problem: str) -> None:
    with pytest.raises(WordError, match=problem):
        Lexer().expand(word, ENV)


def test_escape_character_can_be_a_backtick() -> None:
    assert Lexer("`").expand("`$set c:\\x", ENV) == "$set c:\\x"


def test_split_divides_values_but_not_quotes() -> None:
    assert Lexer().split("x $spaced \"$spaced\" 'c d'", ENV) == ["x", "a", "b", "a  b", "c d"]


def test_expand_tells_which_names_were_used() -> None:
    used: set[str] = set()
    Lexer().expand("$set ${unset:-$path} '$empty'", ENV, used)
    assert used == {"set", "unset", "path"}


def test_expand_text_leaves_quotes_alone() -> None:
    assert Lexer().expand_text('it\'s "$set" \\$set \\n', ENV) == 'it\'s "value" $set \\n'
