"""The metrics: what Prometheus reads, line by line."""

from __future__ import annotations

import re

import pytest

from protocol.service.metrics import Metrics

# Prometheus, "Exposition formats", text-based format 0.0.4.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")
COMMENT = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")


def read(text):
    """Return {name: type} and {name with labels: value}; assert that every line is in its form and its place."""
    assert text.endswith("\n") and "\r" not in text
    types, samples, helped = {}, {}, set()
    current = None
    for line in text[:-1].split("\n"):
        comment = COMMENT.fullmatch(line)
        if comment:
            kind, name, rest = comment.groups()
            if kind == "HELP":
                assert name not in helped, "a metric's lines stand together, with one HELP"
                helped.add(name)
            else:
                assert name in helped and name not in types and rest in ("counter", "gauge", "histogram")
                types[name] = rest
                current = name
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, f"not a line of the format: {line!r}"
        name = sample[1]
        suffixes = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
        assert name in [current + suffix for suffix in suffixes]
        assert sample[1] + (sample[2] or "") not in samples, "a sample comes once"
        samples[sample[1] + (sample[2] or "")] = float(sample[3])
    return types, samples


def test_nothing_yet_is_well_formed():
    types, samples = read(Metrics().exposition({}))
    assert types["oaiserve_requests_total"] == "counter"
    assert types["oaiserve_request_seconds"] == "histogram"
    assert samples == {"oaiserve_requests_in_flight": 0}


def test_requests_are_counted_by_endpoint_and_status():
    metrics = Metrics()
    for label, status in [("chat", 200), ("chat", 200), ("chat", 499), ("by model", 200)]:
        metrics.completed(label, status, 0.1)
    _, samples = read(metrics.exposition({}))
    assert samples['oaiserve_requests_total{endpoint="chat",status="200"}'] == 2
    assert samples['oaiserve_requests_total{endpoint="chat",status="499"}'] == 1
    assert samples['oaiserve_requests_total{endpoint="by model",status="200"}'] == 1


@pytest.mark.parametrize(
    ("seconds", "first_bucket"),
    [(0.0, "0.001"), (0.001, "0.001"), (0.0010001, "0.0025"), (1.0, "1.0"), (119.9, "120.0"), (1e6, "+Inf")],
)
def test_a_time_is_in_every_bucket_from_its_own_on(seconds, first_bucket):
    metrics = Metrics()
    metrics.completed("chat", 200, seconds)
    _, samples = read(metrics.exposition({}))
    found = {
        re.search('le="(.*?)"', name)[1]: count
        for name, count in samples.items()
        if name.startswith("oaiserve_request_seconds_b")
    }
    bounds = list(found)
    assert bounds == sorted(bounds, key=float) and bounds[-1] == "+Inf"
    assert [found[bound] for bound in bounds] == [float(float(bound) >= float(first_bucket)) for bound in bounds]


def test_a_histogram_adds_up():
    metrics = Metrics()
    times = [0.0005, 0.003, 0.003, 0.7, 500.0]
    for seconds in times:
        metrics.completed("chat", 200, seconds)
    metrics.completed("other", 200, 9.0)
    _, samples = read(metrics.exposition({}))
    assert samples['oaiserve_request_seconds_count{endpoint="chat"}'] == len(times)
    assert samples['oaiserve_request_seconds_bucket{endpoint="chat",le="+Inf"}'] == len(times)
    assert samples['oaiserve_request_seconds_sum{endpoint="chat"}'] == pytest.approx(sum(times))
    assert samples['oaiserve_request_seconds_count{endpoint="other"}'] == 1


def test_gauges_are_told():
    metrics = Metrics()
    metrics.in_flight = 3
    types, samples = read(metrics.exposition({"connections": ("Connections open.", 1234567)}))
    assert samples["oaiserve_requests_in_flight"] == 3
    assert samples["oaiserve_connections"] == 1234567
    assert types["oaiserve_connections"] == "gauge"
