"""What the scheduler has to reach: scaling, healing, waking, updating; beside docker compose.

Each round leaves the deployment as it found it. Next: ``serving.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import control
from .engines import Engine, Engines, own_command
from .experiment import Experiment, Round, Row, Target
from .lab import Lab
from .serving import GATEWAY, IMAGE, SERVER, Load, Serving, build, get, wait_serving
from .timing import BenchError, run

MANY = 30
#: Requests during updates, in a round; five rounds of them make a hundred thousand.
UPDATED_REQUESTS = 20_000


def experiments(lab: Lab, engines: Engines) -> Iterator[Experiment]:
    """Yield the scheduler's experiments; the scheduler ends after the last."""
    sched = Serving(lab)
    try:
        yield _scale(lab, engines, sched)
        yield _replace(sched)
        yield _api_back(sched)
        yield _from_zero(sched)
        yield _updates(sched)
        yield from control.experiments(sched)
    finally:
        sched.stop()


# ── scale ─────────────────────────────────────────────────────────────────────────────────────


def _scale(lab: Lab, engines: Engines, sched: Serving) -> Experiment:
    row = Row(
        f"scale-{MANY}",
        f"from 1 to {MANY} replicas of a small server until each answers; docker-compose: --scale",
        targets=(Target(0.125, "docker"),),
    )
    contenders: dict[str, Round] = {"minirun": lambda: {row.id: _scaled_ms(sched)}}
    if docker := engines.peers.get("docker"):
        contenders["docker"] = _composed(lab, docker, engines.docker_socket, row.id)
    return Experiment((row,), contenders, share=0.25, warmup=1)


def _scaled_ms(sched: Serving) -> float:
    sched.deploy("scale", 1)
    begin = time.perf_counter()
    sched.client.scale("scale", MANY)
    # To ask fifty times a second would be a third of what the scheduler does meanwhile.
    sched.wait_ready("scale", MANY)
    wait_serving(sched.addresses("scale"))
    elapsed_ms = (time.perf_counter() - begin) * 1000
    _remove(sched, "scale")
    return elapsed_ms


def _remove(sched: Serving, name: str) -> None:
    sched.client.delete(name)
    sched.wait(
        lambda: name not in {row["name"] for row in sched.client.deployments()}, f"{name} is gone"
    )


def _composed(lab: Lab, docker: Engine, daemon: Path | None, row: str) -> Round:
    """Return rounds of docker-compose; the first says so where it is not installed."""
    compose: list[_Compose] = []

    def once() -> Mapping[str, float]:
        path = shutil.which("docker-compose")
        if path is None or daemon is None:
            raise BenchError("no docker-compose in PATH", hint="apt-get install docker-compose")
        if not compose:
            compose.append(_Compose(lab, docker, path, daemon))
        return {row: compose[0].scaled_ms()}

    return once


class _Compose:
    """The same with docker-compose, on the lab's own daemon."""

    def __init__(self, lab: Lab, docker: Engine, compose: str, socket: Path) -> None:
        self._docker = docker
        os.environ["COMPOSE_HTTP_TIMEOUT"] = "300"  # a busy machine needs more than 60
        folder = lab.folder("compose")
        root = build(lab)
        run(("sh", "-c", f"tar -C {root} -cf - . | {' '.join(docker.command)} import - {IMAGE}"))
        service = {"image": IMAGE, "command": list(SERVER)}
        file = {"version": "3.8", "services": {"web": service}}
        (folder / "docker-compose.yml").write_text(json.dumps(file))
        self._argv = (compose, "-H", f"unix://{socket}", "-f", str(folder / "docker-compose.yml"))

    def scaled_ms(self) -> float:
        try:
            run((*self._argv, "up", "-d"))
            begin = time.perf_counter()
            run((*self._argv, "up", "-d", "--scale", f"web={MANY}"), timeout_s=300)
            wait_serving(self._addresses())
            return (time.perf_counter() - begin) * 1000
        finally:
            # Not down: on a busy machine docker has not let go of the network yet, and fails.
            run((*self._argv, "kill"), timeout_s=300)
            run((*self._argv, "rm", "--force"), timeout_s=300)

    def _addresses(self) -> list[tuple[str, int]]:
        ids = run((*self._argv, "ps", "-q")).split()
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found = run(self._docker.argv("inspect", "--format", form, *ids)).split()
        if len(found) != MANY:
            raise BenchError(f"docker-compose started {len(found)} of {MANY}")
        return [(address, 8000) for address in found]


# ── healing ───────────────────────────────────────────────────────────────────────────────────


def _replace(sched: Serving) -> Experiment:
    row = Row(
        "replace", "a replica killed by SIGKILL until another answers", targets=(Target(500.0),)
    )

    def once() -> Mapping[str, float]:
        sched.deploy("heal", 1)
        [old] = sched.client.replicas("heal")
        inspect = (own_command("minirun"), "inspect", "--format", "{{.State.Pid}}", old["id"])
        pid = int(run(inspect))
        begin = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        sched.wait(lambda: _is_replaced(sched, old["id"]), "it is replaced", every_s=0.005)
        wait_serving(sched.addresses("heal"))
        elapsed_ms = (time.perf_counter() - begin) * 1000
        _remove(sched, "heal")
        return {row.id: elapsed_ms}

    return Experiment((row,), {"minirun": once}, share=0.5, warmup=1)


def _is_replaced(sched: Serving, old: str) -> bool:
    rows = sched.client.replicas("heal")
    return len(rows) == 1 and rows[0]["id"] != old and bool(rows[0]["ready"])


def _api_back(sched: Serving) -> Experiment:
    rows = (
        Row(
            "api-back",
            "the scheduler killed and started again until its API answers",
            targets=(Target(2000.0),),
        ),
        Row(
            "api-back-failed",
            "requests to a deployment that failed meanwhile",
            unit="requests",
            targets=(Target(0.0, is_worst=True),),
        ),
    )

    def once() -> Mapping[str, float]:
        sched.deploy("stay", 3)
        with Load("stay") as load:
            load.wait_for(100)
            begin = time.perf_counter()
            sched.kill()
            sched.start()
            elapsed_ms = (time.perf_counter() - begin) * 1000
            load.wait_for(load.statuses.total() + 100)
        _remove(sched, "stay")
        return {"api-back": elapsed_ms, "api-back-failed": load.failed}

    return Experiment(rows, {"minirun": once}, share=0.25, warmup=0)


# ── waking, updating ──────────────────────────────────────────────────────────────────────────


def _from_zero(sched: Serving) -> Experiment:
    row = Row(
        "from-zero",
        "a request to a deployment without a replica until its answer",
        targets=(Target(300.0),),
    )
    asleep = {"minimum": 0, "initial": 0, "maximum": 1, "concurrency": 10.0}

    def once() -> Mapping[str, float]:
        spec = {"autoscale": asleep, "exposure": {"hosts": ["zero.localhost"]}}
        sched.client.apply("zero", {"image": IMAGE, "port": 8000, **spec})
        sched.wait(lambda: _is_asleep(sched), "it sleeps")
        begin = time.perf_counter()
        status = get(GATEWAY, "zero.localhost")
        elapsed_ms = (time.perf_counter() - begin) * 1000
        _remove(sched, "zero")
        if status != 200:
            raise BenchError(f"from zero: status {status}")
        return {row.id: elapsed_ms}

    return Experiment((row,), {"minirun": once}, share=0.5, warmup=1)


def _is_asleep(sched: Serving) -> bool:
    """Say whether the gateway knows the deployment, which has no replica."""
    is_idle = sched.client.deployment("zero")["status"]["state"] == "idle"
    return is_idle and 'minisched_gateway_held{deployment="zero"} 0' in sched.client.metrics()


def _updates(sched: Serving) -> Experiment:
    row = Row(
        "updates-failed",
        f"requests that fail during rolling updates, of {UPDATED_REQUESTS:,} in a round",
        unit="requests",
        targets=(Target(0.0, is_worst=True),),
    )

    def once() -> Mapping[str, float]:
        sched.deploy("roll", 3, update={"min_ready_s": 0.0})
        number = 0
        with Load("roll") as load:
            while load.statuses.total() < UPDATED_REQUESTS:
                number += 1
                sched.deploy("roll", 3, update={"min_ready_s": 0.0}, environment={"N": str(number)})
                sched.wait_only("roll", 3)
        _remove(sched, "roll")
        return {row.id: load.failed}

    return Experiment((row,), {"minirun": once}, share=0.25, warmup=0)
