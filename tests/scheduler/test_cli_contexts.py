"""Contexts: which scheduler a command asks, and who may read the file that says so."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from minirun import MinirunError
from scheduler.cli import perform
from scheduler.cli.contexts import Context, chosen, load, path, save

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a configuration folder of its own, and no wishes from outside."""
    for name in ("MINISCHED_ADDRESS", "MINISCHED_CONTEXT", "MINISCHED_TOKEN", "MINISCHED_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def add(*more: str, token: Path | None = None) -> int:
    tokens = ("--token-file", str(token)) if token else ()
    return perform(("context", "add", "lab", "https://lab:8443", *tokens, *more))


def test_context_add_keeps_the_token_to_its_owner(home: Path) -> None:
    (home / "token").write_text("secret\n")
    assert add("--ca-file", "ca.pem", token=home / "token") == 0
    assert stat.S_IMODE(path().stat().st_mode) == 0o600
    lab = load().find("lab")
    assert (lab.token, lab.ca_file) == ("secret", str(Path.cwd() / "ca.pem"))


def test_context_in_use_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen().address.endswith("/api.sock"), "without a word, this host's own"
    add("--use")
    assert chosen().address == "https://lab:8443"
    monkeypatch.setenv("MINISCHED_CONTEXT", "local")
    assert chosen().address.startswith("unix://")
    monkeypatch.setenv("MINISCHED_ADDRESS", "http://127.0.0.1:1")
    assert chosen().address == "http://127.0.0.1:1"


def test_context_list_shows_no_token(home: Path, capsys: Printed) -> None:
    (home / "token").write_text("secret")
    add("--use", token=home / "token")
    capsys.readouterr()
    assert perform(("context", "list")) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].split() == ["*", "lab", "https://lab:8443", "yes"]
    assert perform(("context", "list", "--format", "json")) == 0
    shown += capsys.readouterr().out
    assert "secret" not in shown


def test_context_remove_returns_to_this_host(capsys: Printed) -> None:
    add("--use")
    assert perform(("context", "remove", "lab")) == 0
    assert chosen().address.startswith("unix://")
    assert perform(("context", "use", "lab")) == 125
    assert "no such context: 'lab'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "lab", "lab:8443"), "'lab:8443' is not an address"),
        (("add", "lab", "http://lab:1", "--token-file", "TOKEN"), "show the token"),
        (("add", "lab", "https://lab", "--token-file", "none"), "no such file"),
        (("add", "local", "https://lab"), "the context 'local' exists"),
        (("remove", "local"), "is this host and stays"),
        (("use", "nowhere"), "no such context: 'nowhere'"),
    ],
)
def test_context_refuses(home: Path, capsys: Printed, words: tuple[str, ...], said: str) -> None:
    (home / "TOKEN").write_text("secret")
    words = tuple(str(home / word) if word == "TOKEN" else word for word in words)
    assert perform(("context", *words)) == 125
    assert said in capsys.readouterr().err
    assert not path().exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"current": 1, "contexts": {"x": {}}}', "7"])
def test_contexts_damaged_are_named_and_kept(text: str) -> None:
    path().parent.mkdir(parents=True)
    path().write_text(text)
    with pytest.raises(MinirunError, match="is damaged"):
        load()
    assert path().read_text() == text


def test_contexts_written_are_read_again() -> None:
    contexts = load().having("a", Context("https://a", "t", "/ca")).using("a")
    save(contexts)
    assert load() == contexts
    assert list(path().parent.iterdir()) == [path()], "a draft was left behind"
    assert json.loads(path().read_text())["contexts"].keys() == {"a"}, "local is not ours to keep"
