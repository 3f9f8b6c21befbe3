"""What the server counts, in Prometheus' format; the names are TensorFlow Serving's where it has one."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

_MICROSECONDS = tuple(10.0 * 1.8**i for i in range(33))
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_PREFIX = ":tensorflow:serving:"


class Metrics:
    """Counts, of requests, of runs, and of the process.

    Attributes:
        waiting: Requests that wait for a worker.
    """

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        # Counts, by name gauges: the library would end a counter's name in _total, which the server's has not.
        self._requests = self._gauge(f"{_PREFIX}request_count", "Requests by model and status", "model_name", "status")
        self._latency = self._histogram(
            f"{_PREFIX}request_latency", "Microseconds of a request", _MICROSECONDS, "model_name", "API", "entrypoint"
        )
        self._runtime = self._histogram(
            f"{_PREFIX}runtime_latency", "Microseconds of a run of the model", _MICROSECONDS, "model_name"
        )
        self._queuing = self._histogram(
            f"{_PREFIX}batching_session:queuing_latency", "Microseconds before a run", _MICROSECONDS, "model_name"
        )
        self._rows = self._histogram(
            f"{_PREFIX}batching_session:processed_batch_size", "Rows run together", _ROWS, "model_name"
        )
        self.waiting = self._gauge("rnnapps_serve_waiting_requests", "Requests that wait for a worker")

    def answered(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts a request; `model` is one that is served, or "" (a client's words make no new names)."""
        self._requests.labels(model, status).inc()
        self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def ran(self, model: str, rows: int, waited: Sequence[float]) -> None:
        """Counts a run of `rows` rows for requests that `waited` so many seconds each."""
        self._rows.labels(model).observe(rows)
        for seconds in waited:
            self._queuing.labels(model).observe(seconds * 1e6)

    def runtime(self, model: str, seconds: float) -> None:
        """Counts how long a run took."""
        self._runtime.labels(model).observe(seconds * 1e6)

    def text(self) -> bytes:
        """All counts, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, registry=self._registry, buckets=buckets)
