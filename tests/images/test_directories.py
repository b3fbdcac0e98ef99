"""Every image directory keeps the same promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest

from tests.images.conftest import IMAGES, MODELS

SHARED = ("serve.py", "tensors.py", "gunicorn.conf.py", "requirements.txt")


@pytest.fixture(params=MODELS)
def instructions(request: pytest.FixtureRequest) -> list[dockerfile.Command]:
    """Return the Dockerfile's instructions, read by BuildKit's own parser."""
    return list(dockerfile.parse_file(str(IMAGES / request.param / "Dockerfile")))


def values(instructions: list[dockerfile.Command], name: str) -> list[tuple[str, ...]]:
    """Return the values of every instruction of that name."""
    return [found.value for found in instructions if found.cmd.upper() == name]


@pytest.mark.parametrize("name", SHARED)
def test_shared_file_is_the_same_in_every_image(name: str) -> None:
    copies = {(IMAGES / model / name).read_bytes() for model in MODELS}

    assert len(copies) == 1, f"{name} differs: change it everywhere, images are self-contained"


def test_requirements_are_all_pinned() -> None:
    lines = (IMAGES / "iris" / "requirements.txt").read_text().splitlines()

    loose = [line for line in lines if not re.fullmatch(r"#.*|[a-z0-9-]+==[0-9.]+", line)]

    assert loose == []


def test_dockerfile_builds_on_the_captured_python(
    instructions: list[dockerfile.Command],
) -> None:
    assert values(instructions, "FROM") == [("minirun/python:${PYTHON_VERSION}",)]
    assert instructions[0].original == "ARG PYTHON_VERSION=3.11"


def test_dockerfile_runs_as_a_numeric_user_on_8080(
    instructions: list[dockerfile.Command],
) -> None:
    assert values(instructions, "USER") == [("10001:10001",)]
    assert values(instructions, "EXPOSE") == [("8080",)]
    assert values(instructions, "STOPSIGNAL") == [("SIGTERM",)]


def test_dockerfile_command_is_in_exec_form(instructions: list[dockerfile.Command]) -> None:
    [command] = [found for found in instructions if found.cmd.upper() == "CMD"]

    assert command.json
    assert command.value == ("gunicorn", "serve:app")


def test_dockerfile_installs_before_it_copies_code(
    instructions: list[dockerfile.Command],
) -> None:
    originals = [found.original for found in instructions]
    install = next(i for i, text in enumerate(originals) if "pip install" in text)
    training = next(i for i, text in enumerate(originals) if "python train.py" in text)
    code = next(i for i, text in enumerate(originals) if "serve.py" in text)

    assert install < training < code


@pytest.mark.parametrize("model", MODELS)
def test_dockerfile_copies_only_what_exists(model: str) -> None:
    parsed = dockerfile.parse_file(str(IMAGES / model / "Dockerfile"))

    sources = [name for value in values(list(parsed), "COPY") for name in value[:-1]]

    assert [name for name in sources if not (IMAGES / model / name).is_file()] == []


def test_training_below_the_threshold_fails_the_build(
    image_python: Path, trained: dict[str, Path], tmp_path: Path
) -> None:
    """What if the model is bad: the build must stop, and leave no model behind."""
    script = (trained["iris"] / "train.py").read_text()
    (tmp_path / "train.py").write_text(script.replace("MIN_ACCURACY = 0.90", "MIN_ACCURACY = 1.1"))

    result = subprocess.run(
        [image_python, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert result.returncode == 1
    assert "is below 1.1" in result.stderr
    assert not (tmp_path / "model").exists()


def test_examples_in_docstrings_are_true(image_python: Path, trained: dict[str, Path]) -> None:
    subprocess.run([image_python, "-m", "doctest", "tensors.py"], cwd=trained["iris"], check=True)


@pytest.mark.requires("mypy")
@pytest.mark.parametrize("model", MODELS)
def test_code_is_typed(image_python: Path, model: str) -> None:
    """Each directory is a program of its own: three modules named `model` need three checks."""
    settings = f"--config-file={IMAGES.parent / 'pyproject.toml'}"
    packages = f"--python-executable={image_python}"
    check = [sys.executable, "-m", "mypy", settings, packages, "."]

    result = subprocess.run(check, cwd=IMAGES / model, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout
