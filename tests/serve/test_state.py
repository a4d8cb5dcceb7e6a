"""What operators see: health, readiness, figures, and what happens when too many come."""

from __future__ import annotations

import threading

import httpx
import pytest

from telechat.engine import Engine
from telechat.serve.worker import Worker

from .conftest import serving, until
from .test_chat_completions import HI, ask


def figures(url: str) -> dict[str, float]:
    rows = httpx.get(f"{url}/metrics", timeout=20).text.splitlines()
    return {row.rsplit(" ", 1)[0]: float(row.rsplit(" ", 1)[1]) for row in rows if row and not row.startswith("#")}


def test_health_and_readiness_need_no_key_and_figures_do(scripted):
    url, _, worker = scripted("</think>ok<_end>", api_key="secret")
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/ready").status_code == 200
    assert httpx.get(f"{url}/metrics").status_code == 401
    worker.halt()
    until(lambda: httpx.get(f"{url}/ready").status_code == 503)
    until(lambda: httpx.get(f"{url}/health").status_code == 503)


def test_figures_count_what_happened(chat):
    with serving(chat, Worker(lambda: Engine(chat.model, slots=4, fair=True))) as url:
        for _ in range(2):
            ask(url, max_tokens=7, messages=[{"role": "user", "content": "tell me of rivers"}], extra_body={"ignore_eos": True})
        found = figures(url)
    label = '{model_name="toy"}'
    assert found[f"telechat:generation_tokens_total{label}"] == 14
    assert found[f"telechat:time_to_first_token_seconds_count{label}"] == 2
    assert found[f"telechat:inter_token_latency_seconds_count{label}"] == 12
    assert found[f"telechat:e2e_request_latency_seconds_count{label}"] == 2
    assert found['telechat:request_success_total{finished_reason="length",model_name="toy"}'] == 2
    assert found[f"telechat:prefix_cache_hits_total{label}"] > 0
    assert found[f"telechat:num_requests_running{label}"] == 0
    assert found[f"telechat:prompt_tokens_total{label}"] == found[f"telechat:prefix_cache_queries_total{label}"]


def test_the_names_can_be_those_of_vllm(scripted):
    url, _, _ = scripted("</think>ok<_end>", metrics_prefix="vllm:")
    ask(url)
    assert 'vllm:num_requests_waiting{model_name="toy"}' in figures(url)


def test_a_full_queue_refuses_with_a_time_to_come_back(scripted, monkeypatch):
    url, engine, _ = scripted("</think>ok<_end>", max_queued=3)
    monkeypatch.setattr(type(engine), "queued", 3, raising=False)
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "toy", "messages": HI}, timeout=20)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "queue_full"
    monkeypatch.undo()
    assert ask(url).choices[0].message.content == "ok"
    assert figures(url)['telechat:admission_rejections_total{model_name="toy",reason="queue_full"}'] == 1


@pytest.mark.timeout(120)
def test_clients_that_come_in_crowds_and_vanish_leave_nothing_behind(chat):
    worker = Worker(lambda: Engine(chat.model, slots=16, fair=True))
    with serving(chat, worker) as url:

        def come(number: int) -> None:
            body = {"model": "toy", "messages": HI, "max_tokens": 200, "stream": True, "seed": number, "ignore_eos": True}
            with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
                for count, _ in enumerate(answer.iter_lines()):
                    if number % 2 and count > number % 7:
                        return

        threads = [threading.Thread(target=come, args=(i,)) for i in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: worker.idle, 20)
        assert worker.read("running") == worker.read("queued") == 0
        assert ask(url, max_tokens=3).usage.completion_tokens > 0
