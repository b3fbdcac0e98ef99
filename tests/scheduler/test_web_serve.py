"""The pages of a whole scheduler: real replicas, the real gateway, a browser's way in."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Lab, Load, wait_until
from tests.scheduler.test_gateway_routing import certificate
from tests.scheduler.test_web_dashboard import Door, dashboard
from tests.scheduler.test_web_metrics import Text

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


TLS = serve_lab.free_port()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def lab(tiny: Path, pem: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        keys = ("--tls-cert", str(pem), "--tls-key", str(pem))
        made.start("--listen", f"127.0.0.1:{TLS}", *keys)
        yield made


def now(door: Door) -> dict[str, str]:
    """Return what each curve of the page says it is at."""
    _, _, page = door.ask("GET", "/deployments/web")
    return dict(re.findall(r"<figcaption>([\w ]+)<b>([^<]+)</b>", page))


def test_the_pages_show_what_really_runs(lab: Lab) -> None:
    lab.deploy("web", replicas=2, resources={"limits": {"memory_bytes": 64 << 20}})
    lab.wait_running("web", 2)
    with dashboard(lab.environment["MINISCHED_ADDRESS"]) as door, Load(lab, "web"):
        assert door.open_link() == 200
        wait_until(lambda: now(door)["Requests"] not in ("0/s", "-"), "requests are seen", lab.told)
        wait_until(lambda: "ms" in now(door)["Latency"], "they take time", lab.told)
        assert now(door)["Memory"] != "0 B"
        _, _, page = door.ask("GET", "/deployments/web")
        assert "of 128 MiB" in page
        assert "2</b> of 2 ready" in page
        answer = door.press("predict", method="GET", path="/")
        assert "200 OK" in answer
        assert "well" in answer
    text = Text(lab.client.metrics())
    assert text.samples["minisched_gateway_up", ""] == 1
    assert text.samples["minisched_gateway_requests_total", 'deployment="web",pool="stable"'] > 10
    # While there is load it is the difference of two looks, a moment apart.
    queued = "minisched_gateway_queued", 'deployment="web"'
    wait_until(lambda: Text(lab.client.metrics()).samples[queued] == 0, "none waits", lab.told)


def test_over_tls_a_token_is_asked_for_and_kept_by_the_browser(lab: Lab, pem: Path) -> None:
    context = ssl.create_default_context(cafile=str(pem))
    context.check_hostname = False
    origin = {"Origin": f"https://127.0.0.1:{TLS}"}

    def ask(
        method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str, str]:
        server = http.client.HTTPSConnection("127.0.0.1", TLS, timeout=30, context=context)
        with closing(server) as connection:
            media = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request(method, path, body, {**media, **headers})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Set-Cookie", ""), answer.read().decode()

    assert ask("GET", "/")[0] == 401
    token = lab.client.create_token("reader", "read")["token"]
    status, cookie, _ = ask("POST", "/login", urlencode({"token": token}), **origin)
    assert status == 303
    assert cookie.startswith("__Host-minisched=")
    assert "; Secure" in cookie
    status, _, page = ask("GET", "/", Cookie=cookie.partition(";")[0])
    assert status == 200
    assert "reader" in page
