"""`/metrics` for Prometheus, under the names that dashboards of vLLM expect, with our prefix or theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telechat.serve.worker import Generation, Token, Worker

FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
WHOLE = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)


class _Engine(Collector):
    """What the engine says of itself when it is asked."""

    GAUGES = (
        ("num_requests_running", "running", "completions that are being generated"),
        ("num_requests_waiting", "queued", "completions that wait for a slot"),
        ("kv_cache_usage_perc", "kv_usage", "share of the slots' positions in use, 0 to 1"),
    )
    COUNTERS = (
        ("num_preemptions", "preemptions", "completions that were sent back to the queue"),
        ("prefix_cache_queries", "prompt_tokens", "prompt tokens that were looked up"),
        ("prefix_cache_hits", "reused_tokens", "prompt tokens that were found"),
    )

    def __init__(self, worker: Worker, prefix: str, model: str) -> None:
        self._worker = worker
        self._prefix = prefix
        self._model = model

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        for name, figure, meaning in self.GAUGES:
            gauge = GaugeMetricFamily(self._prefix + name, meaning, labels=["model_name"])
            gauge.add_metric([self._model], self._worker.read(figure))
            yield gauge
        for name, figure, meaning in self.COUNTERS:
            counter = CounterMetricFamily(self._prefix + name, meaning, labels=["model_name"])
            counter.add_metric([self._model], self._worker.read(figure))
            yield counter
        room = {"model_name": self._model, "slots": str(self._worker.slots), "max_model_len": str(self._worker.max_len)}
        info = GaugeMetricFamily(self._prefix + "cache_config_info", "what keys and values have room for", labels=list(room))
        info.add_metric(list(room.values()), 1)
        yield info


class Metrics:
    """The figures of one server; a `Watcher` of its worker."""

    def __init__(self, worker: Worker, model: str, prefix: str = "telechat:") -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engine(worker, prefix, model))
        self._model = model
        self._prefix = prefix
        self._prompt = self._counter("prompt_tokens", "prompt tokens of finished requests")
        self._generated = self._counter("generation_tokens", "tokens generated")
        self._finished = self._counter("request_success", "finished requests", "finished_reason")
        self._refused = self._counter("admission_rejections", "requests that were refused", "reason")
        self._first = self._histogram("time_to_first_token_seconds", "seconds to the first token", FIRST_TOKEN)
        self._queue = self._histogram("request_queue_time_seconds", "seconds until the engine takes a request in", WHOLE)
        self._prefill = self._histogram("request_prefill_time_seconds", "seconds from there to the first token", WHOLE)
        self._decode = self._histogram("request_decode_time_seconds", "seconds from the first token to the last", WHOLE)
        self._inference = self._histogram("request_inference_time_seconds", "seconds in the engine", WHOLE)
        self._each = self._histogram(
            "request_time_per_output_token_seconds", "mean seconds of a token after the first", BETWEEN_TOKENS
        )
        self._between = self._histogram("inter_token_latency_seconds", "seconds between two tokens", BETWEEN_TOKENS)
        self._whole = self._histogram("e2e_request_latency_seconds", "seconds of a whole request", WHOLE)
        self._prompt_size = self._histogram("request_prompt_tokens", "prompt tokens of a request", COUNTS)
        self._answer_size = self._histogram("request_generation_tokens", "tokens generated for a request", COUNTS)
        self._longest = self._histogram("request_max_num_generation_tokens", "tokens of the longest answer", COUNTS)
        self._samples = self._histogram("request_params_n", "answers asked for", (1, 2, 5, 10, 20))
        self._bound = self._histogram("request_params_max_tokens", "the bound on an answer's tokens", COUNTS)
        self._steps = self._histogram("iteration_tokens_total", "tokens computed in a step of the engine", ITERATION)
        worker.watcher = self

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(self._prefix + name, meaning, ["model_name", *labels], registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        made = Histogram(self._prefix + name, meaning, ["model_name"], buckets=buckets, registry=self._registry)
        return made.labels(self._model)

    def stepped(self, generation: Generation, tokens: Sequence[Token], now: float) -> None:
        """See `Watcher`."""
        self._generated.labels(self._model).inc(len(tokens))
        if generation.last_step is None:
            self._first.observe(now - generation.submitted)
        else:
            self._between.observe(now - generation.last_step)

    def ended(self, generation: Generation, reason: str, now: float) -> None:
        """See `Watcher`."""
        self._finished.labels(self._model, reason).inc()
        self._prompt.labels(self._model).inc(len(generation.prompt))
        self._whole.observe(now - generation.submitted)
        self._prompt_size.observe(len(generation.prompt))
        self._samples.observe(len(generation.params))
        self._bound.observe(generation.params[0].max_tokens)
        made = generation.request
        if made is None or made.started is None:
            return
        lengths = [len(completion.ids) for completion in made.completions]
        self._answer_size.observe(sum(lengths))
        self._longest.observe(max(lengths))
        self._queue.observe(made.started - generation.submitted)
        self._inference.observe(now - made.started)
        if generation.first_step is not None and generation.last_step is not None:
            self._prefill.observe(generation.first_step - made.started)
            self._decode.observe(generation.last_step - generation.first_step)
            self._each.observe((generation.last_step - generation.first_step) / max(1, max(lengths) - 1))

    def iterated(self, tokens: int) -> None:
        """See `Watcher`."""
        self._steps.observe(tokens)

    def refused(self, reason: str) -> None:
        """A request was turned away before it reached the engine."""
        self._refused.labels(self._model, reason).inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
