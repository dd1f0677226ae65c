"""The course of a fine-tuning job: the examples of its training file, and the metrics of every step.

Nothing is trained. The losses fall as those of a job that goes well.
"""

from __future__ import annotations

import math
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.reply import count_tokens
from protocol.wire.json_text import JsonObject, json_lines, parse_json

# The hyperparameters that "auto" stands for. The batch size grows by one with so many examples.
_AUTO_EPOCHS = 3
_AUTO_RATE = 2.0
_EXAMPLES_A_BATCH_SIZE = 500
_MOST_HYPERPARAMETER = 1_000_000
# How many steps events tell about, and how many epochs leave a checkpoint.
_MOST_TOLD_STEPS = 10
_MOST_CHECKPOINTS = 3
# A line of a training file has one of these members: chat and preferences, the legacy form, reinforcement.
_EXAMPLE_KEYS = ("messages", "prompt", "input")


class Examples(typing.NamedTuple):
    """How many examples and tokens a training file has; `problem` is what is wrong with it, "" for nothing."""

    examples: int
    tokens: int
    problem: str


#: The examples of a file that was made up for an unknown id.
UNKNOWN_EXAMPLES = Examples(10, 1000, "")


def read_examples(data: bytes) -> Examples:
    """Read a training file, in turns with everybody else where that is how it is done (protocol/turns.py)."""
    examples = tokens = 0
    for number, line in json_lines(data):
        spend_turn(len(line) // 10)  # its words are counted, too
        try:
            example = parse_json(line)
        except ApiError:
            return Examples(examples, tokens, f"Invalid file format. Line {number} is not valid JSON.")
        if not isinstance(example, dict) or not any(key in example for key in _EXAMPLE_KEYS):
            problem = f"Invalid file format. Line {number}: expected an object with 'messages'."
            return Examples(examples, tokens, problem)
        examples += 1
        tokens += sum(count_tokens(text) for text in _texts(example))
    return Examples(examples, tokens, "" if examples else "Training file is empty.")


def _texts(value: typing.Any) -> typing.Iterator[str]:
    """Yield the texts of an example, without the names of members and without roles and types."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(member for name, member in one.items() if name not in ("role", "type"))


class TrainingCourse:
    """What a job will do, by its files and hyperparameters; `problem` is why it cannot, "" where it can."""

    def __init__(self, counted: Examples, has_validation: bool, asked: JsonObject) -> None:
        examples, tokens, self.problem = counted
        epochs = _chosen(asked, "n_epochs", _AUTO_EPOCHS)
        batch = _chosen(asked, "batch_size", max(1, examples // _EXAMPLES_A_BATCH_SIZE))
        self.hyperparameters: JsonObject = {
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate_multiplier": _chosen(asked, "learning_rate_multiplier", _AUTO_RATE),
        }
        self._steps_an_epoch = max(1, math.ceil(examples / max(1, batch)))
        self._epochs = max(1, int(epochs))
        self._has_validation = has_validation
        self.steps = self._steps_an_epoch * self._epochs
        self.trained_tokens = tokens * self._epochs

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that leave a checkpoint: the ends of the last epochs."""
        first = max(0, self._epochs - _MOST_CHECKPOINTS)
        return [self._steps_an_epoch * (epoch + 1) for epoch in range(first, self._epochs)]

    def told_steps(self) -> list[int]:
        """Return the steps that events tell about, in their order."""
        told = {1 + (self.steps - 1) * number // _MOST_TOLD_STEPS for number in range(_MOST_TOLD_STEPS + 1)}
        return sorted(told.union(self.checkpoint_steps()))

    def metrics(self, step: int) -> dict[str, float]:
        """Return the metrics after a step: losses that fall, accuracies that rise."""
        done = step / self.steps
        loss = 0.3 + 2.2 * math.exp(-3 * done)
        metrics = {"train_loss": round(loss, 4), "train_mean_token_accuracy": round(1 - loss / 5, 4)}
        if self._has_validation:
            metrics["valid_loss"] = round(loss * 1.1, 4)
            metrics["valid_mean_token_accuracy"] = round(1 - loss * 1.1 / 5, 4)
            if step in self.checkpoint_steps():
                metrics["full_valid_loss"] = metrics["valid_loss"]
                metrics["full_valid_mean_token_accuracy"] = metrics["valid_mean_token_accuracy"]
        return metrics

    def table(self) -> str:
        """Return the metrics of the steps as CSV."""
        lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
        for step in self.told_steps():
            metrics = self.metrics(step)
            names = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
            lines.append(",".join([str(step), *(str(metrics[name]) if name in metrics else "" for name in names)]))
        return "\n".join(lines) + "\n"


def asked_hyperparameters(body: JsonObject) -> JsonObject:
    """Return the hyperparameters that a request asks for. Those of its method beat the older member of the body."""
    method = body.get("method") or {}
    chosen = method.get(method.get("type", "")) or {}
    return {**(body.get("hyperparameters") or {}), **(chosen.get("hyperparameters") or {})}


def shown_hyperparameters(asked: JsonObject) -> JsonObject:
    """Return hyperparameters as a job shows them before it has started."""
    return {name: asked.get(name) or "auto" for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}


def shown_method(body: JsonObject) -> JsonObject:
    """Return the method of a job as it shows it: supervised where the request does not say."""
    method: JsonObject | None = body.get("method")
    hyperparameters = shown_hyperparameters(asked_hyperparameters(body))
    return method or {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def _chosen(asked: JsonObject, name: str, default: float) -> typing.Any:
    value = asked.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return default
    return value if 0 < value <= _MOST_HYPERPARAMETER else default
