"""What operators see: health, readiness, figures, and what happens when too many come."""

from __future__ import annotations

import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from telechat.engine import Engine
from telechat.serve.job import prepare
from telechat.serve.log import _Lines
from telechat.serve.worker import Worker

from .conftest import serving, until
from .scripted import ScriptedEngine
from .test_chat_completions import HI, ask


def figures(url: str) -> dict[str, float]:
    rows = httpx.get(f"{url}/metrics", timeout=20).text.splitlines()
    return {row.rsplit(" ", 1)[0]: float(row.rsplit(" ", 1)[1]) for row in rows if row and not row.startswith("#")}


def test_health_and_readiness_need_no_key_and_figures_do(scripted):
    url, _, worker = scripted("</think>ok<_end>", api_keys=("secret",))
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
    for name in ("queue", "prefill", "decode", "inference"):
        assert found[f"telechat:request_{name}_time_seconds_count{label}"] == 2
    assert (
        found[f"telechat:request_inference_time_seconds_sum{label}"] > found[f"telechat:request_decode_time_seconds_sum{label}"]
    )
    assert found[f"telechat:request_time_per_output_token_seconds_count{label}"] == 2
    assert found[f"telechat:request_params_max_tokens_sum{label}"] == 14
    assert found[f"telechat:request_params_n_sum{label}"] == 2
    assert found[f"telechat:request_max_num_generation_tokens_sum{label}"] == 14
    computed = found[f"telechat:prompt_tokens_total{label}"] - found[f"telechat:prefix_cache_hits_total{label}"]
    assert found[f"telechat:iteration_tokens_total_sum{label}"] == computed + 14
    assert any(name.startswith("telechat:cache_config_info{") and 'slots="4"' in name for name in found)
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


def test_places_are_kept_while_requests_are_read(chat, monkeypatch):
    """Requests that come at once are counted before any of them is in the engine; n counts n."""
    worker = Worker(lambda: ScriptedEngine(lambda prompt, sample: [chat.renderer.end_id], slots=2))
    reading, go_on = threading.Semaphore(0), threading.Event()

    def slow(chat, worker, request):
        reading.release()
        assert go_on.wait(20)
        return prepare(chat, worker, request)

    monkeypatch.setattr("telechat.serve.app.prepare", slow)
    body = {"model": "toy", "messages": HI}
    with serving(chat, worker, max_queued=1) as url, ThreadPoolExecutor(4) as pool:
        ask_for = lambda n: httpx.post(f"{url}/v1/chat/completions", json={**body, "n": n}, timeout=20).status_code  # noqa: E731
        first = pool.submit(ask_for, 2)  # both slots
        assert reading.acquire(timeout=20)
        second = pool.submit(ask_for, 1)  # the one place
        assert reading.acquire(timeout=20)
        assert ask_for(1) == 429
        go_on.set()
        assert (first.result(), second.result()) == (200, 200)
        assert ask_for(2) == 200
        assert httpx.post(f"{url}/v1/chat/completions", json={**body, "tools": "x"}, timeout=20).status_code == 400
        until(lambda: worker.would_wait(2) == 0)


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


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_takes_too_long_is_ended(chat, stream):
    ids = chat.renderer.encode("on and on ")
    engine = ScriptedEngine(lambda prompt, sample: ids, pace=0.02)
    worker = Worker(lambda: engine, timeout=0.3)
    with serving(chat, worker) as url:
        if stream:
            with pytest.raises(openai.APIError, match="not done after"):
                list(ask(url, max_tokens=10**6, stream=True))
        else:
            answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "toy", "messages": HI}, timeout=20)
            assert answer.status_code == 504
            assert answer.json()["error"]["code"] == "timeout"
        until(lambda: worker.idle)


def test_a_body_that_does_not_come(scripted, monkeypatch):
    monkeypatch.setattr("telechat.serve.gate.Gate.__init__.__defaults__", (None, 0.2))
    url, _, _ = scripted("</think>ok<_end>")
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 20) as client:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        client.sendall(head)
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_every_answer_has_an_id_of_ours_and_one_line(scripted, caplog):
    url, _, _ = scripted("</think>ok<_end>", log_prompts=True)
    with caplog.at_level(logging.INFO, "telechat.access"):
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": "toy", "messages": [{"role": "user", "content": "weather"}]},
            headers={"x-request-id": "mine"},
            timeout=20,
        )
        until(lambda: bool(caplog.records))
    (record,) = caplog.records
    assert record.fields["request_id"] == answer.headers["x-request-id"] != "mine"
    assert record.fields["completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert record.fields["prompt_tokens"] == answer.json()["usage"]["prompt_tokens"]
    assert "weather" in record.fields["prompt"]  # this operator wants them


def test_nobody_writes_lines_of_his_own_into_the_log():
    record = logging.LogRecord("telechat", logging.INFO, "", 0, "request", (), None)
    record.fields = {"path": '/a b\nlevel=error "x"', "status": 404, "none": ""}
    (line,) = _Lines(as_json=False).format(record).splitlines()
    assert line.endswith('event=request path="/a b\\nlevel=error \\"x\\"" status=404 none=""')
    (line,) = _Lines(as_json=True).format(record).splitlines()
    assert json.loads(line)["path"] == record.fields["path"]
