"""The closed little language of ``where`` and ``value`` in the plan.

A condition is up to four terms joined by ``and``. A term is a true/false column (``is_comeback``),
``present(column)``, ``column op literal`` with ``== != < <= > >=``, or ``column in [a, b]``; any
of them may start with ``not``. Comparisons between columns are derived columns of ``tables.toml``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from dealerqm.errors import PlanError, unknown
from dealerqm.tables import Column, Table

ORDERED = ("<", "<=", ">", ">=")
NUMBERS = ("int", "float", "money")
MAX_TERMS = 4
_TERM = re.compile(
    r"(?P<negated>not\s+)?"
    r"(?:present\((?P<present>\w+)\)"
    r"|(?P<member>\w+)\s+in\s+\[(?P<list>[^\]]*)\]"
    r"|(?P<column>\w+)(?:\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<literal>.+))?)"
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
Literal = str | int | float | bool


@dataclass(frozen=True)
class Term:
    """One comparison: ``column op values``, turned round when ``negated``.

    Attributes
    ----------
    column : str
        Column of the table.
    op : str
        ``true``, ``present``, ``in``, or one of ``== != < <= > >=``.
    values : tuple
        Literals: empty for ``true`` and ``present``, several for ``in``, else one.
    negated : bool
        Whether the term starts with ``not``.
    """

    column: str
    op: str
    values: tuple[Literal, ...] = ()
    negated: bool = False


def parse(condition: str, table: Table, where: str) -> tuple[Term, ...]:
    """Read a condition and check it against the columns of a table.

    Parameters
    ----------
    condition : str
        Text such as ``kind in [repair, warranty] and not is_comeback``; empty means all rows.
    table : Table
        The contract that knows the columns, their types and their allowed words.
    where : str
        File and key, for messages.

    Returns
    -------
    tuple of Term
        In the order of the text.

    Raises
    ------
    PlanError
        If a term does not fit the grammar, names an unknown column or word, or compares things
        of different type.

    Examples
    --------
    >>> from dealerqm import tables
    >>> orders = tables.load()["service_orders"]
    >>> parse("kind in [repair, warranty] and not is_comeback", orders, "here")[1]
    Term(column='is_comeback', op='true', values=(), negated=True)
    """
    if not isinstance(condition, str):
        raise PlanError(
            f"{where}: found {condition!r}, expected a condition such as 'kind == body'."
        )
    parts = [part.strip() for part in re.split(r"\band\b", condition)] if condition.strip() else []
    if len(parts) > MAX_TERMS:
        raise PlanError(
            f"{where}: has {len(parts)} terms, at most {MAX_TERMS} are allowed; "
            "derive a column in tables.toml instead."
        )
    return tuple(_term(part, table, where) for part in parts)


def _term(text: str, table: Table, where: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise PlanError(
            f"{where}: cannot read {text!r}. Allowed: column, present(column), "
            "column op literal, column in [a, b], each with 'not' before it."
        )
    found = match.groupdict()
    name = found["present"] or found["member"] or found["column"]
    if name not in table.stored:
        raise PlanError(unknown(f"{where}: column of {table.name}", name, table.stored))
    negated = bool(found["negated"])
    if found["present"]:
        return Term(name, "present", (), negated)
    if found["member"]:
        return Term(name, "in", _list(found["list"], table.columns[name], where), negated)
    if found["op"]:
        literal = found["literal"].strip()
        return Term(name, found["op"], _operand(found["op"], literal, table.columns[name], where),
                    negated)  # fmt: skip
    if table.columns[name].type != "bool":
        kind = table.columns[name].type
        raise PlanError(f"{where}: {name} is {kind}, only true/false can stand alone.")
    return Term(name, "true", (), negated)


def _list(text: str, column: Column, where: str) -> tuple[Literal, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise PlanError(f"{where}: the list of {column.name} is empty; name at least one word.")
    return tuple(_literal(word, column, where) for word in words)


def _operand(op: str, literal: str, column: Column, where: str) -> tuple[Literal]:
    if op in ORDERED and column.type not in NUMBERS:
        raise PlanError(f"{where}: {column.name} is {column.type}, so {op!r} has no meaning.")
    return (_literal(literal, column, where),)


def _literal(word: str, column: Column, where: str) -> Literal:
    if column.type in ("date", "datetime"):
        raise PlanError(
            f"{where}: {column.name} is a {column.type}; only present({column.name}) has a meaning."
        )
    if column.type in NUMBERS:
        if not _NUMBER.fullmatch(word) or ("." in word and column.type != "float"):
            kind = "number" if column.type == "float" else "whole number"
            raise PlanError(f"{where}: {word!r} is no {kind}, but {column.name} is {column.type}.")
        return _in_range(float(word) if column.type == "float" else int(word), column, where)
    if column.type == "bool":
        if word not in ("true", "false"):
            raise PlanError(f"{where}: {word!r} is neither true nor false ({column.name}).")
        return word == "true"
    if column.values and word not in column.values:
        raise PlanError(unknown(f"{where}: word of {column.name}", word, column.values))
    return word


def _in_range(number: float, column: Column, where: str) -> float:
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    if not low <= number <= high:
        raise PlanError(
            f"{where}: {number} lies outside the range of {column.name}, {low:g} to {high:g}."
        )
    return number
