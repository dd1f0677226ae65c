"""The programs of the code interpreter: code for what a prompt asks, and what it prints."""

from __future__ import annotations

import ast
import json
import operator
import re
import typing

_SUM = re.compile(r"(?:\d|\()[\d\s.+\-*/()]{0,100}[+\-*/][\d\s.+\-*/()]{0,100}[\d)]")
_OPERATORS: dict[type[ast.operator], typing.Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def program_for(asked: str) -> tuple[str, str]:
    """Return Python code for what is asked, and what it prints: the value of a sum, or else the prompt."""
    match = _SUM.search(asked)
    if match:
        try:
            return f"print({match[0]})", str(_value_of(ast.parse(match[0], mode="eval").body))
        except (ArithmeticError, SyntaxError, ValueError):
            pass
    return f"print({json.dumps(asked)})", asked


def _value_of(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value_of(node.left), _value_of(node.right))
    raise ValueError("not a sum")
