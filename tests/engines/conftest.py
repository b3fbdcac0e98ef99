"""One private engine of each kind for the whole run, and an image in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.lab import MANAGER, MINIRUN, Engine, make_image, parent, scratch


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def docker(image: Path) -> Iterator[Engine]:
    """Return a dockerd whose default is minirun; its bridge is in a network of its own."""
    with scratch("docker") as folder:
        config = folder / "daemon.json"
        runtimes = {"minirun": {"path": str(MINIRUN)}}
        settings = {"runtimes": runtimes, "default-runtime": "minirun"}
        config.write_text(json.dumps({**settings, "experimental": True}))  # for its checkpoints
        socket = f"unix://{folder}/d"
        engine = Engine(
            folder,
            ["docker", "--host", socket],
            {"DOCKER_CONFIG": str(folder), "DOCKER_BUILDKIT": "0"},
            [
                "unshare", "--net",
                "dockerd", "--config-file", config, "--data-root", folder / "data",
                "--exec-root", folder / "x", "--pidfile", folder / "pid", "--host", socket,
                "--iptables=false", "--ip6tables=false", "--ip-forward=false",
                "--storage-driver=vfs", f"--cgroup-parent={parent('docker')}",
                f"--exec-opt=native.cgroupdriver={MANAGER}",
            ],
        )  # fmt: skip
        try:
            engine.wait_for_daemon("version")
            engine.out("import", str(image), "bb")
            # This makes the parent groups; on a hybrid host runc makes one more than we do.
            engine.out("run", "--rm", "--runtime=runc", "--network=none", "bb", "true")
            yield engine
        finally:
            engine.close()


@pytest.fixture(scope="session")
def podman(image: Path) -> Iterator[Engine]:
    """Return a podman whose every path is private; the runtime is chosen per command."""
    with scratch("podman") as folder:
        (folder / "containers.conf").write_text(f"""
[containers]
netns = "none"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "{MANAGER}"
events_logger = "file"
runtime_supports_json = ["runc", "minirun-oci"]
runtime_supports_nocgroup = ["crun", "minirun-oci"]
tmp_dir = "{folder}/tmp"
stop_timeout = 2
[network]
network_config_dir = "{folder}/net"
""")
        (folder / "storage.conf").write_text(f"""
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
""")
        env = {
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        }
        engine = Engine(folder, ["podman"], env)
        try:
            engine.out("import", str(image), "bb")
            group = f"--cgroup-parent={parent('podman')}"
            engine.out("--runtime=runc", "run", "--rm", group, "bb", "true")
            yield engine
        finally:
            engine.run("rm", "--all", "--force", "--time=0")
            engine.close()


@pytest.fixture(scope="session")
def containerd(docker: Engine) -> Iterator[Engine]:
    """Return a containerd, by way of ctr; the image comes from docker, in the format it reads."""
    with scratch("ctr") as folder:
        (folder / "config.toml").write_text(f"""
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/c"
[ttrpc]
address = "{folder}/t"
""")
        engine = Engine(
            folder,
            ["ctr", "--address", folder / "c", "--namespace", "minirun"],
            daemon=["containerd", "--config", folder / "config.toml"],
        )
        try:
            engine.wait_for_daemon("version")
            archive = folder / "bb.tar"
            docker.out("save", "--output", str(archive), "bb")
            engine.run("images", "import", "--snapshotter=native", str(archive))
            yield engine
        finally:
            engine.close()


@pytest.fixture(params=["runc", "minirun"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Say which runtime is below; runc proves that the test is right, minirun that we are."""
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def _executable() -> None:
    """A checkout on a file system without modes cannot be an engine's runtime."""
    subprocess.run([MINIRUN, "--version"], check=True, capture_output=True)
