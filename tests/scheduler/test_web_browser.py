"""The pages in a real browser: buttons, what comes by itself, hostile text that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.actions import Event
from scheduler.store import Change
from tests.scheduler.chromium import Page, chromium
from tests.scheduler.web_lab import HOSTILE, Site, site

pytestmark = pytest.mark.requires("chromium")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        made.lab.put(labels={"team": HOSTILE})
        made.lab.put("other", replicas=1)
        made.run()
        yield made


@pytest.fixture(scope="module")
def browser(place: Site) -> Iterator[Page]:
    """Return a browser that is logged in."""
    with chromium() as page:
        page.open(f"{place.address}/login")
        page.type("#token", place.lab.token)
        page.click(".login button")
        yield page


@pytest.fixture
def page(place: Site, browser: Page) -> Iterator[Page]:
    """Return a page of a deployment, that is checked for what no page may do."""
    browser.open(f"{place.address}/deployments/web")
    yield browser
    elsewhere = [url for url in browser.requests if not url.startswith(f"{place.address}/")]
    assert set(elsewhere) <= {"about:blank"}, "nothing leaves the host"
    assert browser.complaints == []
    assert browser.run("document.querySelectorAll('main script, img[src=x]').length") == 0
    assert "owned" not in browser.run("document.title")


def test_the_list_leads_to_a_deployment(place: Site, page: Page) -> None:
    page.open(f"{place.address}/")
    assert page.run("document.querySelectorAll('.list tbody tr').length") == 2
    page.click(".list a[href='/deployments/web']")
    assert page.text("h1") == "web"
    assert "2 of 2 ready" in page.text("#state")
    assert page.run("document.querySelectorAll('#charts svg path.line').length") >= 3


def test_a_click_on_scale_changes_the_deployment(place: Site, page: Page) -> None:
    page.type("#replicas", "3")
    page.click(".scale button")
    assert place.lab.store.load().entries["web"].deployment.replicas == 3
    place.run()
    page.wait("document.querySelector('#state').innerText.includes('3 of 3 ready')")
    page.wait("document.querySelector('#replica-list').innerText.includes('web.3')")
    page.wait("document.querySelector('#events').innerText.includes('2 to 3 replicas')")


def test_what_happens_appears_by_itself_as_text(place: Site, page: Page) -> None:
    told = (Event("web", "told", HOSTILE, {"by": HOSTILE, "ratio": 0.1234567891}),)
    place.lab.store.transact(lambda _: Change(events=told))
    page.wait("document.querySelector('#events li.new .message')?.textContent.includes('<script>')")
    assert page.text("#events li .inputs").startswith("by=<script>")
    assert page.text("#events li .inputs").endswith("ratio=0.123457")
    place.lab.insides.write("web.1", f"\x1b[31m{HOSTILE}\x1b[0m", place.lab.unix_s)
    page.wait("document.querySelector('#logs li:last-child')?.innerText.includes('<script>')")
    assert page.text("#logs li:last-child .message") == HOSTILE
    assert page.text("#logs li:last-child .whose") == "web.1"


def test_a_field_that_is_being_filled_in_is_left_alone(place: Site, page: Page) -> None:
    page.type("#replicas", "7")
    page.run("document.activeElement.blur()")
    place.lab.expect("PATCH", "deployments/web", {"labels": {"fresh": "yes"}, "paused": True})
    page.wait("document.querySelector('#facts').innerText.includes('fresh=yes')")
    assert page.run("document.querySelector('#replicas').value") == "7"
    assert "Resume" not in page.text("#actions")
    page.run("document.querySelector('#replicas').value = 3")
    page.wait("document.querySelector('#actions').innerText.includes('Resume')")
    place.lab.expect("POST", "deployments/web/resume")


def test_a_prediction_is_sent_and_its_answer_shown(page: Page) -> None:
    page.run("document.querySelector('#method').value = 'POST'")
    page.type("#path", "/infer")
    page.type("#body", HOSTILE)
    page.click(".predict button")
    assert page.text(".answer .status") == "200 OK"
    assert page.text(".answer pre") == f"POST web.localhost/infer {HOSTILE}"
    assert page.run("document.querySelector('#body').value") == HOSTILE


def test_the_keyboard_reaches_every_control(page: Page) -> None:
    seen = set()
    for _ in range(40):
        page.ask("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        page.ask("Input.dispatchKeyEvent", type="keyUp", key="Tab", windowsVirtualKeyCode=9)
        seen.add(page.run("document.activeElement.id || document.activeElement.innerText"))
    assert {
        "Scale",
        "Restart",
        "Pause",
        "replicas",
        "path",
        "body",
        "Send",
        "events",
        "logs",
    } <= seen
    unnamed = """[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
        .filter((field) => !field.labels.length).length"""
    assert page.run(unnamed) == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", ["/", "/deployments/web", "/docs", "/login"])
def test_text_can_be_read_in_both_schemes(
    place: Site, page: Page, path: str, dark: bool, tmp_path: Path
) -> None:
    page.open(place.address + path)
    page.picture(tmp_path / "page.png", dark=dark)
    assert page.run(_PALE) == []


def test_a_page_without_a_script_says_the_same(place: Site, page: Page) -> None:
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.ask("Page.navigate", url=f"{place.address}/deployments/other")
        page.wait("document.querySelector('h1')?.innerText === 'other'")
        for part in ("1 of 1 ready", "other.1", "created", "Roll", "Restart"):
            assert (part in page.text("main")) == (part != "Roll")
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)


#: Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).
_PALE = r"""(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const luminance = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => linear(part / 255));
    return .2126 * r + .7152 * g + .0722 * b + .05;
  };
  const behind = (element) => element
    ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const pale = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = texts.nextNode();) {
    const element = node.parentElement, text = node.data.trim();
    if (!text || !element.checkVisibility() || element.closest('svg, meter, option')) continue;
    const ground = behind(element), a = luminance(ground);
    const b = luminance([...ground, getComputedStyle(element).color]);
    const ratio = Math.max(a, b) / Math.min(a, b);
    if (ratio < 4.5) pale.add(`${element.className} ${ratio.toFixed(2)} ${text.slice(0, 30)}`);
  }
  return [...pale];
})()"""
