""" "Check it": the page evaluator behind the playground, over HTTP and in the browser."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from telechat.serve import page_check
from telechat.web.browser import available

from .conftest import until
from .test_playground import answered, ask

GOOD = "<!doctype html><h1>Page</h1><button onclick=\"this.textContent = 'on'\">Switch</button>"
DEAD = "<!doctype html><h1>Page</h1><button>Switch</button>"
ANSWER = f"</think>```html\n{DEAD}\n```\n<_end>"

with_browser = pytest.mark.skipif(not available(), reason="no browser to check pages with")


@pytest.fixture
def evaluator(monkeypatch, tmp_path):
    """`evaluator(code)` puts a program of a few lines in the place of the page evaluator."""
    monkeypatch.setattr(page_check, "available", lambda: True)

    def put(code: str) -> Path:
        (tmp_path / "evaluator.py").write_text(f"import os, sys, time\nfolder = {str(tmp_path)!r}\n{code}")
        monkeypatch.setattr(page_check, "_COMMAND", [sys.executable, str(tmp_path / "evaluator.py")])
        return tmp_path

    return put


def check(url: str, html: object = GOOD, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/playground/check", json={"html": html}, headers=headers, timeout=60)


@with_browser
def test_the_verdict_comes_as_the_command_gives_it(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    answer = check(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    verdict = answer.json()
    assert (verdict["passed"], verdict["score"]) == (True, 1.0)
    assert {rule["rule"] for rule in verdict["rules"]} >= {"loads", "shows", "answers", "no_errors"}
    assert check(url, DEAD).json()["passed"] is False
    refused = check(url, "no page at all")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "html")
    assert "no HTML document" in refused.json()["error"]["message"]


def test_it_needs_the_key(scripted, evaluator):
    evaluator("print('{}')")
    url, _, _ = scripted("</think>ok<_end>", api_keys=("secret",))
    assert check(url).status_code == 401
    assert check(url, authorization="Bearer secret").json() == {}


@pytest.mark.parametrize("html", ["", 7, None, "x" * (page_check.MAX_PAGE + 1)])
def test_a_wrong_body_is_refused(scripted, evaluator, html):
    evaluator("print('{}')")
    url, _, _ = scripted("</think>ok<_end>")
    answer = check(url, html)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "html"


def test_pages_are_checked_one_at_a_time_and_given_up_when_nobody_waits(scripted, evaluator):
    folder = evaluator("open(folder + '/pid', 'w').write(str(os.getpid())); sys.stdin.read(); time.sleep(60)")
    url, _, _ = scripted("</think>ok<_end>")

    def leave() -> None:
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}/playground/check", json={"html": GOOD}, timeout=3)

    first = threading.Thread(target=leave)
    first.start()
    until(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "")
    busy = check(url)
    assert (busy.status_code, busy.json()["error"]["code"], busy.headers["retry-after"]) == (429, "busy", "10")
    first.join()
    pid = int((folder / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_one_that_takes_too_long_or_fails_is_said(scripted, evaluator, monkeypatch):
    monkeypatch.setattr(page_check, "SECONDS", 1.0)
    evaluator("time.sleep(60)")
    url, _, _ = scripted("</think>ok<_end>")
    begun = time.monotonic()
    assert check(url).status_code == 504
    assert time.monotonic() - begun < 10
    evaluator("print('where it broke', file=sys.stderr); sys.exit(1)")
    failed = check(url)
    assert failed.status_code == 500
    assert "where it broke" not in failed.text


def test_the_evaluator_knows_no_secrets_of_the_server(scripted, evaluator, monkeypatch):
    monkeypatch.setenv("TELECHAT_API_KEY", "secret")
    evaluator("import json; print(json.dumps(sorted(os.environ)))")
    url, _, _ = scripted("</think>ok<_end>")
    assert "TELECHAT_API_KEY" in os.environ
    assert not [name for name in check(url).json() if "KEY" in name]


def test_without_the_evaluator_there_is_neither_route_nor_button(scripted, visit, monkeypatch):
    monkeypatch.setattr(page_check, "available", lambda: False)
    url, _, _ = scripted(ANSWER)
    assert check(url).status_code in (404, 405)
    assert "false" in httpx.get(f"{url}/static/server.js").text
    page = visit(url)
    ask(page, "make a page")
    answered(page)
    page.wait_for_selector(".artifact iframe")
    assert page.locator(".artifact button", has_text="Check it").count() == 0


@with_browser
def test_the_button_shows_what_is_wrong_and_asks_for_it_to_be_mended(scripted, visit):
    url, _, _ = scripted(ANSWER)
    page = visit(url)
    ask(page, "make a page")
    answered(page)
    page.click(".artifact button:has-text('Check it')")
    page.wait_for_selector(".verdict li", timeout=60_000)
    assert page.locator(".verdict summary").inner_text().startswith("Something is wrong")
    wrong = page.locator(".verdict li.error").all_inner_texts()
    assert len(wrong) == 1
    assert "Every control answers" in wrong[0]
    assert "'Switch'" in wrong[0]
    page.click(".artifact button:has-text('Fix this')")
    answered(page, 2)
    assert "nothing happens with <button> 'Switch'" in page.locator("article.user").nth(1).inner_text()


def test_a_check_that_is_refused_is_told(scripted, visit, evaluator):
    evaluator("print('telechat: the browser does not start', file=sys.stderr); sys.exit(2)")
    url, _, _ = scripted(ANSWER)
    page = visit(url)
    ask(page, "make a page")
    answered(page)
    page.click(".artifact button:has-text('Check it')")
    page.wait_for_selector(".verdict.error")
    assert page.locator(".verdict.error").inner_text() == "the browser does not start"
