"""Compose files in the styles people write them in, beside what docker-compose makes of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from minirun import ScheduleError
from scheduler.compose import Project, parse
from scheduler.compose.document import MOST_NESTED, env_file, interpolate

STACK = """
version: "3.8"
x-common: &common
  image: ${REGISTRY:-registry.test}/app:${TAG:-1.0}
  restart: unless-stopped
  environment: &env {LOG_LEVEL: info, TZ: UTC}
services:
  api:
    <<: *common
    ports: ["8080:8080"]
    environment:
      <<: *env
      ROLE: api
      PRICE: 5$$
    healthcheck:
      test: ["CMD-SHELL", "wget -q http://localhost:8080/ || exit 1"]
      interval: 1m30s
      timeout: 10s
      start_period: 40s
    deploy:
      replicas: 3
      resources:
        limits: {cpus: "0.50", memory: 50M}
        reservations: {cpus: "0.25", memory: 20M}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
      update_config: {parallelism: 2, delay: 10s, order: start-first, failure_action: rollback}
  worker:
    <<: [*common]
    command: worker --queue "a b"
    env_file: [./app.env]
    stop_grace_period: 1m30s
    expose: ["9000/tcp"]
    volumes: [cache:/cache, ./conf:/etc/conf:ro]
volumes:
  cache: {driver: local}
"""
ENV = "A=1\n# a comment\nexport B='two words'\nC=\nHOME\nNOWHERE\n"
VARIABLES = {"HOME": "/home/me", "PATH": "/bin:/usr/bin"}


def services(text: str) -> Project:
    """Read a file of one service, ``web``, whose fields are given."""
    return parse(f"services: {{web: {{image: x, {text}}}}}")


def refusal(text: str) -> ScheduleError:
    """Return how such a file is refused."""
    with pytest.raises(ScheduleError) as caught:
        services(text)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stack.yaml").write_text(STACK)
    (tmp_path / "app.env").write_text(ENV)
    return tmp_path


def test_a_stack_reads_as_docker_compose_reads_it(folder: Path) -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("missing feature: docker-compose")
    done = subprocess.run(
        [compose, "-f", "stack.yaml", "config"],
        capture_output=True, text=True, check=True, cwd=folder, env=VARIABLES,
    )  # fmt: skip
    theirs: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    ours = parse(
        STACK, variables=VARIABLES, folder=str(folder), read=lambda n: (folder / n).read_text()
    )
    for made in ours.deployments:
        said, template = theirs[made.name], made.template
        assert template.image == said["image"]
        env = {name: str(value) for name, value in said["environment"].items() if value is not None}
        assert {k: v.replace("$", "$$") for k, v in template.env.items()} == env
    api, worker = ours.deployments
    assert (api.replicas, api.template.port, api.exposure.published) == (3, 8080, 8080)
    assert (worker.template.port, worker.timeouts.stop_s) == (9000, 90.0)
    assert worker.template.command == ("worker", "--queue", "a b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A:-${B:-c}}", "c"),
        ("${A:-x$$}y", "x$y"),
        ("${SET:-${B:?not asked for}}", "s"),
        ("${A:+${B:?not asked for}}", ""),
        ("${SET+${SET}!}", "s!"),
        ("${A:-{x}}", "{x}"),
    ],
)
def test_interpolate_takes_a_variable_in_anothers_default(text: str, value: str) -> None:
    assert interpolate(text, {"SET": "s"}, "x") == value


@pytest.mark.parametrize("deep", [MOST_NESTED + 2, 50_000])
def test_interpolate_ends_where_defaults_nest_without_end(deep: int) -> None:
    with pytest.raises(ScheduleError, match="not a variable"):
        interpolate("${A:-" * deep + "}" * deep, {}, "x")


def test_interpolate_names_a_required_variable_by_its_own_default() -> None:
    with pytest.raises(ScheduleError, match="variable A is not set: say B"):
        interpolate("${A:?say ${B:-B}}", {}, "x")


def test_env_file_takes_a_name_alone_from_the_variables() -> None:
    found = env_file(ENV, VARIABLES, "x")
    assert found == {"A": "1", "B": "two words", "C": "", "HOME": "/home/me"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ports: ['127.0.0.1:8001:80']", "ports[0]: address 127.0.0.1 is not supported"),
        ("ports: ['[::1]:8001:80']", "ports[0]: address [::1] is not supported"),
        ("ports: ['1:2:3']", "ports[0]: '1:2:3' is not published:target"),
        ("expose: [80, 81]", "services.web.expose: more than one port"),
        ("expose: [80/udp]", "services.web.expose[0]: protocol udp is not supported"),
        ("restart: 'on-failure:x'", "restart: 'on-failure:x' is not a restart policy"),
        ("cpus: 0.0001", "services.web.cpus: 0.0001 is less than a thousandth of a CPU"),
        ("? [a, b] : c", "a key is a text"),
    ],
)
def test_what_is_refused_is_named_as_it_was_written(text: str, message: str) -> None:
    assert message in refusal(text).message


@pytest.mark.parametrize(
    "field", ["build", "container_name", "depends_on", "hostname", "links", "logging", "networks"]
)
def test_what_people_often_write_and_we_do_not_have_is_refused_with_a_way_out(field: str) -> None:
    error = refusal(f"{field}: x")
    assert error.message == f"services.web.{field}: is not supported"
    assert error.hint != "remove it"


def test_a_volume_of_another_driver_is_refused_by_it() -> None:
    with pytest.raises(ScheduleError, match=r"volumes\.data\.driver: 'nfs' is not"):
        parse("services: {web: {image: x}}\nvolumes: {data: {driver: nfs}}")


def test_a_file_that_is_no_mapping_is_refused_as_a_whole() -> None:
    with pytest.raises(ScheduleError, match=r"^the file: expected a mapping"):
        parse("[]")


def test_a_file_of_ten_thousand_lines_is_read() -> None:
    service = "  s{}:\n    image: x\n    expose: [80]\n    environment: {{A: b}}\n"
    text = "services:\n" + "".join(service.format(i) for i in range(2500))
    assert len(parse(text).deployments) == 2500
