"""Batches of the mock: each line really goes through the routes, and what comes back stands in the files."""

from __future__ import annotations

import asyncio
import json

import mocks
import pytest

from protocol.errors import ApiError
from protocol.exchange import BackendFailed, Paced, Pushed, Response

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
KEY = "sk-of-the-caller"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def line(custom_id, **changes):
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": BODY, **changes}


def jsonl(*lines):
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


class Bench:
    """A mock whose routes lead to `answer`, or back to itself."""

    def __init__(self, answer=None, **settings):
        self.clock = mocks.Clock()
        self.forwarded = []
        self.at_once = self.most_at_once = 0
        self._answer = answer
        self.mock = mocks.make_mock(clock=self.clock, sleep=self._sleep, forward=self._forward, **settings)

    async def _sleep(self, seconds):
        self.clock.now += seconds
        await asyncio.sleep(0)

    def _forward(self, request):
        self.forwarded.append(request)
        return self._answer(request) if self._answer else self.mock.endpoint(request).answer(request)

    def create(self, content, endpoint=CHAT, *, below="/v1", **changes):
        file = mocks.upload(self.mock, "in.jsonl", content, "batch")
        body = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", **changes}
        return mocks.ask(self.mock, "POST", f"{below}/batches", body, [("authorization", f"Bearer {KEY}")])

    def look(self, batch):
        return mocks.ask(self.mock, "GET", f"/v1/batches/{batch['id']}")

    async def ended(self, batch):
        for _ in range(10_000):
            batch = self.look(batch)
            if batch["status"] in ENDED:
                return batch
            await asyncio.sleep(0)
        raise AssertionError(f"the batch is still {batch['status']}")

    def rows(self, file_id):
        content = mocks.respond(self.mock, "GET", f"/v1/files/{file_id}/content").body
        return [json.loads(row) for row in content.splitlines()]


def run(content, answer=None, endpoint=CHAT, _settings=None, **changes):
    """Run a batch to its end; return the bench and the batch."""

    async def main():
        bench = Bench(answer, **(_settings or {}))
        batch = await bench.ended(bench.create(content, endpoint, **changes))
        await bench.mock.close()
        return bench, batch

    return asyncio.run(main())


# ---- results


def test_a_batch_answers_each_line_in_the_order_of_its_file():
    bench, batch = run(jsonl(*(line(f"r{n}") for n in range(30))))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 30, "completed": 30, "failed": 0}
    rows = bench.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(30)]
    assert set(rows[0]) == {"id", "custom_id", "response", "error"}
    assert rows[0]["id"].startswith("batch_req_") and rows[0]["error"] is None
    assert rows[0]["response"]["status_code"] == 200 and rows[0]["response"]["request_id"].startswith("req_")
    assert rows[0]["response"]["body"]["choices"][0]["message"]["content"] == "powered by openai"
    assert batch["error_file_id"] is None and batch["errors"] is None


def test_a_batch_s_files_are_files_like_others():
    bench, batch = run(jsonl(line("a")), output_expires_after={"anchor": "created_at", "seconds": 3600})
    file = mocks.ask(bench.mock, "GET", f"/v1/files/{batch['output_file_id']}")
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")
    assert file["expires_at"] == file["created_at"] + 3600


def test_a_batch_adds_up_what_its_lines_used():
    _, batch = run(jsonl(line("a"), line("b")))
    assert batch["usage"] == {
        "input_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    assert batch["model"] == "gpt-4o"


def test_a_request_that_is_refused_stands_in_the_error_file():
    wrong = {"model": "gpt-4o", "messages": "wrong"}
    bench, batch = run(jsonl(line("good"), line("bad", body=wrong)))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    (row,) = bench.rows(batch["error_file_id"])
    assert row["custom_id"] == "bad" and row["error"] is None
    assert row["response"]["status_code"] == 400
    assert row["response"]["body"]["error"]["param"] == "messages"
    assert [row["custom_id"] for row in bench.rows(batch["output_file_id"])] == ["good"]


def test_a_batch_with_no_good_line_has_no_output_file():
    _, batch = run(jsonl(line("bad", body={"model": "gpt-4o"})))
    assert batch["output_file_id"] is None and batch["error_file_id"] is not None


def test_the_caller_s_key_goes_with_each_line_and_is_shown_nowhere():
    bench, batch = run(jsonl(line("a"), line("b")))
    assert [request.key for request in bench.forwarded] == [KEY, KEY]
    assert all(request.head.has_body and request.path == CHAT for request in bench.forwarded)
    assert KEY not in json.dumps([batch, bench.rows(batch["output_file_id"])])


def test_a_line_may_be_answered_by_anybody():
    class Told(Pushed):
        def begin(self, sink):
            sink.push(b'{"from":')
            sink.end(b'"pushed"}')

    async def pieces():
        yield b'{"from":'
        yield b'"pieces"}'

    async def later():
        return Response(200, [], b'{"from":"later"}')

    def failing():
        raise BackendFailed(Response(503, [], b'{"from":"failed"}'))

    answers = {
        "bytes": lambda: Response(200, [], b'{"from":"bytes"}'),
        "paced": lambda: Response(200, [], Paced([b'{"from":', b'"paced"}'], first_delay=0, delay=0)),
        "pushed": lambda: Response(200, [], Told()),
        "pieces": lambda: Response(200, [], pieces()),
        "later": later,
        "failed": failing,
    }
    lines = [line(name, body={"model": "m", "user": name}) for name in answers]
    bench, batch = run(jsonl(*lines), lambda request: answers[request.json()["user"]]())
    rows = bench.rows(batch["output_file_id"]) + bench.rows(batch["error_file_id"])
    assert {row["custom_id"]: row["response"]["body"]["from"] for row in rows} == {name: name for name in answers}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda request: Response(200, [], b"<html>"), "invalid_response"),
        (lambda request: Response(502, [], b""), "invalid_response"),
    ],
    ids=["not JSON", "nothing"],
)
def test_an_answer_that_is_no_json_is_an_error(answer, code):
    bench, batch = run(jsonl(line("a")), answer)
    (row,) = bench.rows(batch["error_file_id"])
    assert row["response"] is None and row["error"]["code"] == code


def test_an_answer_that_breaks_off_is_an_error():
    class Broken(Pushed):
        def begin(self, sink):
            sink.push(b"{")
            sink.fail(OSError("gone"))

    bench, batch = run(jsonl(line("a")), lambda request: Response(200, [], Broken()))
    (row,) = bench.rows(batch["error_file_id"])
    assert row["response"]["status_code"] == 502


def test_a_streamed_line_is_refused():
    bench, batch = run(jsonl(line("a", body={**BODY, "stream": True})))
    assert bench.rows(batch["error_file_id"])[0]["response"]["body"]["error"]["param"] == "stream"
    assert bench.forwarded == []


@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/moderations"])
def test_other_endpoints_run_as_well(endpoint):
    _, batch = run(jsonl(line("a", url=endpoint, body={"model": "m", "input": "x"})), endpoint=endpoint)
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


@pytest.mark.parametrize("below", ["/openai", "/openai/v1"])
@pytest.mark.parametrize("endpoint", [CHAT, "/chat/completions"])
@pytest.mark.parametrize("url", [CHAT, "/chat/completions"])
def test_azures_batches_may_leave_out_v1(below, endpoint, url):
    # Source: Azure OpenAI, "Getting started with batch deployments".
    _, batch = run(jsonl(line("a", url=url)), endpoint=endpoint, below=below)
    assert (batch["status"], batch["endpoint"]) == ("completed", CHAT)
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


def test_openais_batches_may_not():
    with pytest.raises(
        ApiError, match=r"^Invalid value: '/chat/completions'\. Supported values are: '/v1/responses', "
    ):
        run(jsonl(line("a")), endpoint="/chat/completions")
    _, batch = run(jsonl(line("a", url="/chat/completions")))
    assert [error["code"] for error in batch["errors"]["data"]] == ["url_mismatch"]


def test_only_a_few_lines_are_under_way_at_once():
    under_way, most = 0, 0

    async def answer():
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return Response(200, [], b"{}")

    _, batch = run(jsonl(*(line(str(n)) for n in range(50))), lambda request: answer())
    assert batch["request_counts"]["completed"] == 50
    assert 1 < most <= 8


def test_a_frozen_batch_gives_the_same_files_again():
    def scenario():
        bench, batch = run(jsonl(*(line(str(n)) for n in range(20))), _settings={"freeze": True})
        return batch, bench.rows(batch["output_file_id"])

    assert scenario() == scenario()


# ---- life cycle


def test_a_batch_goes_through_its_stages_in_order():
    async def main():
        bench = Bench()
        batch = bench.create(jsonl(line("a")))
        seen = [batch["status"]]
        while seen[-1] != "completed":
            await asyncio.sleep(0)
            seen.append(bench.look(batch)["status"])
        return batch, bench.look(batch), list(dict.fromkeys(seen))

    created, ended, seen = asyncio.run(main())
    assert created["expires_at"] == created["created_at"] + 24 * 3600
    assert created["in_progress_at"] is None and created["output_file_id"] is None
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert created["created_at"] < ended["in_progress_at"] <= ended["finalizing_at"] < ended["completed_at"]


def test_a_cancelled_batch_keeps_what_is_finished():
    async def main():
        bench = Bench(lambda request: answer(bench))

        async def answer(bench):
            if len(bench.forwarded) == 20:
                status = mocks.ask(bench.mock, "POST", f"/v1/batches/{batch['id']}/cancel")["status"]
                assert status == "cancelling"
            return Response(200, [], b"{}")

        batch = bench.create(jsonl(*(line(str(n)) for n in range(100))))
        return bench, await bench.ended(batch)

    bench, batch = asyncio.run(main())
    assert batch["status"] == "cancelled" and batch["cancelled_at"] >= batch["cancelling_at"]
    completed = batch["request_counts"]["completed"]
    assert 20 <= completed < 30
    assert len(bench.rows(batch["output_file_id"])) == completed == len(bench.forwarded)


def test_a_batch_that_is_cancelled_while_it_is_validated_sends_nothing():
    async def main():
        bench = Bench()
        batch = bench.create(jsonl(line("a")))
        mocks.ask(bench.mock, "POST", f"/v1/batches/{batch['id']}/cancel")
        return bench, await bench.ended(batch)

    bench, batch = asyncio.run(main())
    assert (batch["status"], batch["output_file_id"], bench.forwarded) == ("cancelled", None, [])


def test_a_batch_that_has_ended_cannot_be_cancelled():
    bench, batch = run(jsonl(line("a")))
    with pytest.raises(ApiError) as caught:
        mocks.ask(bench.mock, "POST", f"/v1/batches/{batch['id']}/cancel")
    assert caught.value.message == "Cannot cancel a batch with status 'completed'."


def test_lines_that_come_too_late_expire():
    async def main():
        bench = Bench(lambda request: answer(bench))

        async def answer(bench):
            if len(bench.forwarded) == 5:
                bench.clock.now += 24 * 3600
            return Response(200, [], b"{}")

        return bench, await bench.ended(bench.create(jsonl(*(line(str(n)) for n in range(40)))))

    bench, batch = asyncio.run(main())
    assert batch["status"] == "expired" and batch["expired_at"] is not None
    completed = batch["request_counts"]["completed"]
    late = bench.rows(batch["error_file_id"])
    assert len(bench.rows(batch["output_file_id"])) == completed and len(late) == 40 - completed > 0
    assert {row["error"]["code"] for row in late} == {"batch_expired"}


def test_a_mock_that_stands_still_leaves_a_batch_where_it_is():
    async def main():
        bench = Bench(speed=0)
        batch = bench.create(jsonl(line("a")))
        for _ in range(50):
            await asyncio.sleep(0)
        status = bench.look(batch)["status"]
        await bench.mock.close()
        return status

    assert asyncio.run(main()) == "validating"


# ---- validation


MISTAKES = [
    pytest.param(b"", [(None, "empty_file", None)], id="empty"),
    pytest.param(b"\n \n", [(None, "empty_file", None)], id="blank"),
    pytest.param(b"{\n" + jsonl(line("a")), [(1, "invalid_json_line", None)], id="not JSON"),
    pytest.param(jsonl(line("a")) + b"\n[1]\n", [(3, "invalid_json_line", None)], id="no object, after a blank line"),
    pytest.param(b"\xff\n", [(1, "invalid_json_line", None)], id="not UTF-8"),
    pytest.param(jsonl(line(None)), [(1, "missing_required_parameter", "custom_id")], id="no custom_id"),
    pytest.param(jsonl(line(7)), [(1, "invalid_type", "custom_id")], id="custom_id is a number"),
    pytest.param(jsonl(line("a"), line("a")), [(2, "duplicate_custom_id", "custom_id")], id="custom_id twice"),
    pytest.param(jsonl(line("a", method="GET")), [(1, "invalid_method", "method")], id="another method"),
    pytest.param(jsonl(line("a", url="/v1/embeddings")), [(1, "url_mismatch", "url")], id="another url"),
    pytest.param(jsonl(line("a", url=None)), [(1, "missing_required_parameter", "url")], id="no url"),
    pytest.param(jsonl(line("a", body=None)), [(1, "missing_required_parameter", "body")], id="no body"),
    pytest.param(jsonl(line("a", body=[])), [(1, "invalid_type", "body")], id="body is an array"),
    pytest.param(
        jsonl(line("a"), line("b", body={**BODY, "model": "o3"})), [(2, "model_mismatch", "body.model")],
        id="another model",
    ),
    pytest.param(
        b"{\n" + jsonl(line("a", method="PUT"), line("b")),
        [(1, "invalid_json_line", None), (2, "invalid_method", "method")],
        id="several",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "mistakes"), MISTAKES)
def test_a_file_with_mistakes_makes_the_batch_fail_before_anything_is_sent(content, mistakes):
    bench, batch = run(content)
    assert batch["status"] == "failed" and batch["failed_at"] is not None
    assert batch["errors"]["object"] == "list"
    assert [(one["line"], one["code"], one["param"]) for one in batch["errors"]["data"]] == mistakes
    assert bench.forwarded == [] and batch["output_file_id"] is None


def test_too_many_requests_make_the_batch_fail():
    _, batch = run(b"{}\n" * 50_001)
    assert [one["code"] for one in batch["errors"]["data"]] == ["too_many_tasks"]


def test_a_batch_of_several_models_runs_where_nothing_is_checked():
    content = jsonl(line("a"), line("b", body={**BODY, "model": "o3"}))
    assert run(content, _settings={"validate": "off"})[1]["status"] == "completed"


def test_an_unknown_input_file_is_404():
    with pytest.raises(ApiError) as caught:
        run(b"", input_file_id="file-unknown")
    error = caught.value
    assert (error.status, error.param, error.message) == (404, "input_file_id", "No such File object: file-unknown")


def test_a_file_that_is_for_something_else_is_refused():
    mock = mocks.make_mock()
    file = mocks.upload(mock, "in.jsonl", jsonl(line("a")), "user_data")
    body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(ApiError) as caught:
        mocks.ask(mock, "POST", "/v1/batches", body)
    assert (caught.value.status, caught.value.param) == (400, "input_file_id")


def test_an_endpoint_that_is_no_path_is_refused_even_where_nothing_is_checked():
    with pytest.raises(ApiError) as caught:
        run(b"", endpoint="http://elsewhere/", _settings={"validate": "off"})
    assert (caught.value.status, caught.value.param) == (400, "endpoint")


def test_an_invented_batch_is_cancelled_at_once():
    mock = mocks.make_mock(unknown_ids="invent")
    assert mocks.ask(mock, "POST", "/v1/batches/batch_x/cancel")["status"] == "cancelled"
    assert mocks.ask(mock, "POST", "/v1/batches/batch_x/cancel")["status"] == "cancelled"


# ---- what nobody waits for


def test_nothing_runs_while_time_stands_still():
    async def main():
        bench = Bench(speed=0)
        batch = bench.create(jsonl(line("a")))
        await asyncio.sleep(0)
        assert bench.look(batch)["status"] == "validating" and not mocks.world_of(bench.mock)._tasks

    asyncio.run(main())


def test_a_batch_that_is_forgotten_ends_without_files():
    async def main():
        bench = Bench(max_objects=2)
        bench.create(jsonl(line("a")))
        for _ in range(2):
            mocks.upload(bench.mock, "b.txt", b"x")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not bench.forwarded and not mocks.world_of(bench.mock)._tasks

    asyncio.run(main())
