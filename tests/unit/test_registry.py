"""What the registry client decides without a registry: challenges, platforms, hosts, settings."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.model import Descriptor, Platform
from minirun.image.registry import challenge, endpoint, platforms, settings
from minirun.image.registry.credentials import Credential, Keychain
from minirun.image.registry.platforms import choose
from minirun.image.registry.settings import Settings
from minirun.image.registry.transport import retry_after

# ── challenges ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Basic realm="r"', ["basic"]),
        ("Basic", ["basic"]),
        ('Bearer realm="https://a/t",service="x", Basic realm=plain', ["bearer", "basic"]),
        ('Bearer realm = "a \\"quoted\\" word" , scope="a b"', ["bearer"]),
        ("", []),
        ('="', []),
        ("Basic " + "," * 10_000, ["basic"]),
    ],
)
def test_challenge_finds_every_scheme(header: str, schemes: list[str]) -> None:
    assert [found.scheme for found in challenge.parse(header)] == schemes


def test_challenge_keeps_commas_and_quotes_inside_quotes() -> None:
    (found,) = challenge.parse('Bearer realm="https://a/?x=1,2", scope="repository:a:pull,push b"')
    assert found.realm == "https://a/?x=1,2"
    assert found.scopes == ("repository:a:pull,push", "b")


def test_retry_after_reads_nonsense_as_now() -> None:
    assert retry_after("-1") == 0.0
    assert retry_after("Mon, 99 Foo 2020") == 0.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


# ── platforms ────────────────────────────────────────────────────────────────────────────────


def _entry(text: str) -> Descriptor:
    parts = text.split("/")
    found = Platform(parts[1], parts[0], parts[2] if len(parts) > 2 else "")
    return Descriptor("m", text, 1, found)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("arm64", "linux/amd64 linux/arm64/v8", "linux/arm64/v8"),
        ("arm64/v8", "linux/arm64", "linux/arm64"),
        ("arm/v7", "linux/arm/v5 linux/arm/v6", "linux/arm/v6"),
        ("arm", "linux/arm/v6 linux/arm/v7", "linux/arm/v7"),
        ("amd64", "windows/amd64 unknown/unknown linux/amd64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2"),
        ("x86_64", "linux/amd64", "linux/amd64"),
    ],
)
def test_choose_takes_the_best_that_runs(wanted: str, offered: str, chosen: str) -> None:
    entries = [_entry(text) for text in offered.split()]
    assert choose(entries, platforms.parse(wanted), "it").digest == chosen


@pytest.mark.parametrize("wanted", ["arm/v6", "amd64", "riscv64"])
def test_choose_takes_nothing_that_does_not_run(wanted: str) -> None:
    with pytest.raises(ImageError, match="has no image for linux/"):
        choose([_entry("linux/arm/v7"), _entry("linux/amd64/v2")], platforms.parse(wanted), "it")


@pytest.mark.parametrize("text", ["", "linux", "linux/", "a/b/c/d", "linux/amd 64"])
def test_platform_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="platform"):
        platforms.parse(text)


# ── hosts ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9:5000", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("128.0.0.1:5000", False),
        ("127.0.0.1.example", False),
    ],
)
def test_only_this_machine_may_be_plain_unasked(host: str, plain: bool) -> None:
    found = endpoint.of(host, Settings())
    assert (found.may_be_plain, found.unverified) == (plain, False)


@pytest.mark.parametrize("listed", ["reg.lan:5000", "reg.lan"])
def test_listed_registry_is_insecure(listed: str) -> None:
    found = endpoint.of("reg.lan:5000", Settings(insecure=(listed,)))
    assert (found.may_be_plain, found.unverified) == (True, True)
    assert endpoint.of("10.1.2.3:1", Settings(insecure=("10.0.0.0/8",))).unverified
    assert not endpoint.of("11.1.2.3:1", Settings(insecure=("10.0.0.0/8",))).may_be_plain


@pytest.mark.parametrize("url", ["ftp://a", "https://", "https://a/path"])
def test_mirror_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ImageError, match="mirror"):
        endpoint.of_mirror(url, Settings())


# ── settings ─────────────────────────────────────────────────────────────────────────────────


def test_settings_are_read_with_docker_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINIRUN_DEFAULT_REGISTRY", raising=False)
    file = tmp_path / "registries.json"
    file.write_text(
        '{"default-registry": "r.example", "registry-mirrors": ["https://m"],'
        ' "mirrors": {"ghcr.io": ["https://g"]}, "insecure-registries": ["10.0.0.0/8"]}'
    )
    found = settings.load(str(file))
    assert (found.default_registry, found.insecure) == ("r.example", ("10.0.0.0/8",))
    assert found.mirrors_of("docker.io") == ("https://m",)
    assert found.mirrors_of("ghcr.io") == ("https://g",)
    monkeypatch.setenv("MINIRUN_DEFAULT_REGISTRY", "none")
    assert settings.load(str(file)).default_registry == ""
    file.write_text('{"registry-mirrors": "https://m"}')
    with pytest.raises(ImageError, match=r"registry-mirrors: expected an array"):
        settings.load(str(file))
    file.write_text('{"registry-mirors": ["https://m"]}')
    with pytest.raises(ImageError, match=r"unknown setting 'registry-mirors'") as caught:
        settings.load(str(file))
    assert "registry-mirrors" in caught.value.hint


# ── credentials ──────────────────────────────────────────────────────────────────────────────

_HELPER = """#!/bin/sh
cd "$(dirname "$0")"
case $1 in
store) cat >secret ;;
erase) rm secret ;;
get) test -e secret || { echo credentials not found in native keychain; exit 1; }
     cat secret ;;
esac
"""


@pytest.fixture
def keychain(tmp_path: Path) -> Keychain:
    return Keychain(str(tmp_path / "docker" / "config.json"))


def test_credentials_are_kept_for_their_owner_and_the_rest_stays(keychain: Keychain) -> None:
    path = Path(keychain.path)
    path.parent.mkdir()
    path.write_text('{"HttpHeaders": {"X": "y"}, "auths": {"old": {"auth": "YTpi"}}}')
    path.chmod(0o644)
    assert keychain.keep("host:5000", Credential("ada", "p:w")) == keychain.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["HttpHeaders"] == {"X": "y"}
    assert keychain.find("host:5000") == Credential("ada", "p:w")
    assert keychain.find("old") == Credential("a", "b")
    assert keychain.find("host") is None
    assert keychain.forget("host:5000")
    assert list(json.loads(path.read_text())["auths"]) == ["old"]
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]


def test_two_logins_at_once_are_both_kept(keychain: Keychain) -> None:
    def log_in(i: int) -> None:
        keychain.keep(f"host{i}", Credential("u", str(i)))

    threads = [threading.Thread(target=log_in, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(Path(keychain.path).read_text())["auths"]) == 8


def test_helper_keeps_the_secret_out_of_the_file(
    keychain: Keychain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin" / "docker-credential-box"
    helper.parent.mkdir()
    helper.write_text(_HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    path = Path(keychain.path)
    path.parent.mkdir()
    path.write_text('{"credHelpers": {"host": "box"}}')
    assert keychain.find("host") is None
    assert keychain.keep("host", Credential("ada", "secret")) == "docker-credential-box"
    assert "secret" not in path.read_text()
    assert keychain.find("host") == Credential("ada", "secret")
    assert keychain.find("elsewhere") is None
    assert keychain.forget("host")
    assert not keychain.forget("host")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a Docker configuration"),
        ('{"auths": []}', "auths is not an object"),
        ('{"auths": {"host": {"auth": "?"}}}', "auth of host is not"),
        ('{"credsStore": "../../bin/sh"}', "is not the name of one"),
        ('{"credsStore": "absent-one"}', "docker-credential-absent-one is not in PATH"),
    ],
)
def test_broken_configuration_is_named(keychain: Keychain, text: str, message: str) -> None:
    Path(keychain.path).parent.mkdir()
    Path(keychain.path).write_text(text)
    with pytest.raises(ImageError, match=message):
        keychain.find("host")


def test_identity_token_and_url_keys_are_understood(keychain: Keychain) -> None:
    Path(keychain.path).parent.mkdir()
    entry = {"auth": "YWRhOg==", "identitytoken": "t"}
    Path(keychain.path).write_text(json.dumps({"auths": {"https://host/v1/": entry}}))
    found = keychain.find("host")
    assert found == Credential("ada", "", "t")
    assert "t'" not in repr(Credential("ada", "secret", "t"))
