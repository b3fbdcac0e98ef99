"""What a RUN step borrows: settings found where pip finds them, moved into one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun.image.build_host import FOLDER, borrow, pip_settings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a host whose only settings are below one folder."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_pip_settings_later_files_and_variables_win(home: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "xdg/pip/pip.conf", "[global]\ntimeout = 1\nretries = 1\nno-index = 0\n")
    _write(tmp_path / "home/.pip/pip.conf", "[global]\ntimeout = 2\n[install]\nretries = 2\n")
    _write(tmp_path / "home/.config/pip/pip.conf", "[global]\ntimeout = 3\n")
    _write(tmp_path / "named.conf", "[global]\nindex_url = https://named.example/\n")
    host = {**home, "PIP_CONFIG_FILE": str(tmp_path / "named.conf"), "PIP_NO_INDEX": "1"}
    found = pip_settings(host)
    expected = {"timeout": "3", "retries": "2", "no-index": "1"}
    assert {name: found[name] for name in expected} == expected
    assert found["index-url"] == "https://named.example/"


def test_pip_settings_leave_out_what_changes_the_result(
    home: dict[str, str], tmp_path: Path
) -> None:
    _write(tmp_path / "home/.pip/pip.conf", "[install]\nuser = yes\ntarget = /x\nproxy = p\n")
    found = pip_settings({**home, "PIP_PREFIX": "/y", "PIP_USER": "1"})
    assert found["proxy"] == "p"
    assert not {"user", "target", "prefix"} & found.keys()


def test_pip_settings_survive_a_broken_file(home: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "home/.pip/pip.conf", "no section\n")
    _write(tmp_path / "home/.config/pip/pip.conf", "[global]\ntimeout = 4\n")
    assert pip_settings(home)["timeout"] == "4"


def test_pip_settings_heed_the_null_configuration(home: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "home/.pip/pip.conf", "[global]\ntimeout = 5\n")
    assert "timeout" not in pip_settings({**home, "PIP_CONFIG_FILE": os.devnull})


def test_borrow_passes_proxies_and_build_arguments_replace_them(
    home: dict[str, str], tmp_path: Path
) -> None:
    host = {
        **home,
        "PIP_CONFIG_FILE": os.devnull,
        "HTTP_PROXY": "a",
        "no_proxy": "b",
        "SECRET": "c",
    }
    lent = borrow(tmp_path / "home", host, {"HTTP_PROXY": "given", "OTHER": "d"})
    assert dict(lent.env) == {"HTTP_PROXY": "given", "no_proxy": "b"}


def test_borrow_copies_one_bundle_once_and_skips_what_is_gone(
    home: dict[str, str], tmp_path: Path
) -> None:
    _write(tmp_path / "ca.pem", "authority")
    folder = tmp_path / "lent"
    folder.mkdir()
    names = ("SSL_CERT_FILE", "PIP_CERT", "CURL_CA_BUNDLE")
    host = {**home, "PIP_CONFIG_FILE": os.devnull, **dict.fromkeys(names, str(tmp_path / "ca.pem"))}
    host["REQUESTS_CA_BUNDLE"] = str(tmp_path / "gone.pem")
    lent = borrow(folder, host)
    assert dict(lent.env) == dict.fromkeys(names, f"{FOLDER}/0-ca.pem")
    assert [path.name for path in folder.iterdir()] == ["0-ca.pem"]
    assert [(bind.source, bind.target) for bind in lent.binds] == [(folder, FOLDER)]


def test_borrow_mounts_of_an_index_only_what_it_links_to(
    home: dict[str, str], tmp_path: Path
) -> None:
    _write(tmp_path / "mirror/simple/a/index.html", '<a href="../../files/a.whl#sha256=x">a</a>')
    _write(tmp_path / "mirror/files/a.whl", "")
    _write(tmp_path / "mirror/private/key", "")
    folder = tmp_path / "lent"
    folder.mkdir()
    host = {**home, "PIP_CONFIG_FILE": os.devnull}
    host["PIP_INDEX_URL"] = f"file://{tmp_path}/mirror/simple/"
    lent = borrow(folder, host)
    assert lent.env["PIP_INDEX_URL"] == f"file://{FOLDER}/mounts/0-index/simple"
    mounted = {bind.target.removeprefix(FOLDER): bind.source for bind in lent.binds[1:]}
    assert mounted == {
        "/mounts/0-index/simple": tmp_path / "mirror/simple",
        "/mounts/0-index/files": tmp_path / "mirror/files",
    }
    assert all(bind.read_only for bind in lent.binds)
