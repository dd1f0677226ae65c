"""The limiter, against two simple exact models: a scheduler of theoretical arrival times, and a bucket of fractions."""

from __future__ import annotations

import copy
import datetime
import pickle
import random
from fractions import Fraction

import pytest

from protocol.limiter import (
    FRESH,
    MOST_LEVEL,
    Calendar,
    Claim,
    Full,
    Limiter,
    LimiterRoom,
    Window,
    last_millisecond,
    read_windows,
    standing,
    taken,
)  # fmt: skip

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


# ---- budgets of a calendar day or month ------------------------------------------------------------------------------


def milliseconds(text):
    return int(datetime.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "now", "next_begins"),
    [
        ("day", "2026-11-30T00:00:00", "2026-12-01T00:00:00"),
        ("day", "2026-11-30T23:59:59.999", "2026-12-01T00:00:00"),
        ("month", "2026-11-30T23:59:59.999", "2026-12-01T00:00:00"),
        ("month", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2026-12-31T23:59:59.999", "2027-01-01T00:00:00"),
        ("month", "2027-02-28T12:00:00", "2027-03-01T00:00:00"),
        ("month", "2028-02-28T12:00:00", "2028-03-01T00:00:00"),
        ("month", "2028-02-29T12:00:00", "2028-03-01T00:00:00"),
        ("month", "2100-02-28T12:00:00", "2100-03-01T00:00:00"),
        ("month", "1970-01-01T00:00:01", "1970-02-01T00:00:00"),
    ],
)
def test_a_budget_is_whole_again_when_the_next_day_or_month_begins(period, now, next_begins):
    clock = Clock(milliseconds(now))
    limiter, claims = Limiter(clock), [Claim("a", Calendar(3, period), 2)]
    left = milliseconds(next_begins) - clock.milliseconds
    assert last_millisecond(period, clock.milliseconds) == clock.milliseconds + left - 1
    assert limiter.take(claims) == (True, [(1, left, 0)])
    assert limiter.take(claims) == (False, [(1, left, left)])
    clock.milliseconds += left - 1
    assert limiter.take(claims) == (False, [(1, 1, 1)])
    clock.milliseconds += 1
    assert limiter.take(claims)[0]


def test_months_are_those_of_the_calendar():
    day = datetime.date(1999, 12, 31)
    while day.year < 2105:
        following = (day.replace(day=1) + datetime.timedelta(32)).replace(day=1)
        assert last_millisecond("month", milliseconds(f"{day}T13:00:00")) == milliseconds(f"{following}T00:00:00") - 1
        day += datetime.timedelta(7)


def test_a_budget_is_counted_to_the_unit_up_to_its_most():
    budget = Calendar(MOST_LEVEL - 1, "month")
    limiter, claims = Limiter(Clock()), [Claim("a", budget, MOST_LEVEL - 3)]
    assert limiter.take(claims)[1][0].remaining == 2
    assert limiter.take([Claim("a", budget, 3)])[1][0].wait > 0
    assert limiter.take([Claim("a", budget, 2)])[1][0].remaining == 0
    limiter.settle([Claim("a", budget, 0)], MOST_LEVEL)
    limiter.settle([Claim("a", budget, 2)], 0)
    assert limiter.take([Claim("a", budget, 1)])[1][0][::2] == (0, 0)  # for no level is above MOST_LEVEL


def test_a_debt_of_a_budget_ends_with_its_period():
    clock = Clock(milliseconds("2026-11-30T23:00:00"))
    limiter, claims = Limiter(clock), [Claim("a", Calendar(10, "month"), 1)]
    limiter.take(claims)
    limiter.settle(claims, 1000)
    assert limiter.take(claims) == (False, [(0, 3_600_000, 3_600_000)])
    clock.milliseconds += 3_600_000
    assert limiter.take(claims)[1][0].remaining == 9


def test_what_a_budget_of_last_month_was_not_charged_is_not_given_to_this_one():
    """Nor is this one charged with what the last one was: a request belongs to the month that it came in."""
    clock = Clock(milliseconds("2026-11-30T23:59:59"))
    limiter, month, day = Limiter(clock), Calendar(10, "month"), Calendar(10, "day")
    claims = [Claim("a", month, 4), Claim("a", day, 4)]
    assert limiter.take(claims)[0]
    at = limiter.now
    clock.milliseconds += 2000
    assert limiter.take(claims)[0]
    limiter.settle_each(claims, [0, 0], at)
    limiter.settle_each(claims, [9, 9], at)
    assert [one.remaining for one in limiter.take([Claim("a", month, 1), Claim("a", day, 1)])[1]] == [5, 5]


def test_what_was_let_in_without_is_charged_whole():
    limiter, claims = Limiter(Clock()), [Claim("a", Calendar(10, "month"), 4), Claim("b", Window(10, MINUTE), 4)]
    limiter.settle_each(claims, [3, 5], 0)
    assert [one.remaining for one in limiter.take(claims)[1]] == [3, 1]


def test_what_was_spent_of_a_budget_stays_so_when_its_amount_is_changed():
    limiter = Limiter(Clock())
    assert limiter.take([Claim("a", Calendar(30, "month"), 30)])[0]
    assert limiter.take([Claim("a", Calendar(50, "month"), 1)])[1][0].remaining == 19
    assert limiter.take([Claim("a", Calendar(20, "month"), 1)])[1][0] == standing(
        Calendar(20, "month"), (last_millisecond("month", Clock().milliseconds), 31), Clock().milliseconds, 1
    )


def test_windows_and_budgets_are_copied():
    for window in (Window(200, MINUTE), Calendar(30, "month")):
        for copied in (copy.deepcopy(window), pickle.loads(pickle.dumps(window))):
            assert copied == window and type(copied) is type(window) and copied.kept_as == window.kept_as


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


@pytest.mark.parametrize("seed", SEEDS)
def test_several_at_once_are_counted_as_each_alone_by_the_two_functions(seed):
    """The plain twin of `take` and `settle_each`, in which the arithmetic is written out."""
    chance = random.Random(seed)
    windows = [Window(3, 1000), Window(200, MINUTE), Window(1000, DAY), Calendar(500, "day"), Calendar(900, "month")]
    clock = Clock(milliseconds("2026-12-30T12:00:00"))
    limiter, states, under_way = Limiter(clock), {}, []
    for _ in range(400):
        clock.milliseconds += chance.choice([0, 0, 3, 40, 700, MINUTE, 3_600_000])
        now = clock.milliseconds
        if under_way and chance.random() < 0.5:
            claims, at = under_way.pop(chance.randrange(len(under_way)))
            units = [chance.choice([0, claim.units, claim.units + 1, 40]) for claim in claims]
            at = chance.choice([0, at, at])
            limiter.settle_each(claims, units, at)
            for (subject, window, reserved), actual in zip(claims, units):
                is_over = at and type(window) is Calendar and last_millisecond(window.period, at) < now
                if not is_over:
                    more = actual - reserved if at else actual
                    states[subject, window] = taken(window, states.get((subject, window), FRESH), now, more)
        chosen = chance.sample(windows, chance.randint(1, 5))
        claims = [Claim(chance.choice("ab"), window, chance.choice([0, 1, 2, 70])) for window in chosen]
        before = [states.get(claim[:2], FRESH) for claim in claims]
        told = [standing(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
        is_in = all(one.wait == 0 for one in told)
        if is_in:
            after = [taken(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
            states.update(zip([claim[:2] for claim in claims], after))
            told = [standing(claim.window, state, now, 0) for claim, state in zip(claims, after)]
            under_way.append((claims, now))
        assert limiter.take(claims) == (is_in, told)


def test_a_clock_that_goes_backwards_is_told_of_alike():
    clock = Clock()
    limiter, claims = Limiter(clock), [Claim("a", Window(60, MINUTE), 40), Claim("a", Calendar(60, "day"), 40)]
    assert limiter.take(claims) == (True, [(20, 40_000, 0), (20, day_left := DAY - clock.milliseconds % DAY, 0)])
    clock.milliseconds -= 5000
    assert limiter.take(claims) == (False, [(20, 45_000, 25_000), (20, day_left + 5000, day_left + 5000)])
    limiter.settle(claims, 20)
    assert limiter.take(claims) == (True, [(0, 65_000, 0), (0, day_left + 5000, 0)])


# ---- bounded memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_forgetting_changes_nothing(seed):
    """A limiter of few subjects says what one of any number says, or that it is full; and it is full of busy ones."""
    chance = random.Random(seed)
    clock, windows = Clock(), [Window(3, 1000), Window(2, 7000)]
    few, many = Limiter(clock, LimiterRoom(6)), Limiter(clock)
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
    limiter = Limiter(clock, LimiterRoom(1))
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
