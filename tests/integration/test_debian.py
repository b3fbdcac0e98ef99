"""An unmodified Debian, made by mmdebstrap, serves with its own nginx through a published port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.requires("root", "overlay", "net_admin", "nftables", "mmdebstrap")

MINIRUN = str(Path(sys.executable).with_name("minirun"))


def _minirun(*words: str) -> str:
    done = subprocess.run([MINIRUN, *words], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def _fetch(address: str) -> str:
    """Ask until nginx listens; it needs no longer than a few tenths of a second."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 10
    while True:
        try:
            with opener.open(f"http://{address}/", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()


def test_debian_serves_with_its_own_nginx(debian: Path, state_root: Path, data_root: Path) -> None:
    command = ("nginx", "-g", "daemon off;")
    _minirun("run", "-d", "--name", "web", "-p", "127.0.0.1:0:80", str(debian), *command)
    try:
        page = _fetch(_minirun("port", "web", "80"))
        release = _minirun("exec", "web", "cat", "/etc/os-release")
        workers = _minirun("top", "web")
    finally:
        _minirun("rm", "-f", "web")
    assert "Welcome to nginx" in page
    assert "bookworm" in release
    assert "www-data" in workers
    assert not (debian / "run/nginx.pid").exists(), "the container wrote into its image"
