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
    for number, (name, kind, state) in enumerate(
        (("sft", "sft", "complete"), ("rl", "rl", "complete"), ("more", "rl", "running"))
    ):
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
        if kind == "rl":
            rows = [{**row, "reward/rule": 0.5, "reward/model": 0.1, "rate/addition": row["reward"]} for row in rows]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1001, "lo')
    for name in ("00-sft", "01-rl"):
        shutil.copytree(checkpoint, tmp_path / "stages" / name / "model")
    for step in (0, 10):
        add_rollouts(tmp_path, step)
    return tmp_path


def add_rollouts(out, step):
    """One rollout that the stage in progress kept at `step`."""
    said = {"prompt": [{"role": "user", "content": "1+1"}], "messages": [{"role": "assistant", "content": str(step)}]}
    row = {**said, "step": step, "task": "t", "score": 1.0, "group": 0.5, "reward": {"rule": 1.0, "model": 0.25}}
    file = out / "stages" / "02-more" / "data" / f"rollouts-{step:05d}.jsonl"
    file.write_text(json.dumps(row) + "\n")


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
    sft, _, rl = httpx.get(f"{url}/api/run", timeout=20).json()["stages"]
    assert (sft["state"], rl["state"]) == ("complete", "running")
    assert (sft["model"], rl["model"]) == (True, False)
    assert rl["steps"] == 1000
    assert set(sft["series"]) == {"loss", "reward"}
    assert set(rl["series"]) == {"loss", "reward", "reward/rule", "reward/model"}
    assert rl["rates"] == {"addition": 0.999}
    assert len(rl["series"]["loss"]) <= POINTS
    assert rl["series"]["reward"][-1][0] == 1000
    assert sft["scores"] == {"mean": 0.5}


def test_rollouts(url):
    last = httpx.get(f"{url}/api/rollouts/more", timeout=20).json()
    assert (last["steps"], last["step"]) == ([0, 10], 10)
    assert httpx.get(f"{url}/api/rollouts/more?step=0", timeout=20).json()["rows"][0]["step"] == 0
    assert httpx.get(f"{url}/api/rollouts/nothing", timeout=20).status_code == 404
    assert httpx.get(f"{url}/api/rollouts/more?step=x", timeout=20).status_code == 400


def test_a_stage_answers(url):
    question = {"stage": "sft", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    answer = httpx.post(f"{url}/api/chat", json=question, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["role"] == "assistant"
    assert httpx.post(f"{url}/api/chat", json={**question, "stage": "more"}, timeout=20).status_code == 409
    assert httpx.post(f"{url}/api/chat", json={**question, "max_tokens": 0}, timeout=20).status_code == 400


def test_the_page_and_a_folder_that_is_no_run(url, tmp_path):
    page = httpx.get(url)
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert httpx.get(f"{url}/static/watch.js").status_code == 200
    with pytest.raises(UserError, match=r"recipe\.yaml"):
        RunFolder(tmp_path / "nothing")


def test_a_run_in_the_browser(url, out, visit, photograph):
    """Stages, curves and rewards by themselves; rollouts as they come, or of one step."""
    page = visit(url, ready="table tbody tr")
    assert page.locator("tbody tr").count() == 3
    assert page.locator(".curve").count() == 4  # of the stage that is running, with the parts of its reward
    assert "99.9 %" in page.locator(".bars").first.inner_text()
    summary = page.locator(".rollout summary").inner_text()
    assert summary.startswith("1+1")
    assert "rule 1 + model 0.25" in summary
    page.locator(".rollout summary").click()
    assert page.locator(".rollout pre").inner_text() == "10"
    add_rollouts(out, 20)
    page.wait_for_selector(".rollout pre:text('20')", state="attached")
    page.select_option(".rollouts select", "0")
    page.wait_for_selector(".rollout pre:text-is('0')", state="attached")
    photograph(page, "watch")
    page.click("tbody tr >> nth=0")
    page.wait_for_selector("h3:text-is('sft')")
    assert "50.0 %" in page.locator(".bars").inner_text()
    page.click("#language")
    assert page.locator("tbody tr").first.locator("td").nth(2).inner_text() == "已完成"


def test_two_stages_talk_side_by_side_in_the_browser(url, visit):
    """Every side goes on with its own answers; a side that gets another stage is asked everything again."""
    page = visit(url, ready="#question")
    asked = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.url.endswith("/api/chat") else None)

    def say(text, answers):
        page.fill("#question", text)
        page.press("#question", "Enter")
        wait_for(answers)

    def wait_for(answers):
        page.wait_for_function(
            f"() => document.querySelectorAll('.asked').length === {answers} && !document.querySelector('.dots')"
        )

    say("hi", 2)
    assert {each["stage"] for each in asked} == {"sft", "rl"}
    say("and you?", 4)
    assert [m["role"] for m in asked[-1]["messages"]] == ["user", "assistant", "user"]
    assert asked[-1]["messages"][0]["content"] == "hi"
    page.select_option(".side >> nth=0 >> select", "rl")
    page.wait_for_function("() => document.querySelector('.dots')")
    wait_for(4)
    assert [each["stage"] for each in asked[4:]] == ["rl", "rl"]
    page.click("form button[type=button]")
    wait_for(0)
