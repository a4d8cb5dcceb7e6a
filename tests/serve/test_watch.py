"""`telechat watch`: what a run directory shows while it is written, and two of its models in one page."""

from __future__ import annotations

import json
import shutil
import threading

import httpx
import pytest

from telechat.core.errors import UserError
from telechat.serve.server import make_server, reserve, url_of
from telechat.serve.watch import POINTS, RunFolder, create_watch_app


@pytest.fixture
def out(tmp_path, checkpoint):
    """A run with a finished stage and one in the middle of a line."""
    (tmp_path / "recipe.yaml").write_text("name: toy\n")
    for number, (name, kind, state) in enumerate((("sft", "sft", "complete"), ("rl", "rl", "running"))):
        folder = tmp_path / "stages" / f"{number:02d}-{name}"
        (folder / "data").mkdir(parents=True)
        manifest = {
            "name": name,
            "kind": kind,
            "state": state,
            "seconds": 5.0,
            "metrics": {"scores": {"mean": 0.5}, "tokens": 7},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        rows = [{"step": i + 1, "loss": 1 / (i + 1), "reward": i / 1000, "name": "x"} for i in range(1000)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1001, "lo')
    shutil.copytree(checkpoint, tmp_path / "stages" / "00-sft" / "model")
    row = {"step": 10, "prompt": [{"role": "user", "content": "1+1"}], "messages": [{"role": "assistant", "content": "2"}]}
    for step in (0, 10):
        file = tmp_path / "stages" / "01-rl" / "data" / f"rollouts-{step:05d}.jsonl"
        file.write_text(json.dumps({**row, "step": step, "score": 1.0, "group": 0.5}) + "\n")
    return tmp_path


@pytest.fixture
def url(out):
    ready = threading.Event()
    with reserve("127.0.0.1", 0) as listener:
        server = make_server(create_watch_app(RunFolder(out)), ready.set, grace=0.2)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert ready.wait(20)
        yield url_of(listener)
        server.should_exit = True
        thread.join(20)


def test_stages_and_curves(url):
    sft, rl = httpx.get(f"{url}/api/run", timeout=20).json()["stages"]
    assert (sft["state"], rl["state"]) == ("complete", "running")
    assert (sft["model"], rl["model"]) == (True, False)
    assert rl["steps"] == 1000
    assert set(rl["series"]) == {"loss", "reward"}
    assert len(rl["series"]["loss"]) <= POINTS
    assert rl["series"]["reward"][-1][0] == 1000
    assert sft["scores"] == {"mean": 0.5}


def test_rollouts(url):
    last = httpx.get(f"{url}/api/rollouts/rl", timeout=20).json()
    assert (last["steps"], last["step"]) == ([0, 10], 10)
    assert httpx.get(f"{url}/api/rollouts/rl?step=0", timeout=20).json()["rows"][0]["step"] == 0
    assert httpx.get(f"{url}/api/rollouts/nothing", timeout=20).status_code == 404
    assert httpx.get(f"{url}/api/rollouts/rl?step=x", timeout=20).status_code == 400


def test_a_stage_answers(url):
    question = {"stage": "sft", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    answer = httpx.post(f"{url}/api/chat", json=question, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["role"] == "assistant"
    assert httpx.post(f"{url}/api/chat", json={**question, "stage": "rl"}, timeout=20).status_code == 409
    assert httpx.post(f"{url}/api/chat", json={**question, "max_tokens": 0}, timeout=20).status_code == 400


def test_the_page_and_a_folder_that_is_no_run(url, tmp_path):
    page = httpx.get(url)
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert httpx.get(f"{url}/static/watch.js").status_code == 200
    with pytest.raises(UserError, match=r"recipe\.yaml"):
        RunFolder(tmp_path / "nothing")


def test_a_run_in_the_browser(url, visit, photograph):
    """Stages and curves by themselves, rollouts by step, a stage that answers."""
    page = visit(url, ready="table tbody tr")
    assert page.locator("tbody tr").count() == 2
    assert page.locator(".curve").count() == 2  # of the stage that is running
    assert page.locator(".rollout summary").inner_text().startswith("1+1")
    page.select_option("section select", "0")
    page.wait_for_function("() => document.querySelector('section select').value === '0'")
    page.locator(".rollout summary").click()
    assert page.locator(".rollout pre").inner_text() == "2"
    page.fill("#question", "hi")
    page.press("#question", "Enter")
    page.wait_for_function(
        "() => document.querySelector('pre.answer') && document.querySelector('pre.answer').textContent !== '…'"
    )
    page.click("tbody tr >> nth=0")
    page.wait_for_selector(".bars")
    assert "50.0 %" in page.locator(".bars").inner_text()
    photograph(page, "watch")
