"""A sample model, packed from this very environment, answers in a container."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_lab import Cli, fresh

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")

IMAGES = Path(__file__).parents[2] / "images"
ASK = """
import json, time, urllib.error, urllib.request as u
body = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]}).encode()
request = u.Request("http://127.0.0.1:8080/predict", body, {"content-type": "application/json"})
while True:
    try:
        answer = u.build_opener(u.ProxyHandler({})).open(request)
    except urllib.error.URLError:
        time.sleep(0.1)  # the port is not open before the model is loaded
    else:
        break
print(json.load(answer)["label"])
"""


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the iris image's sources with its model trained."""
    folder = tmp_path_factory.mktemp("pack") / "iris"
    shutil.copytree(IMAGES / "iris", folder)
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True)
    return folder


def layers(cli: Cli, image: str) -> list[str]:
    found: list[str] = json.loads(cli("image", "inspect", image).out)[0]["RootFS"]["Layers"]
    return found


def pack(cli: Cli, folder: Path, *flags: str) -> str:
    model = ("--model", str(folder / "model/iris.joblib"))
    words = ("pack", str(folder / "serve.py"), *model, "--venv", sys.prefix, *flags)
    return cli(*words).out.strip()


def test_packed_model_answers_and_a_change_ships_kilobytes(cli: Cli, folder: Path) -> None:
    assert pack(cli, folder, "-t", "iris") == "iris:latest"
    first = layers(cli, "iris")
    container = cli("run", "-d", "--network", "none", "--read-only", "iris").out.strip()
    assert cli("exec", container, "python", "-c", ASK).out == "setosa\n"
    assert cli("exec", container, "id", "-u").out == "10001\n"
    config = json.loads(cli("image", "inspect", "iris").out)[0]["Config"]
    assert "8080/tcp" in config["ExposedPorts"]
    assert "/healthz" in config["Healthcheck"]["Test"][-1]
    packages = cli("exec", container, "ls", "/usr/local/lib/python3.11/site-packages", check=False)
    if packages.code == 0:  # the folder has the running Python's version in its name
        assert "sklearn" in packages.out
        assert not {"mypy", "pytest", "ruff"} & set(packages.out.split())
    cli("rm", "-f", container)
    assert pack(cli, folder, "-q") == cli("images", "-q", "--no-trunc", "iris").out.strip()
    with open(folder / "serve.py", "a") as file:
        file.write("\n# a change\n")
    pack(cli, folder, "-t", "iris:2")
    second = layers(cli, "iris:2")
    assert second[:-1] == first[:-1]
    assert second[-1] != first[-1]
    size = json.loads(cli("history", "--format", "json", "iris:2").out.splitlines()[0])["Size"]
    assert size.endswith("KiB")


def test_pack_explains_what_is_missing(cli: Cli, folder: Path, tmp_path: Path) -> None:
    program = str(folder / "serve.py")
    (tmp_path / "odd.py").write_text("import nosuch_module\nif __name__ == '__main__':\n    pass\n")
    assert "no such file" in cli.fails("pack", program, "--model", str(tmp_path / "none"))
    assert "is not a virtual environment" in cli.fails("pack", program, "--venv", str(tmp_path))
    assert "odd.py:1 imports nosuch_module" in cli.fails(
        "pack", str(tmp_path / "odd.py"), "--venv", sys.prefix
    )
    assert "--include" in cli.fails("pack", program, "--include", "/etc", "--venv", sys.prefix)
