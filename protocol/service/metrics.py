"""Counters and latencies, and their text for Prometheus ("Exposition formats", text-based, version 0.0.4)."""

from __future__ import annotations

import bisect
import collections
import typing

_BUCKET_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counts requests by endpoint and status. Labels are few: an endpoint's name, never what a client sent."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._endpoints: dict[str, _EndpointCounts] = {}

    def completed(self, label: str, status: int, seconds: float) -> None:
        """Count an answered request; status 499 stands for a client that left."""
        endpoints = self._endpoints
        counts = endpoints[label] if label in endpoints else endpoints.setdefault(label, _EndpointCounts())
        counts.statuses[status] += 1
        counts.buckets[bisect.bisect_left(_BUCKET_SECONDS, seconds) if seconds > _BUCKET_SECONDS[0] else 0] += 1
        counts.seconds += seconds

    def exposition(self, gauges: typing.Mapping[str, tuple[str, float]]) -> str:
        """Return the text of /metrics; `gauges` maps further names to (help, value)."""
        lines = [*_metric("oaiserve_requests_total", "counter", "Requests answered, by endpoint and status.")]
        endpoints = sorted(self._endpoints.items())
        for label, counts in endpoints:
            for status, count in sorted(counts.statuses.items()):
                lines.append(f'oaiserve_requests_total{{endpoint="{label}",status="{status}"}} {count}')
        lines += _metric("oaiserve_request_seconds", "histogram", "Seconds from a request's head to its answer's end.")
        for label, counts in endpoints:
            lines += _histogram(label, counts)
        everything = {"requests_in_flight": ("Requests being answered.", self.in_flight), **gauges}
        for name, (text, value) in everything.items():
            lines += [*_metric(f"oaiserve_{name}", "gauge", text), f"oaiserve_{name} {value}"]
        return "\n".join(lines) + "\n"


class _EndpointCounts:
    """What is counted for one endpoint: answers by status, and how long they took, by bucket and in all."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: collections.defaultdict[int, int] = collections.defaultdict(int)
        self.buckets = [0] * (len(_BUCKET_SECONDS) + 1)
        self.seconds = 0.0


def _histogram(label: str, counts: _EndpointCounts) -> typing.Iterator[str]:
    total = 0
    for bound, count in zip((*_BUCKET_SECONDS, "+Inf"), counts.buckets):
        total += count
        yield f'oaiserve_request_seconds_bucket{{endpoint="{label}",le="{bound}"}} {total}'
    yield f'oaiserve_request_seconds_sum{{endpoint="{label}"}} {counts.seconds:.6f}'
    yield f'oaiserve_request_seconds_count{{endpoint="{label}"}} {total}'


def _metric(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
