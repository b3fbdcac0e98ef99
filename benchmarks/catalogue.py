"""Every experiment there is, with what it has to reach.

A contender does one round and returns a value for each of its experiment's rows. What a round has
to prepare or clear away lies outside its clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from . import building, gateway, images, memory, scheduler
from .engines import Engine, Engines
from .experiment import Experiment, Round, Row, Target
from .lab import Lab
from .runtimes import Runtime
from .timing import Argv, in_turn_ms, time_ms, together_ms
from .warm import DockerApi, Launcher

SEQUENTIAL, CONCURRENT, GROWN = 100, 20, 200
_EXECS, _PER_SECOND = 30, 10


def catalogue(lab: Lab, engines: Engines, runtimes: Mapping[str, Runtime]) -> Iterator[Experiment]:
    """Yield the experiments in the order of the table."""
    yield from _cold_starts(engines)
    for network, limit in (("none", 15.0), ("bridge", 30.0)):
        yield _warm_start(lab, engines, network, limit)
    yield from _low_level(runtimes)
    yield from _under_docker(engines)
    yield _exec(engines)
    yield from _many(engines)
    yield _memory(engines)
    yield _growth(engines.minirun)
    yield from building.experiments(lab, engines)
    yield from images.experiments(lab, engines)
    yield from gateway.experiments(lab)
    yield from scheduler.experiments(lab, engines)


# ── starts ────────────────────────────────────────────────────────────────────────────────────


def _timed(row: str, argv: Argv) -> Round:
    """Return a round that times one command."""
    return lambda: {row: time_ms(argv)}


def _cold_starts(engines: Engines) -> Iterator[Experiment]:
    targets = {
        "none": (Target(0.45, "docker"), Target(0.25, "docker", is_moonshot=True)),
        "bridge": (Target(0.6, "docker"),),
    }
    for network, reach in targets.items():
        row = f"start-{network}"
        what = f"run --rm --network {network} ROOTFS true: cold command, overlay"
        contenders = {
            name: _timed(row, engine.run_argv("--network", network))
            for name, engine in engines.all().items()
        }
        yield Experiment((Row(row, what, targets=reach),), contenders)


def _warm_start(lab: Lab, engines: Engines, network: str, limit: float) -> Experiment:
    rows = (
        Row(
            f"launcher-{network}",
            f"warm launcher, --network {network}: request to exec, by the record; docker: its API",
            targets=(Target(limit),),
        ),
        Row(f"launcher-told-{network}", "the same until the client is told that it runs"),
        Row(
            f"launcher-create-{network}",
            "the same with making the container: create and start",
        ),
    )
    contenders: dict[str, Round] = {"minirun": Launcher(lab, network).round}
    if engines.docker_socket is not None:
        contenders["docker"] = DockerApi(engines.docker_socket, network).round
    return Experiment(rows, contenders)


# ── the low-level runtime ─────────────────────────────────────────────────────────────────────


def _low_level(runtimes: Mapping[str, Runtime]) -> Iterator[Experiment]:
    reach = (Target(2.0, "runc"), Target(1.3, "runc", is_moonshot=True))
    row = Row("oci-run", "minirun-oci run of true, one bundle for all", targets=reach)
    yield Experiment((row,), {name: _oci_run(runtime) for name, runtime in runtimes.items()})
    limited = ("state", "start", "kill", "delete")
    rows = (
        Row("oci-create", "the verb create"),
        *(Row(f"oci-{verb}", f"the verb {verb}", targets=(Target(40.0),)) for verb in limited),
    )
    yield Experiment(rows, {name: runtime.life_ms for name, runtime in runtimes.items()})
    yield from _oci_exec(runtimes)


def _oci_run(runtime: Runtime) -> Round:
    return lambda: {"oci-run": runtime.run_ms()}


def _oci_exec(runtimes: Mapping[str, Runtime]) -> Iterator[Experiment]:
    """Yield the verb exec by itself, and at a steady rate, as health checks call it."""
    held = {name: _Stays(runtime) for name, runtime in runtimes.items()}
    row = Row("oci-exec", "the verb exec: true in a container that runs")
    yield Experiment((row,), {name: one.alone for name, one in held.items()})
    row = _load_row("oci-exec-load", "the verb exec")
    yield Experiment(
        (row,), {name: one.under_load for name, one in held.items()}, share=0.15, warmup=1
    )


def _load_row(row: str, what: str) -> Row:
    words = f"{what} at {_PER_SECOND} per second: the slowest of {_EXECS} / an idle one"
    return Row(row, words, unit="x", targets=(Target(3.0),))


class _Stays:
    """Rounds inside a container of a low-level runtime, which is started with the first one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._container = ""

    def alone(self) -> Mapping[str, float]:
        """Time one exec."""
        return {"oci-exec": time_ms(self._argv())}

    def under_load(self) -> Mapping[str, float]:
        """Compare the slowest of many with an idle one."""
        return _slowest_of_many("oci-exec-load", self._argv())

    def _argv(self) -> Argv:
        if not self._container:
            self._container = self._runtime.stay()
        return self._runtime.argv("exec", self._container, "true")


def _under_docker(engines: Engines) -> Iterator[Experiment]:
    """Yield docker with minirun-oci against docker with runc, both through the same daemon."""
    docker = engines.peers.get("docker")
    if docker is None:
        return
    ours = ("--network", "none", "--runtime", "minirun")
    theirs = ("--network", "none")
    names = {"docker + minirun": ours, "docker": theirs}
    row = Row(
        "docker-run", "docker run --rm --network none true", targets=(Target(1.25, "docker"),)
    )
    yield Experiment(
        (row,), {name: _timed(row.id, docker.run_argv(*how)) for name, how in names.items()}
    )
    row = Row("docker-run-20", f"{CONCURRENT} of them at once", targets=(Target(1.5, "docker"),))
    contenders = {
        name: _at_once(row.id, docker.run_argv(*how), CONCURRENT) for name, how in names.items()
    }
    yield Experiment((row,), contenders, share=0.25, warmup=1)
    yield _exec_under_load(docker, names)


def _at_once(row: str, argv: Argv, times: int) -> Round:
    return lambda: {row: together_ms([argv] * times)}


# ── exec ──────────────────────────────────────────────────────────────────────────────────────


def _exec(engines: Engines) -> Experiment:
    row = Row("exec", "exec CONTAINER true")
    contenders = {
        name: _Held(engine, ("--network", "none"), _timed_exec)
        for name, engine in engines.all().items()
    }
    return Experiment((row,), contenders)


def _timed_exec(engine: Engine, container: str) -> Mapping[str, float]:
    return {"exec": time_ms(engine.argv("exec", container, "true"))}


class _Held:
    """A round inside a container that is started with the first one, and ends with the lab.

    Args:
        engine: whose.
        options: of its ``run``.
        act: what a round does with it.
    """

    def __init__(
        self,
        engine: Engine,
        options: tuple[str, ...],
        act: Callable[[Engine, str], Mapping[str, float]],
    ) -> None:
        self._engine, self._options, self._act = engine, options, act
        self._container = ""

    def __call__(self) -> Mapping[str, float]:
        if not self._container:
            self._container = self._engine.idle(*self._options)
        return self._act(self._engine, self._container)


def _exec_under_load(docker: Engine, names: Mapping[str, tuple[str, ...]]) -> Experiment:
    row = _load_row("docker-exec-load", "docker exec")

    def load(engine: Engine, container: str) -> Mapping[str, float]:
        return _slowest_of_many(row.id, engine.argv("exec", container, "true"))

    contenders = {name: _Held(docker, how, load) for name, how in names.items()}
    return Experiment((row,), contenders, share=0.15, warmup=1)


def _slowest_of_many(row: str, argv: Argv) -> Mapping[str, float]:
    """Return the slowest exec under load as a multiple of the median idle one."""
    idle = sorted(time_ms(argv) for _ in range(5))[2]
    with ThreadPoolExecutor(_EXECS) as pool:
        waiting = []
        for _ in range(_EXECS):
            waiting.append(pool.submit(time_ms, argv))
            time.sleep(1 / _PER_SECOND)
        slowest = max(one.result() for one in waiting)
    return {row: slowest / idle}


# ── many ──────────────────────────────────────────────────────────────────────────────────────


def _many(engines: Engines) -> Iterator[Experiment]:
    row = f"sequential-{SEQUENTIAL}"
    what = f"{SEQUENTIAL} cold starts of true, one after the other, --network none"
    contenders: dict[str, Round] = {
        name: _one_by_one(row, engine.run_argv("--network", "none"))
        for name, engine in engines.all().items()
    }
    yield Experiment((Row(row, what),), contenders, share=0.1, warmup=0)
    row = f"concurrent-{CONCURRENT}"
    what = f"{CONCURRENT} cold starts of true at once, --network none"
    contenders = {
        name: _at_once(row, engine.run_argv("--network", "none"), CONCURRENT)
        for name, engine in engines.all().items()
    }
    yield Experiment((Row(row, what),), contenders, share=0.25, warmup=1)


def _one_by_one(row: str, argv: Argv) -> Round:
    return lambda: {row: in_turn_ms(argv, SEQUENTIAL)}


def _growth(engine: Engine) -> Experiment:
    row = Row(
        f"growth-{GROWN}",
        f"start of the last ten of {GROWN} idle containers / of the first ten",
        unit="x",
        targets=(Target(1.25),),
    )
    return Experiment((row,), {"minirun": lambda: _grow(engine, row.id)}, share=0.05, warmup=0)


def _grow(engine: Engine, row: str) -> Mapping[str, float]:
    """Start many containers that stay; compare what the last and the first ones took."""
    begin = [time.perf_counter()]
    started = []
    for _ in range(GROWN):
        started.append(engine.idle("--network", "none"))
        begin.append(time.perf_counter())
    spent = [after - before for before, after in pairwise(begin)]
    engine.remove(*started)
    return {row: sum(spent[-10:]) / sum(spent[:10])}


# ── memory ────────────────────────────────────────────────────────────────────────────────────

#: A shim that nobody watches becomes small a second after the start; docker's collects garbage.
_SETTLED_AFTER_S = 3.0


def _memory(engines: Engines) -> Experiment:
    rows = (
        Row(
            "memory-private",
            "an idle detached container's shim and its helpers: private memory",
            "MB",
            (Target(4.0),),
        ),
        Row("memory-pss", "the same, with a share of what several use", "MB"),
    )
    contenders: dict[str, Round] = {
        name: _weighed(engine) for name, engine in engines.all().items()
    }
    return Experiment(rows, contenders, share=0.25, warmup=0)


def _weighed(engine: Engine) -> Round:
    def weigh() -> Mapping[str, float]:
        container = engine.idle("--network", "none")
        time.sleep(_SETTLED_AFTER_S)
        found = memory.cost_mb(engine.pid(container))
        engine.remove(container)
        return found

    return weigh
