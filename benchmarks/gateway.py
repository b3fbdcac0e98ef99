"""The gateway's price: requests through it, through a Python proxy, and to the replica itself.

The replica is the fastest there is, an HAProxy that answers by itself, so that the proxies' own
cost is seen. All run on the same cores as wrk, which asks: the ratios are those of a full machine.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from scheduler.actions import AddServer
from scheduler.gateway import binary
from scheduler.gateway.haproxy import HaproxyGateway, Listen
from scheduler.observed import Route

from .experiment import Experiment, Row, Target
from .lab import Lab
from .timing import BenchError, run

HOST = "bench.test"
MANY_CLIENTS = 32
SECONDS = 2
PORTS = {"minirun": 18_080, "aiohttp": 18_081, "direct": 18_082}
_REPLICA = """\
global
    nbthread 1
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 1s
frontend replica
    bind unix@{socket} mode 666
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string '{{"ok":true}}'
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def experiments(lab: Lab) -> Iterator[Experiment]:
    """Yield the gateway's experiments; what they need ends after the last."""
    throughput = Row(
        "gateway-request",
        f"gateway: time for a request at full load, {MANY_CLIENTS} clients",
        "us",
        (Target(0.2, "aiohttp"), Target(2.0, "direct")),
    )
    latency = Row(
        "gateway-latency",
        "gateway: added to the median latency of a single client",
        targets=(Target(0.2),),
    )
    with contextlib.ExitStack() as stack:
        names = _serve(lab.folder("gateway"), stack)
        yield Experiment(
            (throughput,), {name: _Loaded(throughput.id, name) for name in names}, share=0.25
        )
        proxies = [name for name in names if name != "direct"]
        yield Experiment((latency,), {name: _Added(latency.id, name) for name in proxies}, 0.25)


class _Loaded:
    """Rounds of full load."""

    def __init__(self, row: str, name: str) -> None:
        self._row, self._name = row, name

    def __call__(self) -> Mapping[str, float]:
        said = _wrk(self._name, MANY_CLIENTS)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if rate is None:
            raise BenchError(f"wrk said {said!r}")
        return {self._row: 1e6 / float(rate[1])}


class _Added:
    """Rounds of one client, less what the replica itself takes a moment later."""

    def __init__(self, row: str, name: str) -> None:
        self._row, self._name = row, name

    def __call__(self) -> Mapping[str, float]:
        return {self._row: _median_ms(self._name) - _median_ms("direct")}


def _median_ms(name: str) -> float:
    said = _wrk(name, 1)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    if median is None:
        raise BenchError(f"wrk said {said!r}")
    return float(median[1]) * _UNITS[median[2]]


def _wrk(name: str, clients: int) -> str:
    """Ask for some seconds; an answer that is not 200 is no answer."""
    if shutil.which("wrk") is None:
        raise BenchError("no wrk in PATH", hint="apt-get install wrk")
    url = f"http://127.0.0.1:{PORTS[name]}/"
    options = ("-t1", f"-c{clients}", f"-d{SECONDS}", "--latency", "-H", f"Host: {HOST}")
    said = run(("wrk", *options, url))
    if "Non-2xx" in said or "Socket errors" in said:
        raise BenchError(f"{name} failed: {said}")
    return said


def _serve(folder: Path, stack: contextlib.ExitStack) -> list[str]:
    """Start the replica and what stands before it; return who is there, ours first."""
    replica = folder / "replica.sock"
    config = folder / "replica.cfg"
    config.write_text(_REPLICA.format(socket=replica, port=PORTS["direct"]))
    _start(stack, str(binary.find().path), "-f", str(config))
    gateway = HaproxyGateway(folder / "gw", Listen(f"127.0.0.1:{PORTS['minirun']}"), slow_start_s=0)
    gateway.start()
    stack.callback(gateway.shutdown)
    gateway.set_route(Route("bench", hosts=(HOST,), queue_limit=1000))
    gateway.add(AddServer("bench.1", "bench", "stable", str(replica), concurrency=64))
    names = list(PORTS)
    try:
        import aiohttp  # noqa: F401  # only whether it is there
    except ImportError:
        names.remove("aiohttp")
    else:
        module = ("-m", "benchmarks.aiohttp_proxy", str(PORTS["aiohttp"]), str(replica))
        _start(stack, sys.executable, *module)
    for name in names:
        _wait_listening(PORTS[name])
    return names


def _start(stack: contextlib.ExitStack, *argv: str) -> None:
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


def _wait_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise BenchError(f"nobody listens at port {port}")
        time.sleep(0.01)
