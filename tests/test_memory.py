"""What requests and answers hold in memory: how it is counted, and what happens where there is no room for more.

All figures are of the server's own account (HeldBytes), so that no test depends on the machine.
"""

from __future__ import annotations

import tracemalloc

import pytest
from test_server import Delivered, House, Pushing, chunks, post, request, streamed, text

from protocol.errors import ApiError
from protocol.exchange import Paced, Request, Response
from protocol.held_bytes import HeldBytes
from protocol.wire.http1.messages import Fields, RequestHead

MEGABYTE = 1 << 20


@pytest.fixture
def open_house():
    """Give a maker of houses; each is closed at the end, and nothing may count as held then."""
    houses = []

    def make(**settings):
        houses.append(House(**settings))
        return houses[-1]

    yield make
    for house in houses:
        try:
            house.check()
        finally:
            house.loop.close()


def held(house):
    return house.server.held.held


def answer_later(house, path="/later"):
    """Add an endpoint whose answers are delivered by the test; return where they are gathered."""
    pending = []

    def answer(request):
        pending.append(Delivered())
        return pending[-1]

    house.add(path, answer)
    return pending


def head_of(body_bytes, *fields):
    return post("/later", b"", *fields).replace(b"content-length: 0", b"content-length: %d" % body_bytes)


def check_refused(client):
    """Assert that a client was told that memory is full, and when to come again."""
    reply = client.reply("POST")
    assert (reply.status, reply.fields["retry-after"]) == (503, "1") and b"memory_full" in reply.body


# ---- the account ----------------------------------------------------------------------------------------------------


def test_the_account_adds_up_and_tells_when_it_is_full():
    account = HeldBytes(100)
    account.take(60)
    assert (account.held, account.is_full, account.has_room(40), account.has_room(41)) == (60, False, True, False)
    with pytest.raises(ApiError) as refused:
        account.take(41)
    assert (refused.value.status, account.held) == (503, 60)
    account.add(50)
    assert (account.held, account.is_full) == (110, True)
    account.add(-110)
    assert (account.held, account.is_full) == (0, False)


def test_a_body_that_several_send_counts_once():
    account = HeldBytes(100)
    body, other = b"x" * 70, b"y" * 70
    account.share(body)
    account.share(body)
    assert account.held == 70
    with pytest.raises(ApiError):
        account.share(other)
    account.let_go(body)
    assert account.held == 70
    account.let_go(body)
    assert account.held == 0
    account.share(other)
    assert account.held == 70


def test_no_limit_is_never_full():
    account = HeldBytes(0)
    account.take(1 << 60)
    assert account.has_room(1 << 60) and not account.is_full


def test_the_account_says_once_that_something_large_comes():
    told = []
    account = HeldBytes(0, lambda: told.append(account.held))
    account.take(200_000)
    assert not told
    account.take(300_000)
    account.take(300_000)
    assert told == [200_000]


# ---- bodies ---------------------------------------------------------------------------------------------------------


def test_a_body_counts_with_its_whole_length_from_its_head_and_for_what_is_read_of_it_until_its_answer_is_out(
    open_house,
):
    house = open_house()
    pending = answer_later(house)
    client = house.client(head_of(MEGABYTE), b"x" * 1000)
    assert held(house) == 2 * MEGABYTE
    client.send(b"x" * (MEGABYTE - 1000))
    assert held(house) == 2 * MEGABYTE and pending
    pending[0].deliver(text("done"))
    house.loop.settle()
    assert held(house) == 0 and client.reply("POST").status == 200


def test_a_body_of_unknown_length_counts_as_it_grows(open_house):
    house = open_house(max_memory="2M")
    pending = answer_later(house)
    client = house.client(post("/later", None, "transfer-encoding: chunked"))
    for count in range(1, 5):
        client.send(chunks(b"x" * 100_000))
        assert held(house) == pytest.approx(2 * count * 100_000, abs=200)
    client.send(b"0\r\n\r\n")
    assert held(house) == 800_000
    pending[0].deliver(text("done"))
    house.loop.settle()
    assert held(house) == 0


def test_a_small_body_counts_while_its_answer_is_awaited_and_so_does_what_it_says(open_house):
    house = open_house()
    pending = answer_later(house)
    client = house.client(post("/later", b"x" * 10_000))
    client.send(b"")
    assert held(house) == 20_000
    pending[0].deliver(text("done"))
    house.loop.settle()
    assert held(house) == 0
    client.send(post("/later", b"[]," * 4_000))  # the head is known now: the short way
    assert held(house) == 24_000 + 4_000 * 2 * 64


LONG_BODIES = {
    "lists": b"[]," * 60_000,
    "objects": b'{"a":1},' * 40_000,
    "strings": b'"ab",' * 60_000,
    "numbers": b"1.5," * 100_000,
    "some strings": b'"abcdefgh",' * 9_000,
    "a long string": b'"' + b"x" * 3_000_000 + '\U0001f600",'.encode(),
    "a string": b'"' + b"x" * 500_000 + b'\\ud83d\\ude00",',
}


@pytest.mark.parametrize("kind", LONG_BODIES)
def test_what_a_long_body_says_counts_for_what_it_takes(kind):
    account = HeldBytes(1 << 30)
    asked = Request(RequestHead("POST", "/", 1, Fields([])), "id", "peer", account)
    asked.body = b'{"a":[' + LONG_BODIES[kind] + b"0]}"
    tracemalloc.start()
    try:
        asked.json()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken * 0.95 < account.held < taken * 5
    asked.hold_no_more()
    assert account.held == 0


def test_a_long_body_is_told_503_where_there_is_no_room_for_what_it_says():
    account = HeldBytes(10 * MEGABYTE)
    asked = Request(RequestHead("POST", "/", 1, Fields([])), "id", "peer", account)
    asked.body = b"[" + LONG_BODIES["lists"] + b"0]"
    account.take(9 * MEGABYTE)
    with pytest.raises(ApiError) as refused:
        asked.json()
    assert refused.value.code == "memory_full"
    asked.hold_no_more()
    assert account.held == 9 * MEGABYTE


READ = {
    "lists": (LONG_BODIES["lists"], ()),
    "objects": (LONG_BODIES["objects"], ()),
    "strings": (LONG_BODIES["strings"], ("content-type: application/json",)),
    "some strings": (LONG_BODIES["some strings"], ("content-type: application/json; charset=utf-8",)),
    "a wide string": (b'"' + "😀".encode() * 20_000 + b'",', ()),
    "prose": (b'"' + b"so, and so, " * 30_000 + b'",', ()),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("way", ["with a length", "chunked"])
def test_a_body_that_is_in_is_read_though_there_is_no_room_for_anything_else(open_house, kind, way):
    house = open_house(max_memory="200M")
    read, pending = [], []

    def answer(request):
        read.append(request.json())
        pending.append(Delivered())
        return pending[-1]

    house.add("/later", answer)
    inside, fields = READ[kind]
    body = b'{"a":[' + inside + b"0]}"
    if way == "chunked":
        client = house.client(post("/later", None, "transfer-encoding: chunked", *fields))
        pieces = [*(chunks(body[at : at + 50_000]) for at in range(0, len(body), 50_000)), b"0\r\n\r\n"]
    else:
        client = house.client(head_of(len(body), *fields))
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    for piece in pieces[:-1]:
        client.send(piece)
    account = house.server.held
    mine = account.held
    assert mine > 2 * (len(body) - 100_000)
    client.send(pieces[-1])
    others = account.most - account.held
    account.add(others)  # before the body is read, in turns
    house.loop.advance(1)
    assert len(read) == len(pending) == 1, client.received[:300]
    assert account.held == account.most
    account.add(-others)
    pending[0].deliver(text("done"))
    house.loop.settle()
    assert client.reply("POST").status == 200 and held(house) == 0


def test_the_parts_of_a_form_that_is_in_have_room():
    account = HeldBytes(100_000)
    asked = Request(RequestHead("POST", "/", 1, Fields([])), "id", "peer", account)
    account.take(100_000)
    asked.made_room = 70_000
    asked.hold_part(40_000)
    asked.hold_part(30_000)
    with pytest.raises(ApiError) as refused:
        asked.hold_part(1)
    assert (refused.value.status, asked.held_bytes, account.held) == (503, 0, 100_000)


def test_a_body_that_would_never_find_room_to_be_read_is_too_large(open_house):
    house = open_house(max_memory="2M")
    pending = answer_later(house)
    client = house.client(head_of(900_000))
    client.send(b"[]," * 20_000)
    reply = client.reply("POST")
    assert (reply.status, "retry-after" in reply.fields, pending) == (413, False, [])
    assert b"body_too_large" in reply.body and held(house) == 0


@pytest.mark.parametrize("leave", ["reset", "time_out", "answer_without_reading"])
def test_nothing_counts_once_its_request_or_connection_is_over(open_house, leave):
    house = open_house(body_timeout=5)
    answer_later(house)
    client = house.client(head_of(MEGABYTE), b"x" * 1000)
    assert held(house) == 2 * MEGABYTE
    if leave == "reset":
        client.reset()
    else:
        house.loop.advance(6)
    assert held(house) == 0


def test_a_body_without_room_is_told_503_before_it_is_read_and_those_that_are_in_go_on(open_house):
    house = open_house(max_memory="4M")
    pending = answer_later(house)
    first = house.client(head_of(1_500_000))
    second = house.client(head_of(1_500_000, "expect: 100-continue"))
    check_refused(second)
    assert b"100 Continue" not in second.received
    first.send(b"x" * 1_500_000)
    pending[0].deliver(text("done"))
    house.loop.settle()
    assert first.reply("POST").status == 200
    third = house.client(head_of(1_500_000), b"x" * 1_500_000)
    pending[1].deliver(text("done"))
    house.loop.settle()
    assert third.reply("POST").status == 200


def test_a_body_of_unknown_length_is_told_503_where_the_room_ends(open_house):
    house = open_house(max_memory="2M", max_body="1M")
    pending = answer_later(house)
    house.client(head_of(900_000))
    client = house.client(post("/later", None, "transfer-encoding: chunked"), chunks(b"x" * 60_000))
    assert not client.received
    client.send(chunks(b"x" * 90_000))
    check_refused(client)
    assert held(house) == 1_800_000 and not pending


def test_a_body_that_would_never_find_room_is_too_large(open_house):
    house = open_house(max_memory="2M")
    answer_later(house)
    assert house.client(head_of(MEGABYTE + 1)).reply("POST").status == 413


def test_while_memory_is_full_only_what_watches_over_the_server_is_answered(open_house):
    house = open_house(max_memory="2M")
    answer_later(house)
    house.add("/health", lambda request: text("well"), is_vital=True)
    known = house.client(request(), request())
    holder = house.client(head_of(MEGABYTE))
    assert house.server.held.is_full
    for client in (known, house.client()):
        client.send(request())
        assert client.replies(*["GET"] * 3)[-1].status == 503
    assert known.replies(*["GET"] * 3)[-1].fields["retry-after"] == "1"
    assert house.client(request("/health")).reply().status == 200
    known.send(request("/health"))  # the connection stays
    assert known.replies(*["GET"] * 4)[-1].status == 200
    holder.reset()
    known.send(request())
    assert known.replies(*["GET"] * 5)[-1].status == 200


def test_heads_that_drip_and_requests_that_wait_count(open_house):
    house = open_house()
    pending = answer_later(house)
    dripping = house.client(request()[:-2] + b"x: " + b"y" * 10_000)
    assert held(house) == len(request()) + 10_001
    dripping.reset()
    assert held(house) == 0
    waiting = house.client(request("/later"), post("/later", b"x" * 70_000))
    assert held(house) > 65_536
    waiting.reset()
    assert held(house) == 0 and len(pending) == 1


# ---- answers --------------------------------------------------------------------------------------------------------


def large(kind, body):
    """Return an endpoint's function that answers with a body in one of the ways in which it can be ready."""
    if kind == "bytes":
        return lambda request: text(body)
    return lambda request: Response(200, [], Paced([body[:1000], body[1000:]], first_delay=0, delay=0))


@pytest.mark.parametrize("kind", ["bytes", "paced"])
@pytest.mark.parametrize("window", [None, 0, 100_000])
def test_a_large_answer_leaves_in_slices_as_its_client_reads(open_house, kind, window):
    house = open_house()
    body = bytes(range(256)) * 4096
    house.add("/large", large(kind, body))
    client = house.client(request("/large"), window=window)
    if window is not None:
        waiting = client.transport.get_write_buffer_size()
        assert waiting < 200_000 and held(house) == MEGABYTE + waiting
        client.send(request())  # not read before the answer is out
        for _ in range(3):
            client.read(300_000)
            house.loop.advance(1)
        client.read()
    reply = client.replies("GET", "GET")[0]
    assert reply.body == body and reply.whole
    assert max(map(len, client.transport.writes)) < 66_000 + 300
    assert held(house) == 0 and house.statuses()[0] == 200


def test_a_large_answer_to_head_and_to_old_clients(open_house):
    house = open_house()
    body = b"x" * MEGABYTE
    house.add("/large", large("bytes", body))
    client = house.client(request("/large", method="HEAD"))
    assert client.reply("HEAD").fields["content-length"] == str(MEGABYTE)
    assert house.client(request("/large", version="1.0")).reply().body == body
    house.add("/paced", large("paced", body))
    assert house.client(request("/paced", version="1.0")).reply().body == body


def test_answers_that_nobody_reads_hold_no_more_than_there_is(open_house):
    house = open_house(max_memory="5M")
    house.add("/file", lambda request: text(house.file))
    house.add("/made", lambda request: text(b"x" * MEGABYTE))
    house.file = b"x" * MEGABYTE
    same = [house.client(request("/file"), window=0) for _ in range(15)]
    assert held(house) < 4 * MEGABYTE  # one file, and what waits in each transport
    made = [house.client(request("/made"), window=0) for _ in range(10)]
    assert held(house) < 6 * MEGABYTE  # the last one found room for its body, and then also wrote its first slices
    told = [client for client in made if client.transport.unsent.startswith(b"HTTP/1.1 503")]
    assert len(told) >= 8
    for client in same:
        client.read()
        assert client.reply().body == house.file
    told[-1].read()
    assert told[-1].reply().fields["retry-after"] == "1"


def test_what_a_slow_client_does_not_take_counts_until_it_does(open_house):
    house = open_house(idle_timeout=10)
    pushing = Pushing()
    house.add("/pushed", lambda request: Response(200, [], pushing))
    house.add("/stream", streamed([b"x" * 60_000] * 20))
    client = house.client(request("/pushed"), window=0)
    pushing.sink.push(b"x" * 60_000)
    assert held(house) == 0  # within what the transport may hold for anybody
    pushing.sink.push(b"x" * 60_000)
    assert held(house) == client.transport.get_write_buffer_size() > 120_000
    client.read()
    assert held(house) == 0
    pushing.sink.push(b"x" * 120_000)
    pushing.sink.end(b"")
    gone = house.client(request("/stream"), window=0)
    assert held(house) > 100_000
    house.loop.advance(20)
    assert held(house) == 0 and gone.transport.lost


def test_a_client_that_leaves_within_a_large_answer_leaves_nothing_behind(open_house):
    house = open_house()
    house.add("/large", large("bytes", b"x" * MEGABYTE))
    client = house.client(request("/large"), window=0)
    assert held(house) > MEGABYTE
    client.reset()
    assert held(house) == 0 and house.statuses() == [499]


def test_frames_that_wait_for_their_times_count_until_they_are_out(open_house):
    house = open_house(max_memory="3M")
    frames = [b"x" * 100_000] * 20
    house.add("/paced", lambda request: Response(200, [], Paced(frames, first_delay=1, delay=1)))
    first, second = (house.client(request("/paced")) for _ in range(2))
    assert held(house) == 2_000_000
    assert second.reply().status == 503 and b"memory_full" in second.received
    house.loop.advance(15)
    assert held(house) == 2_000_000
    house.loop.advance(10)
    assert len(first.reply().body) == 2_000_000 and held(house) == 0
    assert len(second.replies("GET")) == 1
    third = house.client(request("/paced"))
    assert held(house) == 2_000_000
    third.reset()
    assert held(house) == 0


def test_a_large_piece_of_a_stream_counts_while_its_client_does_not_take_it(open_house):
    house = open_house(idle_timeout=10)
    house.add("/stream", streamed([b"x" * 1000, b"y" * 3 * MEGABYTE, b"z"]))
    slow, fast = house.client(request("/stream"), window=0), house.client(request("/stream"))
    assert len(fast.reply().body) == 3 * MEGABYTE + 1001
    assert held(house) == 3 * MEGABYTE + slow.transport.get_write_buffer_size()
    house.loop.advance(20)
    assert held(house) == 0 and slow.transport.lost
