"""Evals: runs that rate each row of their data by each testing criterion.

The rows are those of the request or of a file, or completions and responses that the mock has stored. A row without a
sample gets one by the messages of the run's template. The results of a run are made when it is created, and shown when
its life cycle is over.
Source: OpenAI API reference, "Evals".
"""

from __future__ import annotations

import itertools
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.reply import Question, count_tokens, reply
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.training.formula import FormulaError
from protocol.mock.training.graders import Grade, filled, grade, sample_of
from protocol.turns import in_turns
from protocol.wire.json_text import JsonObject, encode_json, json_lines, parse_json

_MOST_ROWS = 10_000
# The results of more rows are kept as they are made.
_ROWS_AT_ONCE = 100
_MOST_RESULTS = 200_000  # of a run, one for each row and criterion
_MODEL = "gpt-4o-mini"
_UNFINISHED = ("queued", "in_progress")
_NO_ERROR = {"code": "", "message": ""}


class Evals:
    """The family of /evals."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /evals": self.create,
            "POST /evals/{eval_id}/runs": self.run,
            "POST /evals/{eval_id}/runs/{run_id}/cancel": self.cancel,
            "POST /evals/{eval_id}/runs/{run_id}": self.cancel,
            "GET /evals/{eval_id}/runs/{run_id}": self.retrieve_run,
        }

    def create(self, call: Call) -> JsonObject:
        """Create an eval."""
        source = call.body["data_source_config"]
        has_sample = source["type"] != "custom" or bool(source.get("include_sample_schema"))
        properties: JsonObject = {"item": source.get("item_schema") or {"type": "object"}}
        if has_sample:
            properties["sample"] = {"type": "object"}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        name = call.body.get("name") or "Untitled eval"
        criteria = [_with_typed_input(criterion) for criterion in call.body["testing_criteria"]]
        known = {"name": name, "data_source_config": {**source, "schema": schema}, "testing_criteria": criteria}
        return create_record(call, known).object

    def run(self, call: Call) -> typing.Awaitable[JsonObject]:
        """Create a run, in turns with others; ApiError 400 for a file that is not known or has no rows."""
        return in_turns(lambda: self._run(call))

    def _run(self, call: Call) -> JsonObject:
        eval_id = call.names["eval_id"]
        evaluated = self._world.find("/evals", eval_id).object
        source = call.body["data_source"]
        model = source.get("model") or _MODEL
        rows = self._rows(source["source"])
        criteria = evaluated.get("testing_criteria") or []
        if len(rows) * len(criteria) > _MOST_RESULTS:
            raise ApiError(
                400, f"A run has at most {_MOST_RESULTS} results, but {len(rows)} rows and {len(criteria)} testing"
                " criteria would have more.", param="data_source", code="too_many_results",
            )  # fmt: skip
        sampling = _Sampling(self._world, source)
        record = create_record(
            call,
            {
                "name": call.body.get("name") or "Untitled run", "model": model, "error": _NO_ERROR,
                "report_url": f"https://platform.openai.com/evaluations/{eval_id}", "result_counts": _run_counts([]),
                "per_model_usage": [], "per_testing_criteria_results": [],
            },
        )  # fmt: skip
        items: list[JsonObject] = []
        for number, row in enumerate(rows):
            items.append(self._item(record, number, row, criteria, sampling))
            if len(rows) > _ROWS_AT_ONCE:
                self._keep(record, items[-1])
        return self._conclude(record, items, criteria)

    def _conclude(self, record: Record, items: list[JsonObject], criteria: typing.Sequence[JsonObject]) -> JsonObject:
        """Let a run show its results with the last change of its life cycle."""
        if record.plan:
            due, enter = record.plan.pop()
            store, results = self._world.store, _run_results(record, items, criteria)
            # The items of more rows have been kept already; until then these count with the run.
            later = items if len(items) <= _ROWS_AT_ONCE else []
            waiting_bytes = len(encode_json(later))
            store.set_size(record, record.size + waiting_bytes)

            def finish(record: Record) -> None:
                enter(record)
                store.set_size(record, record.size - waiting_bytes)
                for item in later:
                    self._keep(record, item)
                record.object.update(results)

            record.plan.append((due, finish))
        return record.object

    # ---- rows ---------------------------------------------------------------------------------------------------

    def _rows(self, source: JsonObject) -> list[JsonObject]:
        kind = source["type"]
        if kind == "file_content":
            return source["content"][:_MOST_ROWS]
        if kind == "file_id":
            return self._file_rows(source["id"])
        path = "/responses" if kind == "responses" else "/chat/completions"
        stored = [record.object for record in self._world.store.all(path)]
        wanted = [one for one in stored if _is_from_source(one, source)]
        return [{"item": _stored_item(one), "sample": sample_of(_stored_sample_text(one))} for one in wanted][
            : source.get("limit") or _MOST_ROWS
        ]

    def _file_rows(self, id: str) -> list[JsonObject]:
        record = self._world.store.get("/files", id)
        param = "data_source.source.id"
        if record is None:
            if self._world.settings.unknown_ids == "invent":
                return []
            raise ApiError(400, f"File '{id[:100]}' does not exist.", param=param, code="invalid_file")
        rows: list[JsonObject] = []
        for number, line in itertools.islice(json_lines(record.content), _MOST_ROWS):
            try:
                row = parse_json(line)
            except ApiError as exc:
                message = f"File '{id[:100]}': line {number} is not valid JSON."
                raise ApiError(400, message, param=param, code="invalid_file") from exc
            if not isinstance(row, dict):
                message = f"File '{id[:100]}': line {number}: expected an object with 'item'."
                raise ApiError(400, message, param=param, code="invalid_file")
            rows.append(row if isinstance(row.get("item"), dict) else {"item": row})
        return rows

    # ---- results ------------------------------------------------------------------------------------------------

    def _item(
        self,
        run: Record,
        number: int,
        row: JsonObject,
        criteria: typing.Sequence[JsonObject],
        sampling: _Sampling,
    ) -> JsonObject:
        """Return the output item of a row: its sample, and what each criterion says of it."""
        item = row.get("item") or {}
        spend_turn(50)
        messages, sample = sampling.sample(item, row.get("sample"))
        results = [_criterion_result(criterion, item, sample) for criterion in criteria]
        output = str(sample.get("output_text") or "")
        prompt = sum(count_tokens(message["content"]) for message in messages)
        known: JsonObject = {
            "id": self._world.new_id("outputitem_"), "run_id": run.id, "eval_id": run.object["eval_id"],
            "status": "pass" if all(result["passed"] for result in results) else "fail",
            "datasource_item_id": number, "datasource_item": item, "results": results,
            "sample": {
                "input": messages, "output": [{"role": "assistant", "content": output}], "model": sampling.model,
                "finish_reason": "stop", "error": _NO_ERROR, "temperature": 1, "top_p": 1, "seed": 42,
                "max_completion_tokens": 2048, "usage": _sample_usage(prompt, count_tokens(output)),
            },
        }  # fmt: skip
        return self._world.make("EvalOutputItem", known)

    def _keep(self, run: Record, item: JsonObject) -> None:
        self._world.store.add(f"{run.path}/output_items", item["id"], item)

    def retrieve_run(self, call: Call) -> JsonObject:
        """Answer a run."""
        call.parents()
        return call.record().object

    def cancel(self, call: Call) -> JsonObject:
        """End a run that is not over; ApiError 400 for one that is."""
        run = call.record()
        status = run.object.get("status")
        if status not in _UNFINISHED and not run.is_invented:
            raise ApiError(400, f"Run {run.id} cannot be canceled: its status is '{status}'.", code="invalid_status")
        run.plan.clear()
        run.object["status"] = "canceled"
        return run.object


class _Sampling:
    """Gives rows without a sample one, by the messages of the run's template."""

    def __init__(self, world: World, source: JsonObject) -> None:
        self._world = world
        self.model = source.get("model") or _MODEL
        self._is_asked = source["type"] != "jsonl"
        self._messages = source.get("input_messages") or {}

    def sample(self, item: JsonObject, given: typing.Any) -> tuple[list[JsonObject], JsonObject]:
        """Return the messages that asked for a row's sample, and the sample; `given` is the one that the row has."""
        if isinstance(given, dict):
            return [], given
        if not self._is_asked:
            return [], {}
        messages = self._filled(item)
        prompt = next((one["content"] for one in reversed(messages) if one["role"] == "user"), "")
        return messages, sample_of(reply(Question(prompt), self._world.settings.text).text)

    def _filled(self, item: JsonObject) -> list[JsonObject]:
        template = self._messages.get("template")
        if template is None:
            # An item reference such as `item.messages` names the member of a row that has the messages.
            found: typing.Any = {"item": item}
            for step in str(self._messages.get("item_reference", "")).split("."):
                found = found.get(step) if isinstance(found, dict) else None
            template = found if isinstance(found, list) else []
        values = {"item": item}
        return [
            {"role": str(one.get("role") or "user"), "content": filled(_content_text(one.get("content")), values)}
            for one in template
            if isinstance(one, dict)
        ]


def _criterion_result(criterion: JsonObject, item: JsonObject, sample: JsonObject) -> JsonObject:
    spend_turn(20)
    try:
        graded = grade(criterion, item, sample)
    except FormulaError:
        graded = Grade(0.0, False)
    return {
        "name": criterion["name"], "type": criterion.get("type"), "score": graded.score, "passed": graded.passed,
    }  # fmt: skip


def _run_counts(items: typing.Sequence[JsonObject]) -> JsonObject:
    passed = sum(item["status"] == "pass" for item in items)
    return {"total": len(items), "passed": passed, "failed": len(items) - passed, "errored": 0}


def _run_results(run: Record, items: list[JsonObject], criteria: typing.Sequence[JsonObject]) -> JsonObject:
    """Return what a run shows of its rows once it is over."""
    by_criterion = []
    for number, criterion in enumerate(criteria):
        passed = sum(item["results"][number]["passed"] for item in items)
        by_criterion.append({"testing_criteria": criterion["name"], "passed": passed, "failed": len(items) - passed})
    usages = [item["sample"]["usage"] for item in items]
    spent = {name: sum(usage[name] for usage in usages) for name in _sample_usage(0, 0)}
    return {
        "result_counts": _run_counts(items), "per_testing_criteria_results": by_criterion,
        "per_model_usage": [{"model_name": run.object["model"], "invocation_count": len(items), **spent}],
    }  # fmt: skip


def _sample_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens, "cached_tokens": 0,
    }  # fmt: skip


def _with_typed_input(criterion: JsonObject) -> JsonObject:
    """Return a criterion as answers show it: each of its messages says its type."""
    if "input" not in criterion or isinstance(criterion["input"], str):
        return criterion
    return {**criterion, "input": [{"type": "message", **message} for message in criterion["input"]]}


def _content_text(content: typing.Any) -> str:
    """Return the text of a message's content, which is a string, a part, or an array of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(text for text in map(_content_text, content) if text)
    return str(content.get("text") or "") if isinstance(content, dict) else ""


def _is_from_source(stored: JsonObject, source: JsonObject) -> bool:
    created = stored.get("created") or stored.get("created_at") or 0
    metadata = stored.get("metadata") or {}
    return (
        source.get("model") in (None, stored.get("model"))
        and created >= (source.get("created_after") or 0)
        and created <= (source.get("created_before") or created)
        and all(metadata.get(name) == value for name, value in (source.get("metadata") or {}).items())
    )


def _stored_item(stored: JsonObject) -> JsonObject:
    return {name: stored[name] for name in ("id", "model", "metadata") if name in stored}


def _stored_sample_text(stored: JsonObject) -> str:
    """Return what a stored completion or response says."""
    if "choices" in stored:
        return "".join(_content_text(choice["message"].get("content")) for choice in stored["choices"][:1])
    said = [_content_text(item.get("content")) for item in stored.get("output") or []]
    return "".join(text for text in said if text)
