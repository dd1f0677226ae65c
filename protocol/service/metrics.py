"""Counters and latencies, and their text for Prometheus ("Exposition formats", text-based, version 0.0.4).

What is counted where it happens is written straight into figures (figures.py), which workers share. What only stands
at some height, as open connections do, is looked up when it is asked for, and by each worker once a second for the
others. Labels are few, whatever clients send: endpoints and statuses that there are, backends and keys that the owner
has named, and so many models.
"""

from __future__ import annotations

import bisect
import typing

from protocol.exchange import Endpoint, Request
from protocol.openai.endpoint_names import endpoint_name
from protocol.service.figures import Figures, OwnFigures, Row

# 1 ms to 2 min; what a model takes for a token is about the middle of it.
BUCKET_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
#: A gap that is no longer counts in the first of EndpointFigures.gaps.
SHORTEST_SECONDS = BUCKET_SECONDS[0]
_BUCKETS = len(BUCKET_SECONDS) + 1
_HISTOGRAM = _BUCKETS + 1  # and the sum of all
_SUM = _BUCKETS

#: Seconds after which other workers see how high something stands.
PUBLISH_SECONDS = 1.0

# Pairs of a key and a model whose tokens are counted apart, and how long a label may be.
_MOST_PAIRS = 500
# Of so many pairs it is known where they count, be it among the others: 2,000 callers ask for a few models each.
_MOST_KNOWN_PAIRS = 10_000
_MOST_CHARACTERS = 64
_OTHERS = "other"
_MOST_ATTEMPTS = 1_000

_NANO = 10**9


class Metric(typing.NamedTuple):
    """What one metric is. `otel` is its name in OpenTelemetry's semantic conventions for generative AI and HTTP."""

    kind: str
    text: str
    labels: tuple[str, ...] = ()
    otel: str = ""
    #: Whether the highest of all workers' is told, and not the sum.
    is_highest: bool = False


#: All metrics, by what stands behind `oaiserve_`. README.md has the same table.
METRICS = {
    "requests_total": Metric(
        "counter", "Requests answered; 499: the client had gone.", ("endpoint", "status"),
        "http.server.request.duration (its count)",
    ),
    "request_seconds": Metric(
        "histogram", "Seconds from a request's head to its answer's end.", ("endpoint",),
        "gen_ai.server.request.duration",
    ),
    "first_byte_seconds": Metric(
        "histogram", "Seconds from a request's head to the first byte of its answer's body.", ("endpoint",),
        "gen_ai.server.time_to_first_token",
    ),
    "chunk_gap_seconds": Metric(
        "histogram", "Seconds between two pieces of a streamed answer.", ("endpoint",),
        "gen_ai.server.time_per_output_token",
    ),
    "tokens_total": Metric(
        "counter", "Tokens that answers tell: input, cached (some of input), output, reasoning (some of output).",
        ("key", "model", "type"), "gen_ai.client.token.usage (its sum)",
    ),
    "cost_dollars_total": Metric("counter", "What answers cost by the prices of the keys file.", ("key", "model")),
    "limits_hit_total": Metric("counter", "Requests refused by a limit of a key or a team.", ("key", "limit")),
    "attempts_total": Metric(
        "counter", "What was tried upstream, by the status that came of it.", ("backend", "status"),
        "http.client.request.duration (its count)",
    ),
    "upstream_rests_total": Metric("counter", "How often a backend that kept failing was given a rest.", ("backend",)),
    "upstream_resting": Metric("gauge", "Processes in which a backend rests.", ("backend",)),
    "upstream_connections": Metric(
        "gauge", "Connections to an upstream.", ("backend", "state"), "http.client.open_connections"
    ),
    "upstream_waiting": Metric("gauge", "Requests that wait for a connection to an upstream.", ("backend",)),
    "requests_in_flight": Metric("gauge", "Requests being answered.", (), "http.server.active_requests"),
    "streams": Metric("gauge", "Streamed answers under way."),
    "connections": Metric("gauge", "Connections of clients."),
    "ledger_lag_seconds": Metric(
        "gauge", "Seconds that calls wait for their place in the ledger.", is_highest=True
    ),
    "ledger_lost_total": Metric("counter", "Calls that are missing in the ledger: the disk was full."),
    "build_info": Metric("gauge", "1, with the version that runs.", ("version",), is_highest=True),
}  # fmt: skip

# A streamed answer's times are kept apart from those of one that left at once, whose first byte is its last.
_WHOLE, _STREAMED, _FIRST = "whole", "streamed", "first"

#: How high something stands: the metric, the values of its labels, and the height. A counter counts since a start.
Level = typing.Tuple[str, typing.Tuple[str, ...], float]


def _no_levels() -> typing.Iterable[Level]:
    return ()


class EndpointFigures:
    """Where one endpoint's figures are."""

    __slots__ = ("first", "gaps", "name", "statuses", "streamed", "whole")

    def __init__(self, name: str, figures: Figures) -> None:
        self.name = name
        self.statuses: dict[int, int] = {}
        self.whole = figures.row((_WHOLE, name), _HISTOGRAM)
        self.streamed = figures.row((_STREAMED, name), _HISTOGRAM)
        self.first = figures.row((_FIRST, name), _HISTOGRAM)
        self.gaps = figures.row(("chunk_gap_seconds", name), _HISTOGRAM)


class Metrics:
    """Counts what a server does. `levels` tells what stands at some height besides what is known here."""

    def __init__(
        self, figures: Figures | None = None, levels: typing.Callable[[], typing.Iterable[Level]] = _no_levels
    ) -> None:
        self._figures = OwnFigures() if figures is None else figures
        #: Whoever counts often writes here, where EndpointFigures say.
        self.values = self._figures.values
        self._levels = levels
        self.in_flight = 0
        #: Streamed answers whose first byte has left, and not their last.
        self.streams = 0
        self._endpoints: dict[str, EndpointFigures] = {}
        self._attempts: dict[tuple[str, ...], list[int]] = {}
        self._pairs: dict[tuple[str, str], list[int]] = {}
        # The same by their labels; of some it is only known that there are such.
        self._told_pairs: dict[tuple[str, ...], list[int]] = {
            name[1:3]: [] for name in self._figures.names() if name[0] == "cost_dollars_total"
        }
        self._counted: dict[Row, float] = {}  # of a counter among the levels, how far that has been counted
        for name in self._figures.names():
            if name[0] in METRICS and METRICS[name[0]].kind == "gauge":  # a worker's that has died
                self.values[self._figures.row(name, 1)] = 0.0

    # ---- requests -----------------------------------------------------------------------------------------------

    def completed(self, request: Request, endpoint: Endpoint, status: int, seconds: float) -> None:
        """Count a request whose answer left at once; status 499 stands for a client that left."""
        counts = request.facts.figures
        if counts is None:
            counts = self.of_endpoint(request, endpoint)
        statuses, values = counts.statuses, self.values
        values[statuses[status] if status in statuses else self._status(counts, status)] += 1.0
        at = counts.whole
        values[at + (bisect.bisect_left(BUCKET_SECONDS, seconds) if seconds > SHORTEST_SECONDS else 0)] += 1.0
        values[at + _SUM] += seconds

    def streamed(
        self, request: Request, endpoint: Endpoint, status: int, seconds: float, first_seconds: float, gaps: float
    ) -> None:
        """Count a request whose answer left in pieces: when the first one did, and how long the gaps were in all."""
        counts = self.of_endpoint(request, endpoint)
        self.values[self._status(counts, status)] += 1.0
        self._note(counts.streamed, seconds)
        self._note(counts.first, first_seconds)
        self.values[counts.gaps + _SUM] += gaps

    def unanswered(self, request: Request, endpoint: Endpoint, status: int, seconds: float) -> None:
        """Count a request of whose answer nothing has left."""
        counts = self.of_endpoint(request, endpoint)
        self.values[self._status(counts, status)] += 1.0
        self._note(counts.streamed, seconds)

    def refused(self, status: int) -> None:
        """Count what could not be read as a request."""
        counts = self._named("none")
        self.values[self._status(counts, status)] += 1.0
        self._note(counts.whole, 0.0)

    def of_endpoint(self, request: Request, endpoint: Endpoint) -> EndpointFigures:
        """Return where a request is counted; worked out once for a kind of head."""
        counts: EndpointFigures | None = request.facts.figures
        if counts is None:
            name = endpoint_name(request.head.path)
            if name is None:
                name = _DOORS.get(endpoint.label, endpoint.label)
            counts = self._named(name)
            if name != "none":  # else an endpoint may still be found for it
                request.facts.figures = counts
        return counts

    def _named(self, name: str) -> EndpointFigures:
        counts = self._endpoints.get(name)
        if counts is None:
            counts = self._endpoints[name] = EndpointFigures(name, self._figures)
        return counts

    def _status(self, counts: EndpointFigures, status: int) -> int:
        at = counts.statuses.get(status)
        if at is None:
            at = counts.statuses[status] = self._figures.row(("requests_total", counts.name, str(status)), 1)
        return at

    def _note(self, at: int, seconds: float) -> None:
        """Count a time in the histogram there."""
        values = self.values
        values[at + bisect.bisect_left(BUCKET_SECONDS, seconds)] += 1.0
        values[at + _SUM] += seconds

    # ---- what happened to it ------------------------------------------------------------------------------------

    def attempted(self, attempts: tuple[str, ...]) -> None:
        """Count what was tried upstream (Response.attempts)."""
        rows = self._attempts.get(attempts)
        if rows is None:
            if len(self._attempts) >= _MOST_ATTEMPTS:
                self._attempts.clear()
            pairs = [attempt.rpartition("=") for attempt in attempts]
            rows = [self._figures.row(("attempts_total", name, status), 1) for name, _, status in pairs]
            self._attempts[attempts] = rows
        for at in rows:
            self.values[at] += 1.0

    def rows(self, key: str, model: str) -> typing.Sequence[int]:
        """Return where it is counted what a key takes of a model."""
        rows = self._pairs.get((key, model))
        if rows is None:
            rows = self._pairs[key, model] = self._rows_of(key, model)
        return rows

    def used(self, rows: typing.Sequence[int], tokens: typing.Sequence[int], nano: int | None) -> None:
        """Count there what an answer took: tokens in, cached, out and of reasoning, and nano-dollars if that is known.

        Whoever counts again and again keeps `rows`: to look for them takes 0.2 µs, and 0.7 of each of 2,000 keys.
        """
        values = self.values
        for at, count in zip(rows, tokens):
            values[at] += count
        if nano:
            values[rows[-1]] += nano / _NANO

    def _rows_of(self, key: str, model: str) -> list[int]:
        if len(self._pairs) >= _MOST_KNOWN_PAIRS:
            self._pairs.clear()
        told: tuple[str, ...] = (key[:_MOST_CHARACTERS], model[:_MOST_CHARACTERS])
        if told not in self._told_pairs and len(self._told_pairs) >= _MOST_PAIRS:
            told = (told[0], _OTHERS) if len(self._told_pairs) < 2 * _MOST_PAIRS else (_OTHERS, _OTHERS)
        rows = self._told_pairs.get(told)
        if not rows:
            rows = [self._figures.row(("tokens_total", *told, kind), 1) for kind in TOKEN_TYPES]
            rows.append(self._figures.row(("cost_dollars_total", *told), 1))
            self._told_pairs[told] = rows
        return rows

    def limit_hit(self, key: str, limit: str) -> None:
        """Count a request that a limit refused: of requests, tokens, budget or at_once."""
        self.values[self._figures.row(("limits_hit_total", key[:_MOST_CHARACTERS], limit), 1)] += 1.0

    # ---- what stands at some height -----------------------------------------------------------------------------

    def publish(self) -> None:
        """Note how high everything stands, for whoever tells it."""
        figures, values = self._figures, self.values
        levels = [("requests_in_flight", (), self.in_flight), ("streams", (), self.streams), *self._levels()]
        gauges = {name for name in figures.names() if name[0] in METRICS and METRICS[name[0]].kind == "gauge"}
        for metric, labels, height in levels:
            name = (metric, *labels)
            at = figures.row(name, 1)
            if METRICS[metric].kind == "gauge":
                gauges.discard(name)
                values[at] = float(height)
            else:
                before = self._counted.get(name, 0.0)
                values[at] += height - before if height >= before else height
                self._counted[name] = height
        for name in gauges:  # of what there is no more
            values[figures.row(name, 1)] = 0.0

    # ---- the text -----------------------------------------------------------------------------------------------

    def exposition(self) -> str:
        """Return the text of /metrics: what all workers have counted."""
        self.publish()
        sums = self._sums()
        lines: list[str] = []
        for metric_name, metric in METRICS.items():
            full_name = f"oaiserve_{metric_name}"
            rows = sorted(row for row in sums if row[0] == metric_name)
            if rows:
                lines += [f"# HELP {full_name} {metric.text}", f"# TYPE {full_name} {metric.kind}"]
            for row in rows:
                if metric.kind == "histogram":
                    lines += _histogram(full_name, metric.labels, row[1:], sums[row])
                else:
                    lines.append(f"{full_name}{_labels(metric.labels, row[1:])} {_number(sums[row][0])}")
        return "\n".join(lines) + "\n"

    def _sums(self) -> dict[Row, list[float]]:
        """Return what all processes have counted together."""
        sums: dict[Row, list[float]] = {}
        for part in self._figures.parts():
            for row, numbers in part.items():
                before = sums.get(row)
                metric = METRICS.get(row[0])
                add = max if metric is not None and metric.is_highest else _add
                sums[row] = list(numbers) if before is None else [add(*pair) for pair in zip(before, numbers)]
        for row in [row for row in sums if row[0] == "chunk_gap_seconds" and not any(sums[row][:_BUCKETS])]:
            del sums[row]
        _derive(sums, "request_seconds", _WHOLE, _STREAMED)
        _derive(sums, "first_byte_seconds", _WHOLE, _FIRST)
        return sums


#: What tokens are counted apart, in the order of `Metrics.used`.
TOKEN_TYPES = ("input", "cached", "output", "reasoning")

# Endpoints that have the name of another one.
_DOORS = {"chat door": "chat.completions"}


def _add(one: float, other: float) -> float:
    return one + other


def _derive(sums: dict[Row, list[float]], metric: str, *kinds: str) -> None:
    """Add a metric's histograms up from those of several kinds of answers; one in which nothing is, is left out."""
    for row in [row for row in sums if row[0] == kinds[0]]:
        numbers = [sum(pair) for pair in zip(*(sums[(kind, *row[1:])] for kind in kinds))]
        if any(numbers[:_BUCKETS]):
            sums[(metric, *row[1:])] = numbers


def _histogram(
    name: str, names: tuple[str, ...], values: typing.Sequence[str], numbers: typing.Sequence[float]
) -> typing.Iterator[str]:
    total = 0.0
    for bound, count in zip((*BUCKET_SECONDS, "+Inf"), numbers):
        total += count
        yield f"{name}_bucket{_labels((*names, 'le'), (*values, str(bound)))} {_number(total)}"
    yield f"{name}_sum{_labels(names, values)} {numbers[_SUM]:.6f}"
    yield f"{name}_count{_labels(names, values)} {_number(total)}"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _labels(names: typing.Sequence[str], values: typing.Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values))
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 9))
