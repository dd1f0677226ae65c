"""The metrics: what Prometheus reads, line by line."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

from protocol.exchange import Endpoint, Request
from protocol.openai.endpoint_names import ENDPOINT_NAMES, OTHER_ENDPOINT, endpoint_name
from protocol.openai.reference.whole import API_REFERENCE
from protocol.service.figures import OwnFigures
from protocol.service.metrics import METRICS, Metrics
from protocol.service.shared_figures import SharedFigures, new_memory
from protocol.wire.http1.messages import Fields, RequestHead

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


def samples_of(metrics):
    return read(metrics.exposition())[1]


def asked(label="chat", path="/nowhere"):
    """Return a request and its endpoint, as they are counted."""
    return Request(RequestHead("POST", path, 1, Fields([])), "req_1", "-"), Endpoint(lambda request: None, label)


def count(metrics, label, status=200, seconds=0.1):
    metrics.completed(*asked(label), status, seconds)


def test_nothing_yet_is_well_formed():
    types, samples = read(Metrics().exposition())
    assert types == {"oaiserve_requests_in_flight": "gauge", "oaiserve_streams": "gauge"}
    assert samples == {"oaiserve_requests_in_flight": 0, "oaiserve_streams": 0}


def test_requests_are_counted_by_endpoint_and_status():
    metrics = Metrics()
    for label, status in [("chat", 200), ("chat", 200), ("chat", 499), ("by model", 200)]:
        count(metrics, label, status)
    samples = samples_of(metrics)
    assert samples['oaiserve_requests_total{endpoint="chat",status="200"}'] == 2
    assert samples['oaiserve_requests_total{endpoint="chat",status="499"}'] == 1
    assert samples['oaiserve_requests_total{endpoint="by model",status="200"}'] == 1


@pytest.mark.parametrize(
    ("seconds", "first_bucket"),
    [(0.0, "0.001"), (0.001, "0.001"), (0.0010001, "0.0025"), (1.0, "1.0"), (119.9, "120.0"), (1e6, "+Inf")],
)
def test_a_time_is_in_every_bucket_from_its_own_on(seconds, first_bucket):
    metrics = Metrics()
    count(metrics, "chat", 200, seconds)
    found = {
        re.search('le="(.*?)"', name)[1]: count
        for name, count in samples_of(metrics).items()
        if name.startswith("oaiserve_request_seconds_b")
    }
    bounds = list(found)
    assert bounds == sorted(bounds, key=float) and bounds[-1] == "+Inf"
    assert [found[bound] for bound in bounds] == [float(float(bound) >= float(first_bucket)) for bound in bounds]


def test_a_histogram_adds_up():
    metrics = Metrics()
    times = [0.0005, 0.003, 0.003, 0.7, 500.0]
    for seconds in times:
        count(metrics, "chat", 200, seconds)
    count(metrics, "other", 200, 9.0)
    samples = samples_of(metrics)
    assert samples['oaiserve_request_seconds_count{endpoint="chat"}'] == len(times)
    assert samples['oaiserve_request_seconds_bucket{endpoint="chat",le="+Inf"}'] == len(times)
    assert samples['oaiserve_request_seconds_sum{endpoint="chat"}'] == pytest.approx(sum(times))
    assert samples['oaiserve_request_seconds_count{endpoint="other"}'] == 1


def test_the_first_byte_of_what_leaves_at_once_is_its_last():
    metrics = Metrics()
    count(metrics, "chat", 200, 2.0)
    metrics.streamed(*asked("chat"), 200, 9.0, 0.25, 8.5)
    metrics.unanswered(*asked("chat"), 499, 4.0)
    samples = samples_of(metrics)
    assert samples['oaiserve_request_seconds_count{endpoint="chat"}'] == 3
    assert samples['oaiserve_request_seconds_sum{endpoint="chat"}'] == 15.0
    assert samples['oaiserve_first_byte_seconds_count{endpoint="chat"}'] == 2
    assert samples['oaiserve_first_byte_seconds_sum{endpoint="chat"}'] == 2.25
    assert samples['oaiserve_requests_total{endpoint="chat",status="499"}'] == 1


def test_what_was_tried_upstream_is_counted_by_backend_and_status():
    metrics = Metrics()
    metrics.attempted(("relay=429", "second=200"))
    metrics.attempted(("second=200",))
    samples = samples_of(metrics)
    assert samples['oaiserve_attempts_total{backend="relay",status="429"}'] == 1
    assert samples['oaiserve_attempts_total{backend="second",status="200"}'] == 2


def test_tokens_and_cost_are_counted_by_key_and_model():
    metrics = Metrics()
    for _ in range(2):
        metrics.used(metrics.rows("alice", "gpt-4o"), (10, 4, 7, 2), 1_500_000)
    metrics.used(metrics.rows("bob", 'a "model"\\\n'), (1, 0, 0, 0), None)
    samples = samples_of(metrics)
    told = {kind: samples[f'oaiserve_tokens_total{{key="alice",model="gpt-4o",type="{kind}"}}'] for kind in (
        "input", "cached", "output", "reasoning",
    )}  # fmt: skip
    assert told == {"input": 20, "cached": 8, "output": 14, "reasoning": 4}
    assert samples['oaiserve_cost_dollars_total{key="alice",model="gpt-4o"}'] == 0.003
    assert samples['oaiserve_tokens_total{key="bob",model="a \\"model\\"\\\\\\n",type="input"}'] == 1


def test_models_that_clients_make_up_share_a_label():
    metrics = Metrics()
    for number in range(3_000):
        metrics.used(metrics.rows(f"key {number % 3}", f"model {number}"), (1, 0, 0, 0), None)
    told = [name for name in samples_of(metrics) if name.startswith("oaiserve_cost_dollars_total")]
    assert len(told) == 503
    assert sum(samples_of(metrics)[f'oaiserve_tokens_total{{key="key {key}",model="other",type="input"}}'] for key in range(3)) == 2_500  # fmt: skip


def test_levels_are_told_as_they_stand_and_counters_among_them_go_on():
    heights = {"upstream_rests_total": 2.0, "upstream_resting": 1.0}
    metrics = Metrics(levels=lambda: [(name, ("relay",), height) for name, height in heights.items()])
    assert samples_of(metrics)['oaiserve_upstream_rests_total{backend="relay"}'] == 2
    heights.update(upstream_rests_total=1.0, upstream_resting=0.0)  # another relay has taken its place
    samples = samples_of(metrics)
    assert samples['oaiserve_upstream_rests_total{backend="relay"}'] == 3
    assert samples['oaiserve_upstream_resting{backend="relay"}'] == 0
    del heights["upstream_resting"]
    assert samples_of(metrics)['oaiserve_upstream_resting{backend="relay"}'] == 0


# ---- what endpoints are called --------------------------------------------------------------------------------------


def test_every_path_of_the_reference_has_a_name_of_its_own_family():
    paths = re.findall(r"^(?:GET|POST|DELETE|PATCH|PUT) (/\S*)", "\n".join(API_REFERENCE), re.MULTILINE)
    assert len(paths) > 100
    for path in paths:
        name = endpoint_name(re.sub(r"\{\w+\}", "x_1", f"/v1{path}"))
        assert name in ENDPOINT_NAMES, path
        assert path.replace("/", ".").startswith(f".{name.split('.')[0]}"), path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat.completions"),
        ("/chat/completions", "chat.completions"),
        ("/s/one/v1/chat/completions", "chat.completions"),
        ("/openai/deployments/d/chat/completions", "chat.completions"),
        ("/v1/vector_stores/vs_1/files/file_1/content", "vector_stores.files"),
        ("/v1/responses/resp_1/input_items", "responses.input_items"),
        ("/v1/models/a/b/c/d/e/f", "models"),
        ("/v1/chat", OTHER_ENDPOINT),
        ("/v1/made/up", OTHER_ENDPOINT),
        ("/health", None),
    ],
)
def test_endpoints_have_the_names_of_the_api(path, name):
    assert endpoint_name(path) == name


# ---- workers --------------------------------------------------------------------------------------------------------


def test_workers_figures_add_up_whoever_tells_them():
    memory = new_memory(3)
    workers = [Metrics(SharedFigures(memory, number)) for number in range(3)]
    for number, metrics in enumerate(workers):
        for _ in range(number + 1):
            count(metrics, "chat", 200, 0.5)
        metrics.used(metrics.rows("alice", "gpt-4o"), (10, 0, 1, 0), 10**9)
        metrics.in_flight = number
        metrics.publish()
    told = {metrics.exposition() for metrics in workers}
    assert len(told) == 1
    samples = read(told.pop())[1]
    assert samples['oaiserve_requests_total{endpoint="chat",status="200"}'] == 6
    assert samples['oaiserve_request_seconds_count{endpoint="chat"}'] == 6
    assert samples['oaiserve_tokens_total{key="alice",model="gpt-4o",type="input"}'] == 30
    assert samples['oaiserve_cost_dollars_total{key="alice",model="gpt-4o"}'] == 3
    assert samples["oaiserve_requests_in_flight"] == 3


def test_who_takes_a_dead_workers_place_counts_on_and_has_nothing_under_way():
    memory = new_memory(2)
    dead, other = Metrics(SharedFigures(memory, 0)), Metrics(SharedFigures(memory, 1))
    count(dead, "chat")
    dead.in_flight = 7
    dead.publish()
    successor = Metrics(SharedFigures(memory, 0))
    count(successor, "chat")
    samples = samples_of(other)
    assert samples['oaiserve_requests_total{endpoint="chat",status="200"}'] == 2
    assert samples["oaiserve_requests_in_flight"] == 0


def test_the_highest_of_all_workers_is_told_where_a_sum_would_say_nothing():
    memory = new_memory(2)
    for number, lag in enumerate((3.5, 1.0)):
        levels = [("ledger_lag_seconds", (), lag), ("build_info", ("0.1.0",), 1.0)]
        last = Metrics(SharedFigures(memory, number), lambda levels=levels: levels)
        last.publish()
    samples = samples_of(last)
    assert samples["oaiserve_ledger_lag_seconds"] == 3.5
    assert samples['oaiserve_build_info{version="0.1.0"}'] == 1


def test_what_finds_no_room_in_a_worker_s_part_harms_nothing():
    memory = new_memory(2)
    figures = SharedFigures(memory, 0)
    for number in range(200_000):
        figures.values[figures.row(("tokens_total", f"{number}"), 1)] += 1.0
    parts = list(figures.parts())
    assert 10_000 < len(parts[0]) < 200_000 and not parts[1]
    assert set(map(tuple, parts[0].values())) == {(1.0,)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no workers here")
def test_a_process_sees_what_another_counts():
    memory = new_memory(2)
    child = os.fork()
    if not child:
        count(Metrics(SharedFigures(memory, 1)), "chat")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert samples_of(Metrics(SharedFigures(memory, 0)))['oaiserve_requests_total{endpoint="chat",status="200"}'] == 1


def test_figures_of_one_process_are_rows_of_numbers():
    figures = OwnFigures()
    at = figures.row(("a", "b"), 2)
    assert figures.row(("c",), 1) != at == figures.row(("a", "b"), 2)
    figures.values[at + 1] += 2.0
    assert list(figures.parts()) == [{("a", "b"): [0.0, 2.0], ("c",): [0.0]}]


def test_the_readme_has_the_same_table():
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    rows = readme.partition("| Metric | Labels | Says | OpenTelemetry |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert rows.splitlines() == [
        f"| `oaiserve_{name}` | {', '.join(metric.labels) or '–'} | {metric.text} | {metric.otel or '–'} |"
        for name, metric in METRICS.items()
    ]
