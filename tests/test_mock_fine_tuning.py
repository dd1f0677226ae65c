"""Fine-tuning in the mock: jobs that go through their life, what they leave, and the graders."""

from __future__ import annotations

import json

import pytest
from mocks import NOW, Clock, ask, make_mock, make_request, upload

from protocol.errors import ApiError
from protocol.mock.training.formula import FormulaError, evaluate
from protocol.mock.training.graders import grade, sample_of
from protocol.mock.training.similarity import text_similarity

EXAMPLE = {"messages": [{"role": "user", "content": "What is it"}, {"role": "assistant", "content": "It is a test"}]}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mock(clock):
    return make_mock(clock=clock)


def upload_training(mock, data, purpose="fine-tune"):
    """Upload a file; return its id."""
    return upload(mock, "train.jsonl", data, purpose)["id"]


def lines(*rows):
    return b"\n".join(json.dumps(row).encode() for row in rows)


def create(mock, **parameters):
    file_id = upload_training(mock, lines(*[EXAMPLE] * 10))
    return ask(mock, "POST", "/v1/fine_tuning/jobs", {"model": "gpt-4o-mini", "training_file": file_id, **parameters})


def job_of(mock, job):
    return ask(mock, "GET", f"/v1/fine_tuning/jobs/{job['id']}")


def bytes_at(mock, path):
    request = make_request("GET", path)
    return mock.endpoint(request).answer(request).body


def refused(mock, method, path, body=None):
    with pytest.raises(ApiError) as caught:
        ask(mock, method, path, body)
    return caught.value


# ---- the life of a job


def test_job_goes_through_its_life_by_the_clock(mock, clock):
    job = create(mock)
    seen = []
    for _ in range(10):
        status = job_of(mock, job)["status"]
        if status not in seen:
            seen.append(status)
        clock.now += 0.9
    assert seen == ["validating_files", "queued", "running", "succeeded"]


def test_speed_makes_it_faster():
    clock = Clock()
    mock = make_mock(clock=clock, speed=100.0)
    job = create(mock)
    clock.now += 0.1
    assert job_of(mock, job)["status"] == "succeeded"


def test_succeeded_job_has_a_model_that_is_listed_and_can_be_deleted(mock, clock):
    job = create(mock, suffix="My Suffix")
    clock.now += 100
    request = make_request("GET", "/v1/models")
    names = [model["id"] for model in mock.models(request)]
    name = job_of(mock, job)["fine_tuned_model"]
    assert name.startswith("ft:gpt-4o-mini:oaiserve:my-suffix:") and name in names
    assert ask(mock, "DELETE", f"/v1/models/{name}") == {"id": name, "deleted": True, "object": "model"}
    assert name not in [model["id"] for model in mock.models(request)]
    assert refused(mock, "DELETE", f"/v1/models/{name}").status == 404


def test_tokens_are_those_of_the_file_times_the_epochs(mock, clock):
    job = create(mock, hyperparameters={"n_epochs": 2})
    clock.now += 100
    done = job_of(mock, job)
    assert done["trained_tokens"] == 10 * 7 * 2
    assert done["hyperparameters"] == {"n_epochs": 2, "batch_size": 1, "learning_rate_multiplier": 2.0}
    assert done["finished_at"] == int(NOW) + 6


def test_auto_is_shown_until_the_job_runs(mock, clock):
    job = create(mock)
    assert job["hyperparameters"]["n_epochs"] == "auto"
    clock.now += 100
    assert job_of(mock, job)["method"]["supervised"]["hyperparameters"]["n_epochs"] == 3


def test_events_grow_and_come_newest_first(mock, clock):
    job = create(mock)
    path = f"/v1/fine_tuning/jobs/{job['id']}/events?limit=100"
    at_first = ask(mock, "GET", path)["data"]
    clock.now += 100
    at_last = ask(mock, "GET", path)["data"]
    assert [event["message"] for event in at_first][1] == f"Created fine-tuning job: {job['id']}"
    assert at_last[0]["message"] == "The job has successfully completed" and len(at_last) > len(at_first)
    assert [event["created_at"] for event in at_last] == sorted(
        (event["created_at"] for event in at_last), reverse=True
    )
    losses = [event["data"]["train_loss"] for event in reversed(at_last) if event["type"] == "metrics"]
    assert losses == sorted(losses, reverse=True) and len(losses) >= 10


def test_checkpoints_are_the_ends_of_the_last_epochs(mock, clock):
    job = create(mock, hyperparameters={"n_epochs": 4}, validation_file=upload_training(mock, lines(EXAMPLE)))
    clock.now += 100
    checkpoints = ask(mock, "GET", f"/v1/fine_tuning/jobs/{job['id']}/checkpoints")["data"]
    assert [checkpoint["step_number"] for checkpoint in checkpoints] == [40, 30, 20]
    assert checkpoints[0]["fine_tuned_model_checkpoint"] == job_of(mock, job)["fine_tuned_model"]
    assert checkpoints[1]["fine_tuned_model_checkpoint"].endswith(":ckpt-step-30")
    assert checkpoints[0]["metrics"]["full_valid_loss"] > checkpoints[0]["metrics"]["train_loss"]


def test_result_file_is_a_table_of_the_metrics(mock, clock):
    job = create(mock)
    clock.now += 100
    (file_id,) = job_of(mock, job)["result_files"]
    header, *rows = bytes_at(mock, f"/v1/files/{file_id}/content").decode().splitlines()
    assert header.split(",")[:2] == ["step", "train_loss"]
    assert rows[-1].split(",")[0] == "30" and all(len(row.split(",")) == 5 for row in rows)
    assert ask(mock, "GET", f"/v1/files/{file_id}")["purpose"] == "fine-tune-results"


def test_unknown_training_file_is_refused(mock):
    body = {"model": "gpt-4o-mini", "training_file": "file-none"}
    error = refused(mock, "POST", "/v1/fine_tuning/jobs", body)
    assert (error.status, error.param) == (400, "training_file")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b'{"messages": []}\n{"messages": ', "Line 2 is not valid JSON", id="json"),
        pytest.param(b"[1]", "Line 1: expected an object", id="object"),
        pytest.param(b"\n", "empty", id="empty"),
    ],
)
def test_bad_training_file_fails_the_job(mock, clock, data, problem):
    body = {"model": "gpt-4o-mini", "training_file": upload_training(mock, data)}
    job = ask(mock, "POST", "/v1/fine_tuning/jobs", body)
    clock.now += 100
    done = job_of(mock, job)
    assert done["status"] == "failed" and problem in done["error"]["message"]
    assert done["error"]["code"] == "invalid_training_file"


def test_cancelled_job_stays_so(mock, clock):
    job = create(mock)
    assert ask(mock, "POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")["status"] == "cancelled"
    clock.now += 100
    assert job_of(mock, job)["status"] == "cancelled"
    assert refused(mock, "POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel").status == 400


def test_paused_job_waits_and_goes_on(mock, clock):
    job = create(mock)
    clock.now += 3
    assert job_of(mock, job)["status"] == "running"
    assert ask(mock, "POST", f"/v1/fine_tuning/jobs/{job['id']}/pause")["status"] == "paused"
    clock.now += 100
    assert job_of(mock, job)["status"] == "paused"
    assert ask(mock, "POST", f"/v1/fine_tuning/jobs/{job['id']}/resume")["status"] == "running"
    clock.now += 2
    assert job_of(mock, job)["status"] == "running"
    clock.now += 2
    assert job_of(mock, job)["status"] == "succeeded"


def test_jobs_are_listed_newest_first(mock):
    jobs = [create(mock, metadata={"number": str(number)})["id"] for number in range(3)]
    assert [job["id"] for job in ask(mock, "GET", "/v1/fine_tuning/jobs")["data"]] == jobs[::-1]


def test_freeze_makes_two_runs_equal():
    def run():
        clock = Clock()
        mock = make_mock(clock=clock, freeze=True)
        job = create(mock)
        clock.now += 100
        return job_of(mock, job), ask(mock, "GET", f"/v1/fine_tuning/jobs/{job['id']}/events")

    assert run() == run()


def test_checkpoint_permissions_are_given_and_taken(mock):
    path = "/v1/fine_tuning/checkpoints/ft:gpt-4o-mini:x::1/permissions"
    made = ask(mock, "POST", path, {"project_ids": ["proj_1", "proj_2"]})["data"]
    assert [one["project_id"] for one in made] == ["proj_1", "proj_2"]
    assert len(ask(mock, "GET", f"{path}?project_id=proj_1")["data"]) == 1
    assert ask(mock, "DELETE", f"{path}/{made[0]['id']}")["deleted"] is True
    assert [one["project_id"] for one in ask(mock, "GET", path)["data"]] == ["proj_2"]


# ---- graders


@pytest.mark.parametrize(
    ("operation", "said", "reference", "passed"),
    [
        pytest.param("eq", "Paris", "Paris", True, id="eq"),
        pytest.param("eq", "paris", "Paris", False, id="eq-case"),
        pytest.param("ne", "paris", "Paris", True, id="ne"),
        pytest.param("like", "It is Paris.", "Paris", True, id="like"),
        pytest.param("like", "It is paris.", "Paris", False, id="like-case"),
        pytest.param("ilike", "It is paris.", "Paris", True, id="ilike"),
    ],
)
def test_string_check_checks(operation, said, reference, passed):
    grader = {
        "type": "string_check", "name": "x", "operation": operation,
        "input": "{{sample.output_text}}", "reference": "{{ item.wanted }}",
    }  # fmt: skip
    assert grade(grader, {"wanted": reference}, sample_of(said))[:2] == (float(passed), passed)


METRICS = ["cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_5", "rouge_l"]


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_is_1_for_equal_and_less_for_others(metric):
    text = "the quick brown fox jumps over the lazy dog"
    near, far = "the quick brown fox jumps over a dog", "nothing in common here"
    assert text_similarity(metric, text, text) == pytest.approx(1, abs=1e-9)
    assert 0 <= text_similarity(metric, far, text) < text_similarity(metric, near, text) < 1
    assert text_similarity(metric, "", "") == 1 and text_similarity(metric, "", text) == 0


@pytest.mark.parametrize(
    ("metric", "said", "wanted", "score"),
    [
        pytest.param("fuzzy_match", "abcd", "abxd", 0.75, id="three-of-four"),
        pytest.param("rouge_1", "a b c", "a b d", 2 / 3, id="words"),
        pytest.param("rouge_2", "a b c", "a b d", 1 / 2, id="pairs"),
        pytest.param("rouge_l", "a x b y c", "a b c", 6 / 8, id="in-order"),
        pytest.param("cosine", "a b", "b c", 1 / 2, id="angle"),
        pytest.param("gleu", "a b", "a c", 1 / 3, id="of-three-runs"),
    ],
)
def test_similarity_is_reckoned(metric, said, wanted, score):
    assert text_similarity(metric, said, wanted) == pytest.approx(score)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("2 ^ 3 ** 2", 512), ("-2 ^ 2", -4), ("a / b", 0.5),
        ("min(a, b, 0.25)", 0.25), ("abs(-a) - floor(1.9)", -0.5), (" .5 * sqrt(16) ", 2),
    ],
)  # fmt: skip
def test_formula_is_reckoned(formula, value):
    assert evaluate(formula, {"a": 0.5, "b": 1.0}) == pytest.approx(value)


@pytest.mark.parametrize(
    "formula", ["", "1 +", "(1", "1 2", "a & b", "1 / 0", "9 ^ 9 ^ 9 ^ 9", "sqrt(-1)", "(" * 200, "-" * 200 + "1"]
)
def test_bad_formula_is_refused(formula):
    with pytest.raises(FormulaError) as caught:
        evaluate(formula, {"a": 1.0, "b": 1.0})
    assert not caught.value.is_variable


def test_multi_grader_reckons_with_its_parts(mock):
    parts = {
        "one": {"type": "string_check", "name": "one", "operation": "eq", "input": "x", "reference": "x"},
        "two": {"type": "string_check", "name": "two", "operation": "eq", "input": "x", "reference": "y"},
    }
    assert grade(
        {"type": "multi", "name": "m", "graders": parts, "calculate_output": "0.8 * one + two"}, {}, {}
    ).score == pytest.approx(0.8)


def test_run_of_a_grader_answers_its_reward(mock):
    grader = {
        "type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match",
        "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
    }  # fmt: skip
    body = {"grader": grader, "model_sample": "abcd", "item": {"answer": "abxd"}}
    answer = ask(mock, "POST", "/v1/fine_tuning/alpha/graders/run", body)
    assert answer["reward"] == 0.75 and answer["metadata"]["scores"] == {"near": 0.75}
    assert not any(answer["metadata"]["errors"].values())


def test_run_of_a_grader_tells_of_a_variable_there_is_not(mock):
    inner = {"type": "string_check", "name": "one", "operation": "eq", "input": "x", "reference": "x"}
    grader = {"type": "multi", "name": "m", "graders": inner, "calculate_output": "one + other"}
    body = {"grader": grader, "model_sample": "x"}
    errors = ask(mock, "POST", "/v1/fine_tuning/alpha/graders/run", body)["metadata"]["errors"]
    assert errors["invalid_variable_error"] is True and errors["formula_parse_error"] is False


def test_judging_graders_are_plausible_and_repeat():
    grader = {"type": "score_model", "name": "s", "model": "gpt-4o", "input": [], "range": [1, 5]}
    first = grade(grader, {}, sample_of("hello"))
    assert 1 <= first.score <= 5 and first == grade(grader, {}, sample_of("hello"))
    labels = {"type": "label_model", "name": "l", "labels": ["good", "bad"], "passing_labels": ["good"], "input": []}
    assert grade(labels, {}, sample_of("This is bad.")).passed is False
    assert grade(labels, {}, sample_of("Quite good!")).passed is True


def test_grader_of_unknown_type_is_refused(mock):
    body = {"grader": {"type": "oracle", "name": "x"}}
    assert refused(mock, "POST", "/v1/fine_tuning/alpha/graders/validate", body).param.startswith("grader")
