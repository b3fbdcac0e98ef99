"""The pages as a client of HTTP sees them: who sees what, what a form may do, what is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from werkzeug.test import TestResponse

from scheduler.actions import Event
from scheduler.app import create_app
from scheduler.store import Change, Scope
from tests.scheduler.gateway_lab import Replica
from tests.scheduler.web_lab import HOSTILE, Site, site

HERE = "http://localhost"
_WORD = re.compile(r'name="word" value="(\w+)"')


class Person:
    """Somebody with a browser, logged in with a token of some scope."""

    def __init__(self, place: Site, scope: Scope | None = Scope.DEPLOY) -> None:
        self.client: FlaskClient = place.lab.app.test_client()
        if scope is not None:
            token = place.lab.store.create_token(f"a-{scope}", scope)
            assert self.send("/login", {"token": token, "wanted": "/"}).status_code == 303

    def get(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, path: str, form: dict[str, str], origin: str | None = HERE) -> TestResponse:
        headers = {"Origin": origin} if origin else {}
        return self.client.post(path, data=form, headers=headers)

    def word(self, path: str = "/deployments/web") -> str:
        found = _WORD.search(self.get(path))
        assert found
        return found[1]

    def press(self, action: str, **fields: str) -> TestResponse:
        return self.send(f"/deployments/web/{action}", {"word": self.word(), **fields})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.lab.put(labels={"team": "shop"})
        made.run()
        yield made


@pytest.fixture
def person(place: Site) -> Person:
    return Person(place)


def wanted(place: Site) -> int:
    return place.lab.store.load().entries["web"].deployment.replicas


# ---- who ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/deployments/web", "/deployments/web/events", "/deployments/web/logs"]
)
def test_a_stranger_is_asked_for_a_token_and_sees_nothing(place: Site, path: str) -> None:
    stranger = Person(place, None)
    page = stranger.get(path, 401)
    assert "Token" in page
    assert "team" not in page
    stranger.client.set_cookie("minisched", "mrs_wrong")
    assert "not valid" in stranger.get("/deployments/web", 401)


def test_login_leads_to_where_one_wanted_to_go_and_nowhere_else(place: Site) -> None:
    token = place.lab.token
    for target, leads_to in (("/deployments/web", "/deployments/web"), ("//evil.test", "/")):
        someone = Person(place, None)
        answer = someone.send("/login", {"token": token, "wanted": target})
        assert (answer.status_code, answer.location) == (303, leads_to)
    assert someone.send("/login", {"token": "mrs_wrong"}).status_code == 401
    assert someone.send("/login", {"token": token}, "http://evil.test").status_code == 403


@pytest.mark.parametrize(
    ("scheme", "name"), [("http", "minisched="), ("https", "__Host-minisched=")]
)
def test_the_cookie_is_for_no_script_and_no_other_site(place: Site, scheme: str, name: str) -> None:
    client = place.lab.app.test_client()
    answer = client.post(
        "/login",
        data={"token": place.lab.token},
        base_url=f"{scheme}://localhost",
        headers={"Origin": f"{scheme}://localhost"},
    )
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(name)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert ("Secure" in cookie) == (scheme == "https")
    api = client.get("/v1/deployments", base_url=f"{scheme}://localhost")
    assert api.status_code == 401, "the cookie is no key to the API"


def test_a_removed_token_opens_no_page(place: Site, person: Person) -> None:
    person.get("/")
    place.lab.store.remove_token("a-deploy")
    person.get("/", 401)


def test_whoever_logs_out_is_forgotten(person: Person) -> None:
    assert person.send("/logout", {"word": person.word()}).location == "/login"
    person.get("/", 401)


def test_a_reader_sees_everything_but_buttons(place: Site) -> None:
    reader = Person(place, Scope.READ)
    page = reader.get("/deployments/web")
    assert "web.1" in page
    buttons = set(re.findall(r"<button[^>]*>([^<]+)<", page))
    assert buttons == {"Log out"}
    answer = reader.send("/deployments/web/scale", {"word": reader.word(), "replicas": "5"})
    assert answer.status_code == 403
    assert wanted(place) == 2


# ---- forms --------------------------------------------------------------------------------------


def test_buttons_do_what_they_say(place: Site, person: Person) -> None:
    assert "Resume" not in person.get("/deployments/web")
    for action, fields in (
        ("scale", {"replicas": "5"}),
        ("pause", {}),
        ("resume", {}),
        ("restart", {}),
        ("rollback", {"revision": "1"}),
    ):
        answer = person.press(action, **fields)
        assert (answer.status_code, answer.location) == (303, "/deployments/web"), answer.text
    assert wanted(place) == 5
    events = place.lab.store.events(None, "web")
    done = [event.kind for event in events if event.inputs.get("by") == "a-deploy"]
    assert done == [
        "scale-requested", "paused", "resumed", "restart-requested", "rollback-requested",
    ]  # fmt: skip


@pytest.mark.parametrize("origin", [None, "null", "http://evil.test", "http://localhost:1"])
def test_a_form_from_elsewhere_does_nothing(
    place: Site, person: Person, origin: str | None
) -> None:
    form = {"word": person.word(), "replicas": "5"}
    assert person.send("/deployments/web/scale", form, origin).status_code == 403
    assert wanted(place) == 2


@pytest.mark.parametrize("word", ["", "x", "ä"])
def test_a_form_without_our_word_does_nothing(place: Site, person: Person, word: str) -> None:
    answer = person.send("/deployments/web/scale", {"word": word, "replicas": "5"})
    assert answer.status_code == 403
    other = Person(place, Scope.ADMIN).word()
    assert person.send("/deployments/web/scale", {"word": other}).status_code == 403
    assert wanted(place) == 2


@pytest.mark.parametrize("replicas", ["", "-1", "1e3", "²", "10001", "9" * 40, HOSTILE])
def test_a_number_that_is_none_is_told_on_the_page(person: Person, replicas: str) -> None:
    answer = person.press("scale", replicas=replicas)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert HOSTILE not in answer.text


def test_what_is_refused_is_told_on_the_page(place: Site, person: Person) -> None:
    place.lab.expect("PATCH", "deployments/web", {"autoscale": {"concurrency": 2, "minimum": 1}})
    answer = person.press("scale", replicas="3")
    assert answer.status_code == 409
    assert "web is scaled by its autoscaler" in answer.text
    assert person.send("/deployments/none/scale", {"word": person.word()}).status_code == 404
    assert person.press("explode").status_code == 404
    assert person.client.put("/deployments/web").status_code == 405


# ---- predictions --------------------------------------------------------------------------------


def test_a_prediction_goes_through_the_gateway(person: Person) -> None:
    answer = person.press("predict", method="POST", path="/infer?a=1", body='{"x": "<b>"}')
    assert answer.status_code == 200
    assert "200 OK" in answer.text
    assert "POST web.localhost/infer?a=1 {&#34;x&#34;: &#34;&lt;b&gt;&#34;}" in answer.text


def test_a_gateway_may_be_a_socket(place: Site, person: Person, tmp_path: Path) -> None:
    model = Replica("model", tmp_path / "http.sock")
    hub = place.lab.app.extensions["minisched"]
    hub.control = replace(place.lab.control, gateway=str(model.path))
    assert "model /v2/models" in person.press("predict", method="GET", path="/v2/models").text
    assert model.heard["Host"] == "web.localhost"
    model.stop()


def test_a_model_that_does_not_answer_holds_nobody_up(
    place: Site, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Replica("model", tmp_path / "http.sock")
    hub = place.lab.app.extensions["minisched"]
    hub.control = replace(place.lab.control, gateway=str(model.path))
    monkeypatch.setattr("scheduler.web.predict.TIMEOUT_S", 0.2)
    answer = person.press("predict", method="GET", path="/wait")
    model.stop()
    assert answer.status_code == 504
    assert "no answer within 0.2 seconds" in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/"), ("GET", "http://evil.test/"), ("GET", "/a b"), ("GET", "/\r\nX: y"),
     ("GET", "/ä"), ("GET", "")],
)  # fmt: skip
def test_a_request_that_is_none_is_not_sent(person: Person, method: str, path: str) -> None:
    answer = person.press("predict", method=method, path=path)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


def test_without_a_gateway_a_prediction_is_refused(place: Site, person: Person) -> None:
    hub = place.lab.app.extensions["minisched"]
    for gateway, status in (("", 409), ("127.0.0.1:1", 502), ("/nowhere.sock", 502)):
        hub.control = replace(place.lab.control, gateway=gateway)
        assert person.press("predict", method="GET", path="/").status_code == status


# ---- what comes from outside is text ------------------------------------------------------------


def test_nothing_hostile_becomes_markup(place: Site, person: Person) -> None:
    lab = place.lab
    lab.expect("PATCH", "deployments/web", {"labels": {"x": HOSTILE}})
    lab.store.transact(
        lambda _: Change(events=(Event("web", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),))
    )
    lab.insides.write("web.1", HOSTILE)
    lab.problems = {HOSTILE: HOSTILE}
    for box in lab.runtime.boxes.values():
        box.problem = HOSTILE
    lab.run(0.5)
    pages = [person.get(path) for path in ("/", "/deployments/web", "/deployments/web?live=1")]
    pages.append(person.get(f"/?q={HOSTILE}&state={HOSTILE}"))
    pages.append(person.get(f"/deployments/{HOSTILE}".replace("</", "<"), 404))
    pages.append(person.press("predict", method="GET", path=f"/{HOSTILE}", body=HOSTILE).text)
    for page in pages:
        assert "<script>" not in page
        assert "<img src=x" not in page
    assert pages[1].count(str(escape(HOSTILE))) >= 6
    assert str(escape(HOSTILE)) in pages[0]


def test_every_answer_keeps_strangers_code_out(place: Site, person: Person) -> None:
    paths = ("/", "/deployments/web", "/deployments/none", "/docs", "/login")
    for path in (*paths, "/static/page.css", "/static/nothing.css"):
        answer = person.client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert len(answer.headers.getlist("Content-Security-Policy")) == 1
    for path in paths:
        page = person.client.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script>", page)
        assert not re.findall(r'(?:src|href|action)="(?!/|#)[^"]*"', page), "nothing from elsewhere"


# ---- list, style sheet, script ------------------------------------------------------------------


def test_the_list_has_pages_and_can_be_searched(place: Site, person: Person) -> None:
    for i in range(60):
        place.lab.put(f"a-{i:02}", replicas=0)

    def names(query: str) -> list[str]:
        page = person.get(f"/?{query}")
        assert ('rel="next"' in page) == ("1 of 2" in page)
        return re.findall(r'<th scope="row"><a href="/deployments/([\w-]+)"', page)

    assert names("") == [f"a-{i:02}" for i in range(50)]
    assert names("page=2") == [*(f"a-{i:02}" for i in range(50, 60)), "web"]
    assert names("page=99") == names("page=2")
    assert names("q=07") == ["a-07"]
    assert names("state=idle&page=2") == [f"a-{i:02}" for i in range(50, 60)]
    for page in ("0", "-1", "x", "9" * 30):
        assert names(f"page={page}")
    assert "No deployment is like this" in person.get("/?q=nothing")


def test_what_never_changes_is_kept_by_browsers(place: Site, person: Person) -> None:
    style = re.findall(r'href="(/static/page.css\?v=\w+)"', person.get("/login"))[0]
    assert "immutable" in person.client.get(style).headers["Cache-Control"]
    assert person.client.get("/static/page.css?v=old").headers["Cache-Control"] == "no-cache"
    assert person.client.get("/").headers["Cache-Control"] == "no-store"
    person.get("/static/../layout.py", 404)


def test_an_app_of_its_own_has_pages_too(place: Site) -> None:
    """What if two apps live in one process: neither may have what the other remembers."""
    other = create_app(place.lab.control)
    assert other.extensions["minisched"].history.of("web") == []
    other.extensions["minisched"].close()
