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
        self._between = self._histogram("inter_token_latency_seconds", "seconds between two tokens", BETWEEN_TOKENS)
        self._whole = self._histogram("e2e_request_latency_seconds", "seconds of a whole request", WHOLE)
        self._prompt_size = self._histogram("request_prompt_tokens", "prompt tokens of a request", COUNTS)
        self._answer_size = self._histogram("request_generation_tokens", "tokens generated for a request", COUNTS)
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
        if generation.request is not None:
            self._answer_size.observe(sum(len(c.ids) for c in generation.request.completions))

    def refused(self, reason: str) -> None:
        """A request was turned away before it reached the engine."""
        self._refused.labels(self._model, reason).inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
