"""Read R's words: expressions over the columns of a frame, conditions, lists of numbers."""

import ast
import operator
import re

import numpy as np
import pandas as pd

COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda left, right: pd.Series(left).isin(right).to_numpy(),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip
SAME = ("I", "factor", "as_numeric", "as_factor", "as_integer", "as_character", "ordered")
FUNCTIONS = {
    "is_na": lambda x: pd.isna(x) * 1.0, "ifelse": np.where, "log": np.log, "sqrt": np.sqrt,
    "abs": np.abs, "exp": np.exp, "c": lambda *values: list(values),
}  # fmt: skip
COUNTS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10,
}  # fmt: skip


def name(word):
    """R's name of a column as the data spell it."""
    return re.sub(r"(?<=[A-Za-z])\.(?=[A-Za-z])", "_", word.strip())


def python(text):
    """R's operators as Python's: a comparison binds tighter than and, or, not."""
    text = name(text).replace("%in%", " in ").replace("^", "**")
    text = text.replace("TRUE", "1.0").replace("FALSE", "0.0").replace("Inf", "inf")
    text = re.sub(r"!(?!=)", " not ", text)
    text = re.sub(r"&+", " and ", text)
    return re.sub(r"\|+", " or ", text).strip()


def value(text, frame):
    """Evaluate an expression: numbers, text, or 1 and 0 for a condition, NaN for missing."""
    return _value(ast.parse(python(text), mode="eval").body, frame)


def condition(text, frame):
    """Rows in which a condition holds."""
    return np.nan_to_num(np.asarray(value(text, frame), float)) == 1


def logical(text):
    """Whether an expression is a condition, of which R reports FALSE and TRUE."""
    node = ast.parse(python(text), mode="eval").body
    while isinstance(node, ast.Call) and node.func.id == "I":
        node = node.args[0]
    return isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp)


def _value(node, frame):
    kind = type(node)
    if kind is ast.Constant:
        return node.value
    if kind is ast.Name:
        column = frame[node.id]
        text = column.dtype == object or pd.api.types.is_string_dtype(column)
        return column.to_numpy(object if text else float)
    if kind is ast.Compare:
        left, right = _value(node.left, frame), _value(node.comparators[0], frame)
        found = COMPARE[type(node.ops[0])](left, right) * 1.0
        lost = pd.isna(left) | (pd.isna(right) if not isinstance(right, list) else False)
        return np.where(lost, np.nan, found)
    if kind is ast.BoolOp:
        parts = [_value(part, frame) for part in node.values]  # noqa: PD011 - of a syntax tree
        both = isinstance(node.op, ast.And)
        return np.prod(parts, axis=0) if both else np.minimum(np.sum(parts, axis=0), 1)
    if kind is ast.UnaryOp:
        inner = _value(node.operand, frame)
        return 1 - inner if isinstance(node.op, ast.Not) else -inner
    if kind is ast.BinOp:
        return ARITHMETIC[type(node.op)](_value(node.left, frame), _value(node.right, frame))
    if kind is ast.Call:
        given = [_value(part, frame) for part in node.args]
        return given[0] if node.func.id in SAME else FUNCTIONS[node.func.id](*given)
    raise ValueError(f"{ast.dump(node)}: not read")


def numbers(text):
    """Numbers of c(…), or a single one."""
    inner = re.fullmatch(r"c\((.*)\)", text.strip())
    return [float(part) for part in (inner[1] if inner else text).split(",")]


def totals(text):
    """Totals written as level=number, next to each other; settings of an algorithm are none."""
    text = re.sub(r"control\s*=\s*list\([^)]*\)", "", text)
    found = re.findall(r"([A-Za-z_.]\w*)\s*=\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", text)
    return {level: float(number) for level, number in found}
