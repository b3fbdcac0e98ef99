"""What ``apply`` reads on this machine before it asks anybody: files, variables, secrets."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from minirun import MinirunError
from scheduler.cli.compose_file import read

EXAMPLE = Path(__file__).parents[2] / "examples/digits/compose.yaml"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_the_example_is_a_file_that_docker_compose_accepts() -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("missing feature: docker-compose")
    done = subprocess.run(
        [compose, "-f", EXAMPLE, "config", "-q"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(read((str(EXAMPLE),)).specs) == ["digits"]


def test_read_takes_the_file_of_the_folder_and_its_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("compose.yaml", "services: {web: {image: '${IMAGE}', environment: [A, 'B=${B}']}}")
    write(".env", "IMAGE=from-file\nB=from-file\n")
    monkeypatch.setenv("B", "from-environment")
    monkeypatch.setenv("A", "a")
    web = read(()).specs["web"]
    assert (web["image"], web["environment"]) == ("from-file", {"A": "a", "B": "from-environment"})


def test_read_takes_paths_from_the_files_own_folder(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep/key").write_bytes(b"\xff\x00secret\n")
    (folder / "deep/env").write_text("A=1\n")
    text = """
    services:
      web: {image: x, env_file: env, secrets: [key, own], volumes: [./data:/data]}
    secrets: {key: {file: ./key}, own: {external: true}}
    """
    wanted = read((write("deep/c.yaml", text),))
    web = wanted.specs["web"]
    assert web["environment"] == {"A": "1"}
    assert web["volumes"][0]["source"] == f"{folder}/deep/data"
    assert wanted.secrets == {"key": b"\xff\x00secret\n"}, "an external one is there already"


def test_read_takes_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("services: {web: {image: x}}"))
    assert list(read(("-",)).specs) == ["web"]


def test_read_says_only_what_is_asked_for() -> None:
    """What is left out is the scheduler's to fill in: a later default then holds for it too."""
    spec = read((write("c.yaml", "services: {web: {image: x}}"),)).specs["web"]
    assert spec["image"] == "x"
    assert "timeouts" not in spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {web: {image: x, build: .}}", "c.yaml: services.web.build"),
        ("services: {web: {image: x}, web: {image: y}}", "given twice"),
        ("a: [", "c.yaml: not YAML"),
        ("services: {web: {image: x, env_file: none}}", "'none' cannot be read"),
        (
            "services: {web: {image: x}}\nsecrets: {k: {environment: NOT_SET_AT_ALL}}",
            "secrets.k: variable NOT_SET_AT_ALL is not set",
        ),
        ("services: {Web!: {image: x}}", "name: is not lowercase"),
        ("services: {web: {image: '${NEEDED:?is what runs}'}}", "NEEDED is not set: is what runs"),
    ],
)
def test_read_names_the_file_and_the_field(text: str, said: str) -> None:
    with pytest.raises(MinirunError) as caught:
        read((write("c.yaml", text),))
    assert said in caught.value.message


def test_read_without_a_file_says_what_it_looks_for() -> None:
    with pytest.raises(MinirunError, match="no Compose file") as caught:
        read(())
    assert "docker-compose.yml" in caught.value.hint


def test_read_of_two_files_refuses_a_name_in_both() -> None:
    one = write("one.yaml", "services: {web: {image: x}}")
    two = write("two.yaml", "services: {web: {image: y}}")
    with pytest.raises(MinirunError, match=r"two\.yaml: 'web' is in another file too"):
        read((one, two))


def test_example_asks_for_three_replicas_behind_one_address() -> None:
    digits = read((str(EXAMPLE),)).specs["digits"]
    assert (digits["image"], digits["port"]) == ("digits", 8080)
    assert digits["exposure"] == {"published": 8000}
    auto = digits["autoscale"]
    assert (auto.get("minimum", 0), auto["initial"], auto["maximum"]) == (0, 3, 6)
