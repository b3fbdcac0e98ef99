"""A profile of AppArmor holds from execve on, for the container's program and for an exec."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.oci_lab import Runtime

pytestmark = pytest.mark.requires("root", "busybox", "apparmor")

NAME = f"minirun-test-{os.getpid()}"
PROFILE = f"""
profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  file,
  signal,
  capability,
  deny /etc/passwd r,
}}
"""


@pytest.fixture
def profile() -> Iterator[str]:
    """Load a profile that forbids one file."""

    def load(option: str) -> None:
        argv = ["apparmor_parser", option, "--skip-cache"]
        subprocess.run(argv, input=PROFILE, text=True, check=True)

    load("--replace")
    yield NAME
    load("--remove")


def test_program_is_confined(oci: Runtime, profile: str) -> None:
    script = "cat /proc/self/attr/current; cat /etc/passwd 2>&1; cat /proc/self/comm"
    oci.config(args=["sh", "-c", script], apparmorProfile=profile)
    confined, denied, read = oci.run("run", "web").stdout.splitlines()
    assert confined == f"{profile} (enforce)"
    assert "Permission denied" in denied
    assert read == "cat"


def test_exec_is_confined_too(oci: Runtime, profile: str) -> None:
    oci.config(args=["sleep", "1000"], apparmorProfile=profile)
    oci.create("web")
    oci.quiet("start", "web")
    shown = oci.run("exec", "web", "cat", "/proc/self/attr/current")
    assert shown.stdout == f"{profile} (enforce)\n"
    denied = oci.run("exec", "web", "cat", "/etc/passwd")
    assert (denied.returncode, denied.stdout) == (1, "")


def test_profile_that_is_not_loaded_ends_the_create(oci: Runtime) -> None:
    oci.config(args=["true"], apparmorProfile="minirun-not-loaded")
    refused = oci.run("run", "web")
    assert refused.returncode == 1
    assert "minirun-not-loaded" in refused.stderr
    assert oci.run("list", "--quiet").stdout == ""
