"""The engine: a description of two resources, and everything that its verbs do with them."""

from __future__ import annotations

import json
import random
import sys
from types import SimpleNamespace

import pytest
from mocks import Clock, ask, make_mock, make_request, mock_settings

from protocol.errors import ApiError
from protocol.mock.engine.resources import Resources
from protocol.mock.engine.store import Shelf, Store
from protocol.mock.engine.time_and_chance import FROZEN_SECONDS, TimeAndChance
from protocol.mock.engine.world import World
from protocol.openai.api.operations import Operation, Reference, Stage

DESCRIPTION = """\
# A comment says what must be known.
GET /boxes lists Box
  ? {after? str, before? str, limit? int 0.., order? "asc"|"desc", colour? str}
POST /boxes creates Box as box_
  < {name str, colour? "red"|"blue", size? int 0..9, metadata? map str, note? str}
GET /boxes/{box_id} gives Box
POST /boxes/{box_id} updates Box
  < {name? str}
DELETE /boxes/{box_id} deletes {id str, object "box.deleted", deleted bool}
POST /boxes/{box_id}/close sets Box with {status "closed"}
GET /boxes/{box_id}/things lists Thing by next
POST /boxes/{box_id}/things creates Thing as thing_ through queued 2 running 3 done
GET /boxes/{box_id}/things/{thing_id} gives Thing
GET /boxes/{box_id}/limit gives Limit
POST /boxes/{box_id}/limit updates Limit
  < {amount int}
POST /guesses answers {id str, score num, words [str]} as guess_
DELETE /boxes/{box_id}/lid deletes nothing
Box = {id str, object "box", created_at time, name str, status "open"|"closed", colour? "red"|"blue", closed_at? time,
  metadata? map str, owner Owner|null}
Owner = {id str}
Thing = {id str, box_id str, status "queued"|"running"|"done", done_at? time, progress int}
Limit = {object "limit", box_id str, amount int}
"""


class Engine:
    """The engine over DESCRIPTION, with a clock that the test sets."""

    def __init__(self, **settings):
        self.seconds = 1700000000.0
        self.reference = Reference(lambda: (DESCRIPTION,))
        bits = random.Random(3).getrandbits
        time = TimeAndChance(mock_settings(**settings), clock=lambda: self.seconds, random_bits=bits, sleep=None)
        shelf = Shelf(most_records=10_000, most_bytes=1 << 28)
        self.world = World(time, self.reference, shelf, forward=None, ask=None)
        self.resources = Resources(self.world, lambda operation: None)

    def respond(self, method, path, body=None):
        request = make_request(method, path, body)
        found = self.reference.find(request.path)
        operation = self.reference.operation(found.methods[method])
        return self.resources.endpoint(operation, found.names).answer(request)

    def ask(self, method, path, body=None):
        return json.loads(self.respond(method, path, body).body)

    def refused(self, method, path, body=None):
        with pytest.raises(ApiError) as caught:
            self.respond(method, path, body)
        return caught.value


@pytest.fixture
def engine():
    return Engine()


# ---- the description --------------------------------------------------------------------------------------------


def test_reads_an_operation():
    operation = Reference(lambda: (DESCRIPTION,)).operation("POST /boxes/{box_id}/things")
    assert (operation.verb, operation.prefix, operation.collection) == ("creates", "thing_", "/boxes/{box_id}/things")
    assert operation.stages == (Stage("queued", 2), Stage("running", 3), Stage("done", 0))
    closing = Reference(lambda: (DESCRIPTION,)).operation("POST /boxes/{box_id}/close")
    assert (closing.sets, closing.collection) == ({"status": "closed"}, "/boxes")
    assert Reference(lambda: (DESCRIPTION,)).operation("GET /boxes/{box_id}/things").page == "next"
    assert Reference(lambda: (DESCRIPTION,)).operation("DELETE /boxes/{box_id}/lid").result is None


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/boxes", {}),
        ("/boxes/b1", {"box_id": "b1"}),
        ("/boxes/a%2Fb/things/t", {"box_id": "a%2Fb", "thing_id": "t"}),
        ("/boxes/", None),
        ("/box", None),
        ("/boxes/b1/nothing", None),
        ("/boxes/b1/things/t/more", None),
    ],
)
def test_finds_by_path(path, names):
    found = Reference(lambda: (DESCRIPTION,)).find(path)
    assert (found and dict(found.names)) == names


@pytest.mark.parametrize(
    "text",
    ["GET /a takes B", "GET /a gives str by", "GET /a gives str more", "GET /a sets str with str", "GET /a gives {"],
)
def test_a_mistake_in_the_description_is_told(text):
    with pytest.raises((ValueError, TypeError)):
        operation = Reference(lambda: (text,)).operation("GET /a")
        assert not isinstance(operation, Operation)


# ---- the verbs --------------------------------------------------------------------------------------------------


def test_creates_gives_updates_and_deletes(engine):
    made = engine.ask("POST", "/boxes", {"name": "a", "colour": "red", "note": "not shown", "metadata": {"k": "v"}})
    assert made == {
        "id": made["id"], "object": "box", "created_at": 1700000000, "name": "a", "status": "open", "colour": "red",
        "metadata": {"k": "v"}, "owner": None,
    }  # fmt: skip
    assert made["id"].startswith("box_")
    path = f"/boxes/{made['id']}"
    assert engine.ask("GET", path) == made
    engine.seconds += 100
    changed = engine.ask("POST", path, {"name": "b"})
    assert changed == {**made, "name": "b"}
    assert engine.ask("GET", path) == changed
    assert engine.ask("DELETE", path) == {"id": made["id"], "object": "box.deleted", "deleted": True}
    assert engine.refused("GET", path).status == 404


def test_an_action_sets_what_the_description_says(engine):
    made = engine.ask("POST", "/boxes", {"name": "a"})
    closed = engine.ask("POST", f"/boxes/{made['id']}/close")
    assert (closed["status"], closed["closed_at"]) == ("closed", 1700000000)
    assert engine.ask("GET", f"/boxes/{made['id']}")["status"] == "closed"


def test_a_singleton_is_there_from_the_first_time(engine):
    box = engine.ask("POST", "/boxes", {"name": "a"})["id"]
    assert engine.ask("GET", f"/boxes/{box}/limit") == {"object": "limit", "box_id": box, "amount": 0}
    assert engine.ask("POST", f"/boxes/{box}/limit", {"amount": 5})["amount"] == 5
    assert engine.ask("GET", f"/boxes/{box}/limit")["amount"] == 5


def test_an_answer_is_made_up_and_forgotten(engine):
    made = engine.ask("POST", "/guesses")
    assert made == {"id": made["id"], "score": 0, "words": []}
    assert made["id"].startswith("guess_")


def test_nothing_is_said_where_nothing_is_described(engine):
    assert engine.ask("DELETE", "/boxes/b/lid") == {"id": "lid", "deleted": True}


def test_children_need_their_parent_and_go_with_it(engine):
    assert engine.refused("POST", "/boxes/nope/things").status == 404
    assert engine.refused("GET", "/boxes/nope/things").status == 404
    box = engine.ask("POST", "/boxes", {"name": "a"})["id"]
    thing = engine.ask("POST", f"/boxes/{box}/things")
    assert thing["box_id"] == box
    engine.ask("DELETE", f"/boxes/{box}")
    assert engine.world.store.get(f"/boxes/{box}/things", thing["id"]) is None


# ---- pages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def five(engine):
    engine.ids = [
        engine.ask("POST", "/boxes", {"name": name, "colour": "red" if name < "c" else "blue"})["id"]
        for name in "abcde"
    ]
    return engine


def names_of(page):
    return "".join(one["name"] for one in page["data"])


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ("", "edcba", False),
        ("order=asc", "abcde", False),
        ("limit=2", "ed", True),
        ("limit=2&order=asc", "ab", True),
        ("limit=5", "edcba", False),
        ("limit=0", "edcba", False),
        ("order=asc&colour=blue", "cde", False),
        ("colour=red&limit=1", "b", True),
    ],
)
def test_pages(five, query, names, has_more):
    page = five.ask("GET", f"/boxes?{query}")
    assert (names_of(page), page["has_more"], page["object"]) == (names, has_more, "list")
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])


def test_cursors_walk_both_ways(five):
    first = five.ask("GET", "/boxes?limit=2")
    second = five.ask("GET", f"/boxes?limit=2&after={first['last_id']}")
    last = five.ask("GET", f"/boxes?limit=2&after={second['last_id']}")
    assert [names_of(page) for page in (first, second, last)] == ["ed", "cb", "a"]
    assert [page["has_more"] for page in (first, second, last)] == [True, True, False]
    assert names_of(five.ask("GET", f"/boxes?limit=2&before={last['first_id']}")) == "cb"


def test_a_page_by_next_says_where_the_next_one_begins(engine):
    box = engine.ask("POST", "/boxes", {"name": "a"})["id"]
    ids = [engine.ask("POST", f"/boxes/{box}/things")["id"] for _ in range(3)]
    page = engine.ask("GET", f"/boxes/{box}/things")
    assert (page["next"], [one["id"] for one in page["data"]]) == (None, ids[::-1])


def test_an_empty_page_has_no_ends(engine):
    page = engine.ask("GET", "/boxes")
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


# ---- checks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "param", "code"),
    [
        ("POST", "/boxes", {}, "name", "missing_required_parameter"),
        ("POST", "/boxes", {"name": 1}, "name", "invalid_type"),
        ("POST", "/boxes", {"name": "a", "colour": "green"}, "colour", "invalid_value"),
        ("POST", "/boxes", {"name": "a", "size": 10}, "size", "integer_above_max_value"),
        ("POST", "/boxes", {"name": "a", "metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ("GET", "/boxes?limit=x", None, "limit", "invalid_type"),
        ("GET", "/boxes?order=up", None, "order", "invalid_value"),
    ],
)
def test_requests_are_checked_against_the_description(engine, method, path, body, param, code):
    error = engine.refused(method, path, body)
    assert (error.status, error.param, error.code) == (400, param, code)


def test_warn_lets_pass_and_says_what_is_wrong():
    response = Engine(validate="warn").respond("POST", "/boxes", {"name": 1})
    assert b"x-oaiserve-warning: Invalid type for 'name'" in response.fields
    assert json.loads(response.body)["name"] == "example name"


def test_off_says_nothing():
    response = Engine(validate="off").respond("POST", "/boxes", {"colour": 7})
    assert (response.status, b"warning" in response.fields) == (200, False)


# ---- ids that nobody created ------------------------------------------------------------------------------------


def test_an_unknown_id_is_not_found(engine):
    error = engine.refused("GET", "/boxes/box_x")
    assert (error.status, error.code, error.message) == (404, "not_found", "Box with id 'box_x' not found.")


def test_an_unknown_id_is_invented_once_and_for_all():
    engine = Engine(unknown_ids="invent")
    made = engine.ask("GET", "/boxes/box_x")
    assert (made["id"], made["object"]) == ("box_x", "box")
    engine.ask("POST", "/boxes/box_x", {"name": "mine"})
    assert engine.ask("GET", "/boxes/box_x")["name"] == "mine"
    assert engine.ask("GET", "/boxes/other/things/t1")["box_id"] == "other"
    assert engine.ask("POST", "/boxes/new/close")["status"] == "closed"


# ---- time and chance --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "after", "status"),
    [(1, 1.9, "queued"), (1, 2, "running"), (1, 5, "done"), (10, 0.5, "done"), (0, 99, "queued")],
)
def test_a_life_cycle_goes_by_the_clock_and_its_speed(speed, after, status):
    engine = Engine(speed=float(speed))
    box = engine.ask("POST", "/boxes", {"name": "a"})["id"]
    made = engine.ask("POST", f"/boxes/{box}/things")
    assert made["status"] == "queued"
    engine.seconds += after
    seen = engine.ask("GET", f"/boxes/{box}/things/{made['id']}")
    assert seen["status"] == status
    assert (seen.get("done_at"), seen["progress"]) == ((int(engine.seconds), 100) if status == "done" else (None, 0))


def scenario(**settings):
    engine = Engine(**settings)
    engine.seconds += scenario.calls * 1000
    scenario.calls += 1
    made = engine.ask("POST", "/boxes", {"name": "a"})
    return json.dumps([made, engine.ask("POST", f"/boxes/{made['id']}/close"), engine.ask("POST", "/guesses")])


scenario.calls = 0


def test_freeze_makes_two_runs_equal_to_the_byte():
    assert scenario(freeze=True) == scenario(freeze=True)
    assert json.loads(scenario(freeze=True))[0]["created_at"] == FROZEN_SECONDS
    assert scenario() != scenario()


def test_the_same_seed_gives_the_same_ids():
    ids = [json.loads(scenario(seed=seed))[0]["id"] for seed in ("1", "1", "2")]
    assert ids[0] == ids[1] != ids[2]


# ---- the store --------------------------------------------------------------------------------------------------


def time_of(clock=lambda: 0.0):
    return TimeAndChance(mock_settings(), clock=clock, random_bits=None, sleep=None)


def make_store(*, clock=lambda: 0.0, **bounds):
    return Store(time_of(clock), Shelf(**bounds))


def weight(value):
    """Return how many bytes a record of an object counts for: what it takes in memory, which Pythons differ in."""
    return make_store(most_records=1, most_bytes=10**6).add("/a", "1", value).size


def test_a_record_counts_for_what_it_takes_in_memory():
    assert sys.getsizeof("x" * 10_000) < weight({"text": "x" * 10_000}) < 12_000
    assert weight([[]] * 1000) > 1000 * sys.getsizeof([])  # as JSON it is 4,000 bytes


def test_the_oldest_records_go_when_there_are_too_many():
    store = make_store(most_records=3, most_bytes=10_000)
    for number in range(5):
        store.add("/a", str(number), {})
    assert [record.id for record in store.all("/a")] == ["2", "3", "4"]


def test_the_oldest_contents_go_when_they_are_too_large():
    store = make_store(most_records=10, most_bytes=3 * weight({}) + 10_000)
    for number in range(3):
        store.add("/a", str(number), {}, b"x" * 4_000)
    assert [record.id for record in store.all("/a")] == ["1", "2"]
    store.set_content(store.get("/a", "1"), b"")
    store.add("/a", "3", {}, b"x" * 6_000)
    assert [record.id for record in store.all("/a")] == ["1", "2", "3"]


def test_what_lies_below_a_record_goes_with_it():
    store = make_store(most_records=10, most_bytes=10_000)
    store.add("/a", "1", {})
    store.add("/a/1/b", "2", {})
    store.add("/a/1/b/2/c", "3", {}, b"x")
    store.add("/a/10/b", "4", {})
    assert store.remove("/a", "1") is True
    assert (store.all("/a/1/b"), store.all("/a/1/b/2/c")) == ([], [])
    assert len(store.all("/a/10/b")) == 1
    assert store.remove("/a", "1") is False


def test_a_record_of_the_same_id_replaces_the_other():
    store = make_store(most_records=10, most_bytes=weight({"n": 1}) + 10_000)
    store.add("/a", "1", {"n": 1}, b"x" * 9_000)
    store.add("/a", "1", {"n": 2}, b"x" * 9_000)
    assert [record.object for record in store.all("/a")] == [{"n": 2}]


def test_plans_are_carried_out_in_their_order_when_due():
    now = SimpleNamespace(seconds=0.0)
    store = make_store(clock=lambda: now.seconds, most_records=10, most_bytes=10_000)
    record = store.add("/a", "1", {"seen": ""})
    for due in (1.0, 2.0):
        record.plan.append((due, lambda record, due=due: record.object.update(seen=record.object["seen"] + str(due))))
    assert store.get("/a", "1").object["seen"] == ""
    now.seconds = 2.0
    assert store.all("/a")[0].object["seen"] == "1.02.0"
    assert store.get("/a", "1").plan == []


# ---- stores that share a shelf


def put_up(*, stores=2, **bounds):
    """Return a shelf and the stores on it."""
    shelf = Shelf(**bounds)
    return [Store(time_of(), shelf) for _ in range(stores)]


def ids(store):
    return [record.id for record in store.all("/a")]


def test_all_stores_of_a_shelf_hold_what_one_may():
    one, other = put_up(most_records=4, most_bytes=10_000)
    for number in range(9):
        one.add("/a", f"one {number}", {})
        other.add("/a", f"other {number}", {})
    assert one.count + other.count == 4


def test_the_store_with_the_most_records_makes_room():
    one, other = put_up(most_records=4, most_bytes=10_000)
    one.add("/a", "kept", {})
    for number in range(9):
        other.add("/a", str(number), {})
    assert ids(one) == ["kept"] and ids(other) == ["6", "7", "8"]
    one.add("/a", "also kept", {})
    assert ids(one) == ["kept", "also kept"] and ids(other) == ["7", "8"]


def test_the_store_with_the_most_bytes_makes_room():
    one, other = put_up(most_records=100, most_bytes=5 * weight({}) + 10_000)
    for number in range(4):
        one.add("/a", str(number), {})
    other.add("/a", "first", {}, b"x" * 6_000)
    other.add("/a", "second", {}, b"x" * 6_000)
    assert ids(one) == ["0", "1", "2", "3"] and ids(other) == ["second"]


def test_what_alone_is_too_large_stays_and_only_in_one_store():
    stores = put_up(stores=5, most_records=100, most_bytes=10_000)
    for number, store in enumerate(stores):
        store.add("/a", str(number), {}, b"x" * 20_000)
    assert [ids(store) for store in stores] == [[], [], [], [], ["4"]]


def test_a_store_that_is_closed_gives_back_its_room():
    one, other = put_up(most_records=4, most_bytes=10_000)
    one.add("/a", "1", {}, b"x" * 5_000)
    one.close()
    one.close()
    one.add("/a", "2", {}, b"x" * 5_000)  # a request that is under way goes on
    for number in range(4):
        other.add("/a", str(number), {}, b"x" * 1_500)
    assert len(ids(other)) == 4 and not one.remove("/a", "1") and one.remove("/a", "2")
    other.add("/a", "4", {})
    assert ids(other) == ["1", "2", "3", "4"]


# ---- memory and time


def test_what_something_is_added_below_is_as_new_as_that():
    store = make_store(most_records=4, most_bytes=10_000)
    store.add("/a", "1", {})
    store.add("/b", "1", {})
    for number in range(9):
        store.add("/a/1/c", str(number), {})
    assert store.get("/a", "1") and store.get("/b", "1") is None
    assert [record.id for record in store.all("/a/1/c")] == ["6", "7", "8"]


def test_what_there_is_one_of_goes_with_what_it_is_of():
    store = make_store(most_records=9, most_bytes=10_000)
    store.add("/a", "1", {})
    store.add("/a/1", "only", {})
    store.add("/a/1/c/2/d", "3", {})
    store.add("/a/10/c", "4", {})
    assert store.remove("/a", "1")
    assert not store.all("/a/1") and not store.all("/a/1/c/2/d") and store.all("/a/10/c")


@pytest.mark.parametrize("id", ["{}", "name", "methods", "%7Bfile_id%7D", "a%2Fb", "%2F", "..", "%00"])
def test_an_id_may_be_anything(id):
    with pytest.raises(ApiError) as refused:
        ask(make_mock(), "GET", f"/v1/vector_stores/{id}/files/{id}")
    assert refused.value.status == 404 and refused.value.code == "not_found"
    mock = make_mock(unknown_ids="invent")
    assert ask(mock, "GET", f"/v1/vector_stores/{id}/files/{id}")["object"] == "vector_store.file"
    assert ask(mock, "GET", f"/v1/vector_stores/{id}")["file_counts"]["total"] == 1


def test_objects_and_notes_count_as_bytes():
    each = weight({"text": "x" * 189})
    store = make_store(most_records=100, most_bytes=5 * each)
    for number in range(9):
        store.add("/a", str(number), {"text": "x" * 189})
    assert len(store.all("/a")) == 5
    store.set_size(store.get("/a", "8"), 4 * each)
    assert [record.id for record in store.all("/a")] == ["7", "8"]


def test_a_change_happens_when_it_was_due_whenever_somebody_looks():
    clock = Clock()
    mock = make_mock(clock=clock, speed=2)
    job = ask(mock, "POST", "/v1/videos", {"prompt": "x"})
    clock.now += 1000
    video = ask(mock, "GET", f"/v1/videos/{job['id']}")
    assert video["completed_at"] - video["created_at"] in (2, 3)  # (1 + 4) / 2 seconds
