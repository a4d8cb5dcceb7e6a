"""`telechat web check` as a person runs it."""

from __future__ import annotations

import json

import pytest

from telechat.web.browser import available

from .test_main import telechat

PAGE = "<!doctype html><h1>Page</h1><button>Go</button>"


@pytest.mark.skipif(not available(), reason="no browser to check pages with")
def test_a_verdict_for_people_and_for_programs(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    shown = telechat("web", "check", str(file))
    assert shown.returncode == 0
    assert "FAIL  answers" in shown.stdout
    assert "<button> 'Go'" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("failed, score 0.")
    answer = telechat("web", "check", "-", "--json", stdin=f"Here it is:\n```html\n{PAGE}\n```\n")
    verdict = json.loads(answer.stdout)
    assert (answer.returncode, verdict["passed"]) == (0, False)
    assert [rule["rule"] for rule in verdict["rules"] if not rule["passed"]] == ["answers"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere.html"], "nowhere.html: cannot be read"),
        (["check", "-"], "there is no HTML document in it"),
        (["look", "-"], "there is telechat web check PAGE"),
        (["check"], "page"),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    done = telechat("web", *arguments, stdin="no page")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.lower() or said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_browser_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = telechat("web", "check", "-", stdin=PAGE)
    assert done.returncode == 2
    assert "apt-get install chromium-headless-shell" in done.stderr
