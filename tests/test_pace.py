"""Paces: when words are due, who waits for a slot, what is cached, and how long answers are."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from fake_loop import FakeLoop

from protocol.config import Section
from protocol.errors import ApiError, UsageError
from protocol.mock.drawn import Drawn, parse_length, read_drawn
from protocol.mock.pace.draws import make_draws, make_whole_draws
from protocol.mock.pace.lengths import Lengths
from protocol.mock.pace.pace import Pace
from protocol.mock.pace.prefix_cache import PrefixCache
from protocol.mock.pace.request_keys import RequestKeys
from protocol.mock.settings import PaceSettings
from protocol.openai.answers import split_words
from protocol.pacer import Pacer
from protocol.timed import PacedFrames

# ---- distributions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("0.3", Drawn("constant", 0.3)),
        ("0.3 constant", Drawn("constant", 0.3)),
        ("0.3 normal 20%", Drawn("normal", 0.3, 0.2)),
        ("0.02 lognormal 0.4", Drawn("lognormal", 0.02, 0.4)),
        ("0.02  gamma  150%", Drawn("gamma", 0.02, 1.5)),
        ("file:a b.csv", Drawn("file", path="a b.csv")),
    ],
)
def test_distributions_are_read(text, drawn):
    assert read_drawn(text) == drawn


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "0.3 normal", "0.3 constant 2", "0.3 poisson 1", "file:", "1 gamma 11"]
)
def test_other_texts_are_no_distributions(text):
    with pytest.raises(ValueError, match="expected"):
        read_drawn(text)


@pytest.mark.parametrize("text", ["words", "normal(0,1)", "normal(256)", "normal(256;64)"])
def test_other_texts_are_no_lengths(text):
    with pytest.raises(ValueError, match="expected text | request"):
        parse_length(text)


def _sampled(kind, mean, spread):
    """Return the same distribution as Python's own generator draws it."""
    chance = random.Random(1)
    if kind == "lognormal":
        variance = math.log(1 + spread**2)
        return [chance.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance)) for _ in range(100_000)]
    return [chance.gammavariate(1 / spread**2, mean * spread**2) for _ in range(100_000)]


@pytest.mark.parametrize(
    ("kind", "spread"),
    [("lognormal", 0.4), ("lognormal", 1.0), ("gamma", 0.2), ("gamma", 0.5), ("gamma", 1.0), ("gamma", 2.0)],
)
def test_draws_are_distributed_as_python_draws_them(kind, spread):
    draws = make_draws(Drawn(kind, 0.02, spread), "between")
    drawn, sampled = draws.several(b"key", 100_000), _sampled(kind, 0.02, spread)
    assert draws.mean == pytest.approx(0.02, rel=1e-9)
    assert statistics.fmean(drawn) == pytest.approx(0.02, rel=0.02)
    for share in (10, 50, 90, 99):
        ours, theirs = (statistics.quantiles(values, n=100)[share - 1] for values in (drawn, sampled))
        assert ours == pytest.approx(theirs, rel=0.05, abs=0.0002), share


def test_a_normal_distribution_keeps_its_mean_and_is_never_negative():
    draws = make_draws(Drawn("normal", 0.3, 0.2), "first")
    drawn = draws.several(b"key", 50_000)
    assert statistics.fmean(drawn) == pytest.approx(0.3, rel=0.005)
    assert statistics.stdev(drawn) == pytest.approx(0.06, rel=0.02)
    wide = make_draws(Drawn("normal", 0.3, 3.0), "first").several(b"key", 50_000)
    assert min(wide) >= 0 and statistics.fmean(wide) == pytest.approx(0.3, rel=0.01)


def test_values_of_a_file_are_drawn_from_the_column_that_is_meant(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("first,between\n0.5,0.01\n0.7,0.03\n", encoding="utf-8")
    assert set(make_draws(Drawn("file", path=str(path)), "between").several(b"k", 100)) == {0.01, 0.03}
    assert set(make_draws(Drawn("file", path=str(path)), "first").several(b"k", 100)) == {0.5, 0.7}
    path.write_text("0.25\n0.75\n", encoding="utf-8")
    assert set(make_draws(Drawn("file", path=str(path)), "first").several(b"k", 100)) == {0.25, 0.75}


@pytest.mark.parametrize(
    ("text", "said"), [("", "no values"), ("first\nsoon\n", "line 2: expected seconds"), (None, "read")]
)
def test_a_file_that_cannot_be_used_is_a_mistake_that_names_it(tmp_path, text, said):
    path = tmp_path / "trace.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"\[pace slow\] first = file:.*trace\.csv.*{said}"):
        Pace("slow", settings(first=f"file:{path}"), None)


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_the_order_of_different_requests_changes_no_draw():
    requests = [b"a", b"b", b"a", b"c" * 200_000, b"a", b"b"]
    chance = random.Random(3)
    known = None
    for _ in range(20):
        chance.shuffle(requests)
        keys = RequestKeys(b"seed")
        drawn = sorted((body, keys.next(body)) for body in requests)
        assert known in (None, drawn)
        known = drawn
    assert len({key for _, key in known}) == len(requests)
    assert RequestKeys(b"other").next(b"a") not in {key for _, key in known}


def test_long_bodies_differ_by_their_ends_and_size():
    keys = RequestKeys(b"")
    bodies = [b"a" * 300_000, b"a" * 300_001, b"b" + b"a" * 299_999, b"a" * 299_999 + b"b", b"a" * 65_536 + b"b"]
    assert len({keys.next(body)[:24] for body in bodies}) == len(bodies)


# ---- the cache ------------------------------------------------------------------------------------------------------


def words(*counts):
    return [f"{name}{number}" for name, count in zip("abcdef", counts) for number in range(count)]


def test_whole_blocks_that_begin_alike_are_cached():
    cache = PrefixCache(100)
    assert cache.take(words(40)) == 0
    assert cache.take(words(40)) == 32
    assert cache.take(words(20, 20)) == 16  # the second block differs, so nothing behind it is the same
    assert cache.take(words(40)[1:]) == 0
    assert cache.take(words(15)) == 0 and cache.take(words(15)) == 0


def test_the_last_token_is_always_worked_out():
    cache = PrefixCache(100)
    cache.take(words(32))
    assert cache.take(words(32)) == 16 and cache.take(words(33)) == 32


def test_the_blocks_that_nobody_asked_for_go_first():
    cache = PrefixCache(4)
    cache.take(words(33))  # two blocks
    cache.take(["x", *words(33)][:33])  # two others
    assert cache.take(words(33)) == 32  # asked for again
    cache.take(["y", *words(33)][:33])
    assert cache.take(words(33)) == 32
    assert cache.take(["x", *words(33)][:33]) == 0


# ---- streams and slots ----------------------------------------------------------------------------------------------


def settings(**texts):
    """Return PaceSettings as [pace NAME] would give them."""
    values = {}
    for name, member in vars(PaceSettings).items():
        if hasattr(member, "parse"):
            values[name] = member.parse(str(texts.pop(name, member.default)))
    assert not texts
    made = PaceSettings(**values)
    assert isinstance(made, Section)
    return made


class Client:
    """Takes a stream, and notes when its pieces came."""

    def __init__(self, loop, stream):
        self.loop, self.stream = loop, stream
        self.start = loop.now
        self.came = []
        self.is_over = False
        stream.begin(self)

    def push(self, data):
        self.came.append((round(self.loop.now - self.start, 4), data))

    def end(self, data):
        self.push(data)
        self.is_over = True

    def fail(self, error):
        raise error


@pytest.fixture
def loop():
    loop = FakeLoop()
    yield loop
    loop.close()


def paced(loop, **texts):
    pacer = Pacer(loop)
    return Pace("test", settings(**texts), lambda: pacer)


def stream(loop, pace, count, key=b"", prompt=0):
    frames = [b"%d" % number for number in range(count)]
    return Client(loop, pace.stream(frames, pace.moment(key, (), prompt)))


def test_each_frame_leaves_when_it_is_due(loop):
    client = stream(loop, paced(loop, first="0.3", between="0.02", prefill="0.001"), 4, prompt=100)
    loop.advance(0.399)
    assert client.came == []
    loop.advance(1)
    assert client.is_over
    assert [data for _, data in client.came] == [b"0", b"1", b"2", b"3"]
    assert [at for at, _ in client.came] == pytest.approx([0.4, 0.42, 0.44, 0.46], abs=0.0015)


def test_errors_do_not_add_up(loop):
    """A timer rings up to a tick late; the thousandth word is no later than the first."""
    client = stream(loop, paced(loop, first="0.0105", between="0.0105"), 1000)
    loop.advance(20)
    errors = [at - 0.0105 * (number + 1) for number, (at, _) in enumerate(client.came)]
    assert len(errors) == 1000 and max(errors) < 0.0016 and min(errors) > -0.0006


def test_what_is_due_within_half_a_millisecond_leaves_with_what_is_due_now(loop):
    """The loop waits for whole milliseconds: who is due before it wakes again would be late by up to one."""
    pacer = Pacer(loop)
    firsts = ["0.0100", "0.0104", "0.0109"]
    together = [stream(loop, Pace("test", settings(first=first), lambda: pacer), 1) for first in firsts]
    alone = stream(loop, paced(loop, first=firsts[1]), 1)
    loop.advance(0.0103)
    assert [client.is_over for client in together] == [True, True, False] and not alone.is_over
    loop.advance(1)
    assert together[2].is_over and alone.came[0][0] >= 0.0104


def test_a_crowd_that_is_due_at_once_leaves_others_their_turns(loop):
    """A request that came meanwhile is read before all have been served: its own words are due from then on."""
    pacer, served, seen = Pacer(loop), [], []

    class Body:
        def send_due(self, by):
            if not served:
                loop.call_soon(lambda: seen.append(len(served)))
            served.append(self)

    for _ in range(1000):
        pacer.add(loop.time() + 0.01, Body())
    loop.advance(0.02)
    assert len(served) == 1000 and seen == [32]


def test_one_that_fails_takes_no_other_with_it(loop):
    class Broken:
        def send_due(self, by):
            raise ZeroDivisionError

    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    pacer = Pacer(loop)
    pace = Pace("test", settings(first="0.01"), lambda: pacer)
    before = stream(loop, pace, 1)
    pacer.add(loop.time() + 0.01, Broken())
    behind = stream(loop, pace, 1)
    loop.advance(0.02)
    assert before.is_over and behind.is_over and [type(exc) for exc in told] == [ZeroDivisionError]


def test_what_is_late_leaves_together(loop):
    client = stream(loop, paced(loop, between="0.01"), 10)
    loop.advance(0.001)
    client.stream.pause()
    loop.advance(0.055)
    assert [data for _, data in client.came] == [b"0"]
    client.stream.resume()
    loop.advance(0.001)
    assert [data for _, data in client.came] == [b"0", b"12345"]
    loop.advance(1)
    assert client.is_over and b"".join(data for _, data in client.came) == b"0123456789"


@pytest.mark.parametrize("seed", range(40))
def test_no_frame_is_lost_or_early_in_whatever_order_things_happen(seed):
    """Streams begin before and after their time does, pause, go on; time is advanced, timers ring for nothing."""
    chance, loop = random.Random(seed), FakeLoop()
    pacer = Pacer(loop)

    class Moody(Client):
        def push(self, data):
            self.came.append((pacer.time(), data))
            if chance.random() < 0.2:
                self.stream.pause()

    known = []
    for _ in range(chance.randint(1, 6)):
        times = list(itertools.accumulate(chance.choice([0, 0.0001, 0.01, 1, 3600]) for _ in range(6)))
        known.append((PacedFrames([b"%d" % number for number in range(6)], times, pacer), times, [], []))

    def start(stream, starts):
        starts.append(pacer.time() - chance.choice([0, 5, 3599]))
        stream.start(starts[0])

    for number in range(80):
        stream, _, starts, clients = chance.choice(known)
        happens = chance.choice(["begin", "start", "pause", "resume", "advance", "pass", "ring"])
        if not starts and (happens == "start" or number > 70):
            start(stream, starts)
        elif not clients and (happens == "begin" or number > 70):
            clients.append(Moody(loop, stream))
        elif happens in ("pause", "resume") and clients and not clients[0].is_over:
            getattr(stream, happens)()
        elif happens == "advance":
            pacer.advance(chance.choice([0, 0.0003, 0.01, 1, 3599]))
        elif happens == "pass":
            loop.advance(chance.choice([0, 0.0002, 0.01, 1]))
        elif happens == "ring":
            loop.call_soon(pacer._run)
    for stream, times, starts, clients in known:
        if not starts:
            start(stream, starts)
        client = clients[0] if clients else Moody(loop, stream)
        for _ in range(20):
            if not client.is_over:
                stream.resume()
            pacer.advance(3600)
            loop.advance(0.002)
        assert client.is_over and b"".join(data for _, data in client.came) == b"012345"
        due = iter(times)
        assert all(at >= starts[0] + next(due) - 0.0006 for at, data in client.came for _ in data)
    loop.close()


def test_the_same_key_has_the_same_times(loop):
    pace = paced(loop, first="0.3 normal 20%", between="0.02 lognormal 0.4")
    times = pace.times(pace.moment(b"one", (), 0), 50)
    assert times == pace.times(pace.moment(b"one", (), 0), 50) and list(times) == sorted(times)
    assert times != pace.times(pace.moment(b"two", (), 0), 50)


def test_so_many_have_a_slot_and_others_wait_in_order(loop):
    pace = paced(loop, first="1", slots="2", queue="2")
    clients = [stream(loop, pace, 1) for _ in range(4)]
    with pytest.raises(ApiError) as refusal:
        stream(loop, pace, 1)
    error = refusal.value
    assert (error.status, error.code, error.fields) == (429, "engine_overloaded", (("retry-after", "1"),))
    loop.advance(1.002)
    assert [client.is_over for client in clients] == [True, True, False, False]
    late = stream(loop, pace, 1)
    loop.advance(1)
    assert [client.is_over for client in clients] == [True] * 4 and not late.is_over
    # The second turn began when the first was to end, and not a tick later.
    assert [round(client.came[0][0], 2) for client in clients] == [1, 1, 2, 2]


def test_a_long_line_falls_behind_no_further(loop):
    pace = paced(loop, first="0.0105", slots="1")
    clients = [stream(loop, pace, 1) for _ in range(500)]
    loop.advance(6)
    assert clients[-1].came[0][0] == pytest.approx(500 * 0.0105, abs=0.0016)


def test_a_client_that_leaves_makes_room_at_once(loop):
    pace = paced(loop, first="10", slots="1", queue="5")
    first, second, third = (stream(loop, pace, 1) for _ in range(3))
    loop.advance(1)
    second.stream.cancel()
    first.stream.cancel()
    first.stream.cancel()
    loop.advance(10.001)
    assert third.is_over and third.came[0][0] == pytest.approx(11, abs=0.002)
    assert not first.came and not second.came


def test_a_plain_answer_comes_with_its_last_word_and_gives_its_slot_back(loop):
    pace = paced(loop, first="0.5", between="0.1", slots="1")

    def ask():
        return loop.create_task(pace.after("answer", 6, pace.moment(b"", (), 0)))

    first, left, third = ask(), ask(), ask()
    loop.advance(0.5)
    left.cancel()
    loop.advance(0.502)
    assert first.done() and first.result() == "answer" and left.cancelled() and not third.done()
    loop.advance(0.5)
    third.cancel()
    last = ask()
    loop.advance(1.002)
    assert last.done() and third.cancelled()


def test_time_begins_when_the_request_came_and_not_when_its_answer_is_made(loop):
    """The first answer of a kind waits for its code, 60 ms: its first word would be as late, and all behind it."""
    pace = paced(loop, first="0.5", between="0.1")
    came_at = loop.time()
    loop.advance(0.06)
    late = Client(loop, pace.stream([b"0", b"1"], pace.moment(b"", (), 0, came_at)))
    plain = loop.create_task(pace.after("answer", 1, pace.moment(b"", (), 0, came_at)))
    loop.advance(0.438)
    assert not late.came and not plain.done()
    loop.advance(0.104)
    assert [round(when, 2) for when, _ in late.came] == [0.44, 0.54] and plain.done()


def test_a_request_that_came_before_the_clock_was_moved_on_is_as_far_on_as_the_loop_says(loop):
    pacer = Pacer(loop)
    pacer.advance(100)
    assert pacer.at(loop.time()) == pacer.time()


# ---- lengths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "body", "count"),
    [
        ("text", {"max_tokens": 100}, 3),
        ("text", {"max_tokens": 100, "ignore_eos": True}, 101),  # one too many, so that the limit cuts it
        ("text", {"max_completion_tokens": 100, "min_tokens": 5}, 101),
        ("text", {"min_tokens": 50}, 50),
        ("text", {"ignore_eos": True}, 3),
        ("text", {"ignore_eos": False, "min_tokens": 0}, 3),
        ("request", {"max_output_tokens": 7}, 8),
        ("request", {}, 3),
        ("normal(256,0)", {}, 256),
        ("text", {"max_tokens": 10**9, "ignore_eos": True}, 131_072),
    ],
)
@pytest.mark.parametrize("text", ["powered by openai", " three  words \n here ", "你好吗"])
def test_answers_are_as_long_as_they_are_to_be(length, body, count, text):
    said = Lengths(length, text).text(body, b"")
    assert len(split_words(said)) == count
    assert said.strip()[:2] == text.strip()[:2]


def test_drawn_lengths_have_their_mean_and_are_never_nothing():
    draws = make_whole_draws(256, 64)
    drawn = draws.several(b"key", 20_000)
    assert statistics.fmean(drawn) == pytest.approx(256, rel=0.005) and statistics.stdev(drawn) == pytest.approx(
        64, rel=0.02
    )
    assert min(make_whole_draws(2, 50).several(b"key", 1000)) >= 1
    lengths = Lengths("normal(256,64)", "a b")
    counts = {len(lengths.text({}, b"%d" % number).split()) for number in range(50)}
    assert len(counts) > 20 and lengths.text({}, b"1") == lengths.text({}, b"1")
