"""The limiter, against two simple exact models: a scheduler of theoretical arrival times, and a bucket of fractions."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from protocol.limiter import FRESH, Claim, Full, Limiter, Window, read_windows, standing, taken

MINUTE, DAY = 60_000, 86_400_000
SEEDS = range(12)


class Clock:
    """A clock that is set: seconds, as a Limiter wants them, and whole milliseconds, as the models count."""

    def __init__(self, milliseconds=1_700_000_000_000):
        self.milliseconds = milliseconds

    def __call__(self):
        return self.milliseconds / 1000


class Schedule:
    """GCRA as virtual scheduling (ITU-T I.371, Annex A): all that is known is when the next one is due."""

    def __init__(self, window):
        self.interval = Fraction(window.period, window.amount)
        self.period = window.period
        self.due = Fraction(0)

    def admits(self, now, units):
        due = max(self.due, Fraction(now)) + units * self.interval
        if due > now + self.period:
            return False
        self.due = due
        return True


class Bucket:
    """A leaking bucket in fractions of units, with every question answered by trying milliseconds out."""

    def __init__(self, window):
        self.window, self.at, self.level = window, 0, Fraction(0)

    def level_at(self, now):
        return max(Fraction(0), self.level - Fraction((now - self.at) * self.window.amount, self.window.period))

    def add(self, now, units):
        self.level, self.at = max(Fraction(0), self.level_at(now) + units), now

    def fits(self, now, units):
        return self.level_at(now) + units <= self.window.amount

    def remaining(self, now):
        return max(0, int(self.window.amount - self.level_at(now)))


def some_window(chance):
    return Window(chance.choice([1, 2, 3, 7, 60, 199, 1000, 200_000]), chance.choice([1000, MINUTE, DAY]))


def some_pause(chance, window):
    return int(chance.choice([0, 1, 17, window.period / window.amount, window.period / 10, window.period]))


# ---- the arithmetic -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_requests_are_admitted_as_virtual_scheduling_admits_them(seed):
    chance = random.Random(seed)
    window = some_window(chance)
    clock, schedule = Clock(), Schedule(window)
    limiter = Limiter(clock)
    for _ in range(400):
        clock.milliseconds += some_pause(chance, window)
        units = chance.choice([1, 1, 1, 2, max(1, window.amount // 3)])
        claims = [Claim("who", window, units)]
        assert limiter.take(claims)[0] == schedule.admits(clock.milliseconds, units)


@pytest.mark.parametrize("seed", SEEDS)
def test_estimates_and_settlements_are_counted_as_in_a_bucket_of_fractions(seed):
    chance = random.Random(seed)
    window = some_window(chance)
    bucket, state, now = Bucket(window), FRESH, 1_700_000_000_000
    under_way = []
    for _ in range(300):
        now += some_pause(chance, window)
        if under_way and chance.random() < 0.4:
            difference = chance.randint(0, 2 * window.amount) - under_way.pop(chance.randrange(len(under_way)))
            bucket.add(now, difference)
            state = taken(window, state, now, difference)
        units = chance.randint(1, window.amount)
        told = standing(window, state, now, units)
        assert told.remaining == bucket.remaining(now)
        assert (told.wait == 0) == bucket.fits(now, units)
        assert bucket.fits(now + told.wait, units) and not (told.wait and bucket.fits(now + told.wait - 1, units))
        assert bucket.level_at(now + told.reset) == 0 and not (
            told.reset and bucket.level_at(now + told.reset - 1) == 0
        )
        if told.wait == 0:
            bucket.add(now, units)
            state = taken(window, state, now, units)
            under_way.append(units)


@pytest.mark.parametrize(
    ("amount", "used", "asked", "wait"),
    [
        # What OpenAI's refusals tell, as users have reported them: Limit, Used, Requested, "Please try again in".
        (10_000, 8_554, 3_082, 9_816),
        (30_000, 29_937, 385, 644),
        (30_000, 14_567, 24_754, 18_642),
        (3, 3, 1, 20_000),
    ],
)
def test_waits_are_those_that_openai_tells(amount, used, asked, wait):
    window = Window(amount, MINUTE)
    state = taken(window, FRESH, 1_000_000, used)
    assert standing(window, state, 1_000_000, asked).wait == wait


def test_what_is_more_than_the_whole_window_never_fits():
    assert standing(Window(30_000, MINUTE), FRESH, 0, 31_538).wait is None


def test_all_numbers_are_exact_in_a_double():
    for text in ("1/s", "999999999/s", "200k/min", "7/day", "50000001/day", "1000M/day"):
        (window,) = read_windows(text)
        state = taken(window, FRESH, 1_700_000_000_000, window.amount)
        assert state[1] < 2**53 and (DAY * window.leak < 2**63)
        assert standing(window, state, 1_700_000_000_000, 1).remaining == 0


def test_a_clock_that_goes_backwards_gives_nothing_back():
    window = Window(3, MINUTE)
    state = taken(window, FRESH, 100_000, 3)
    assert standing(window, state, 40_000, 1).wait == 60_000 + 20_000
    assert taken(window, state, 40_000, 0) == state


# ---- several windows ------------------------------------------------------------------------------------------------


def test_all_that_is_claimed_together_is_taken_or_nothing_of_it():
    clock = Clock()
    limiter = Limiter(clock)
    minute, day, tokens = Window(3, MINUTE), Window(4, DAY), Window(1000, MINUTE)

    def ask(units):
        return limiter.take([Claim("a", minute, 1), Claim("a", day, 1), Claim("a", tokens, units)])

    assert ask(400)[0] and ask(400)[0]
    admitted, told = ask(400)
    assert not admitted and [one.wait for one in told] == [0, 0, 12_000]
    assert [one.remaining for one in told] == [1, 2, 200]
    assert ask(200)[0]  # for which nothing was taken by the one that was refused
    assert [one.remaining for one in ask(1)[1]] == [0, 1, 0]
    clock.milliseconds += MINUTE
    assert ask(1)[0] and not ask(1)[0]  # the day has been used up


@pytest.mark.parametrize("seed", SEEDS)
def test_no_span_that_begins_at_rest_takes_more_than_the_window_and_its_leak(seed):
    """Whatever the estimates are: what is used in all is bounded by amount, leak, and how far the last ones erred."""
    chance = random.Random(seed)
    window = Window(chance.choice([10, 1000]), MINUTE)
    clock, used, began = Clock(), 0, Clock().milliseconds
    limiter = Limiter(clock)
    for _ in range(300):
        clock.milliseconds += chance.choice([0, 1, 400, 3000])
        estimate = chance.randint(1, window.amount)
        claims = [Claim("a", window, estimate)]
        if limiter.take(claims)[0]:
            actual = chance.randint(0, 2 * window.amount)
            clock.milliseconds += chance.choice([0, 50, 9000])
            limiter.settle(claims, actual)
            used += actual
            debt = max(0, actual - estimate)
            leaked = Fraction((clock.milliseconds - began) * window.amount, window.period)
            assert used <= window.amount + leaked + debt


def test_a_debt_has_to_leak():
    clock = Clock()
    limiter, claims = Limiter(clock), [Claim("a", Window(60, MINUTE), 10)]
    assert limiter.take(claims)[0]
    limiter.settle(claims, 90)
    admitted, (told,) = limiter.take(claims)
    assert not admitted and told == (0, 90_000, 40_000)
    clock.milliseconds += told.wait - 1
    assert not limiter.take(claims)[0]
    clock.milliseconds += 1
    assert limiter.take(claims)[0]


def test_what_was_not_used_is_given_back():
    limiter, claims = Limiter(Clock()), [Claim("a", Window(100, MINUTE), 100)]
    assert limiter.take(claims)[0] and not limiter.take(claims)[0]
    limiter.settle(claims, 0)
    assert limiter.take(claims)[0]


def test_subjects_and_windows_are_counted_apart_and_reset_together():
    limiter, once = Limiter(Clock()), Window(1, MINUTE)
    for subject in ("a", "b", ("a", 1)):
        assert limiter.take([Claim(subject, once, 1)])[0]
    assert not limiter.take([Claim("a", once, 1)])[0]
    assert limiter.take([Claim("a", Window(2, MINUTE), 1)])[0]
    limiter.reset()
    assert limiter.take([Claim("a", once, 1)])[0]


# ---- bounded memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_forgetting_changes_nothing(seed):
    """A limiter of few subjects says what one of any number says, or that it is full; and it is full of busy ones."""
    chance = random.Random(seed)
    clock, windows = Clock(), [Window(3, 1000), Window(2, 7000)]
    few, many = Limiter(clock, most=6), Limiter(clock)
    busy = {}
    was_full = 0
    for _ in range(500):
        clock.milliseconds += chance.choice([0, 100, 400, 2000])
        subject = chance.randrange(12)
        claims = [Claim(subject, window, 1) for window in windows]
        busy = {key: until for key, until in busy.items() if until > clock.milliseconds}
        try:
            told = few.take(claims)
        except Full as full:
            was_full += 1
            assert len(busy) + len({(subject, window) for window in windows} - busy.keys()) > 6
            assert full.wait > 0
            continue
        assert told == many.take(claims)
        if told[0]:
            for window, one in zip(windows, told[1]):
                busy[subject, window] = clock.milliseconds + one.reset
    assert was_full


def test_a_settlement_is_kept_for_a_subject_that_was_forgotten():
    clock = Clock()
    limiter = Limiter(clock, most=1)
    first, second = ([Claim(name, Window(60, MINUTE), 1)] for name in "ab")
    assert limiter.take(first)[0]
    clock.milliseconds += 1000
    assert limiter.take(second)[0]  # in the place of the first one, of which nothing was left
    limiter.settle(first, 61)
    assert not limiter.take(first)[0]


# ---- what is written ------------------------------------------------------------------------------------------------


def test_windows_are_read():
    assert read_windows("3/min, 100/day") == [Window(3, MINUTE), Window(100, DAY)]
    assert read_windows("200k/min") == [Window(200_000, MINUTE)]
    assert read_windows("1M / day,5/s") == [Window(1_000_000, DAY), Window(5, 1000)]


@pytest.mark.parametrize(
    "text", ["", "3", "3/fortnight", "0/min", "-1/min", "1.5/min", "3/min, 4/minute", "50000003M/day"]
)
def test_other_texts_are_no_windows(text):
    with pytest.raises(ValueError, match="expected"):
        read_windows(text)
