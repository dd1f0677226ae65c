"""The file search of an assistant: what it finds, as a run's step shows it and as a message cites it."""

from __future__ import annotations

import typing

from protocol.budget import BudgetSpent
from protocol.mock.answer.cost import budget_at_once
from protocol.mock.assistants.threads import message_text
from protocol.mock.engine.world import World
from protocol.mock.storage.vector_search import search_files
from protocol.wire.json_text import JsonObject


def searched_stores(*owners: JsonObject) -> list[str]:
    """Return the ids of the vector stores that an assistant's and a thread's objects give to the file search."""
    searches = [(owner.get("tool_resources") or {}).get("file_search") or {} for owner in owners]
    return [id for search in searches for id in search.get("vector_store_ids") or []]


def found_for_run(
    world: World,
    tools: typing.Sequence[JsonObject],
    stores: typing.Sequence[str],
    messages: typing.Sequence[JsonObject],
) -> JsonObject:
    """Return the search for the user's last message, in the form that a step has; {} where nothing is found."""
    tool = next((tool for tool in tools if tool["type"] == "file_search"), None)
    asked = [message for message in messages if message["role"] == "user"][-1:]
    if tool is None or not asked:
        return {}
    files = [file for id in stores for file in world.store.all(f"/vector_stores/{id}/files")]
    options = tool.get("file_search") or {}
    try:
        found = search_files(files, [message_text(asked[0])], options, budget_at_once())
    except BudgetSpent:
        return {}  # others wait while a run goes on, and it can be told to nobody that there is too much to search
    results = [_found_in_file(one) for one in found if one["score"] > 0]
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0, **(options.get("ranking_options") or {})}
    return {"ranking_options": ranking, "results": results} if results else {}


def _found_in_file(result: JsonObject) -> JsonObject:
    kept = {name: result[name] for name in ("file_id", "score", "content")}
    return {**kept, "file_name": result["filename"]}


def shown_step(step: JsonObject, include: typing.Any) -> JsonObject:
    """Return a step as answers show it: the text that a search found is left out unless `include` names it."""
    calls = step["step_details"].get("tool_calls") or []
    if include or not any(called["type"] == "file_search" for called in calls):
        return step
    shown = []
    for called in calls:
        search = called["file_search"]
        results = [{**result, "content": None} for result in search.get("results") or []]
        shown.append({**called, "file_search": {**search, "results": results}})
    return {**step, "step_details": {**step["step_details"], "tool_calls": shown}}


def file_citations(results: typing.Sequence[JsonObject], text: str) -> list[JsonObject]:
    """Return the annotations that say in which files an answer was found. Their marks go behind the text, in order."""
    citations = []
    for number, result in enumerate(results):
        mark = f"【{number}†{result['file_name']}】"
        where = {"start_index": len(text), "end_index": len(text) + len(mark)}
        cited = {"file_citation": {"file_id": result["file_id"]}}
        citations.append({"type": "file_citation", "text": mark, **where, **cited})
        text += mark
    return citations
