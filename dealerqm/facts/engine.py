"""The portability layer: the one importer of narwhals, and what every question is made of.

Traps that shape the code: conditions become integer columns before ``group_by`` (a ``when`` inside
``agg`` is ignored by some engines), ``agg`` holds only sums, counts, minima and maxima, sums of
integers are cast to int64, and no date arithmetic is done here (ingest stores period keys and
durations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import reduce
from typing import Any

import narwhals as nw
import pandas as pd

from dealerqm.conditions import Term

__all__ = ["Ask", "Flag", "Frame", "collected", "frame", "holds", "known", "mean", "nw", "ordered"]

Flag = tuple[Term, ...]
Frame = nw.LazyFrame[Any]


@dataclass(frozen=True)
class Ask:
    """Which rows of which table, grouped how.

    Attributes
    ----------
    table : str
        Table of the snapshot.
    by : tuple of str
        Columns to group by; rows where one is missing are left out.
    where : tuple of Term
        Rows that count; a row whose column is missing does not.
    between : (str, date, date) or None
        Day column with first and last day, both included.
    """

    table: str
    by: tuple[str, ...]
    where: tuple[Term, ...] = ()
    between: tuple[str, date, date] | None = None


def frame(native: object, ask: Ask) -> Frame:
    """Return the rows that a question is about.

    Parameters
    ----------
    native : DuckDB relation, pandas or Spark frame
        The whole table.
    ask : Ask
        Rows; those without one of its ``by`` columns are left out.

    Returns
    -------
    LazyFrame
        Not yet run.
    """
    rows: Frame = nw.from_native(native).lazy()  # type: ignore[call-overload]
    keep = [~nw.col(name).is_null() for name in ask.by]
    if ask.where:
        keep.append(known(ask.where) & holds(ask.where))
    if ask.between:
        day, first, last = ask.between
        start, end = (datetime.combine(d, time()) for d in (first, last))
        keep.append((nw.col(day) >= start) & (nw.col(day) <= end))
    return rows.filter(reduce(lambda a, b: a & b, keep)) if keep else rows


def holds(terms: Flag) -> nw.Expr:
    """Return whether all terms hold; a missing value satisfies no comparison.

    Parameters
    ----------
    terms : tuple of Term
        Joined by "and"; none means always.

    Returns
    -------
    Expr
        True or false, never missing.
    """
    return reduce(lambda a, b: a & b, (_term(term) for term in terms), nw.lit(value=True))


def known(terms: Flag) -> nw.Expr:
    """Return whether every column of the terms is filled, as far as they ask for its value.

    Parameters
    ----------
    terms : tuple of Term
        A condition.

    Returns
    -------
    Expr
        True or false.
    """
    filled = (~nw.col(term.column).is_null() for term in terms if term.op != "present")
    return reduce(lambda a, b: a & b, filled, nw.lit(value=True))


def _term(term: Term) -> nw.Expr:
    column = nw.col(term.column)
    expression = _OPERATORS[term.op](column, term.values).fill_null(value=False)
    return ~expression if term.negated else expression


_OPERATORS: Mapping[str, Callable[[nw.Expr, tuple[Any, ...]], nw.Expr]] = {
    "true": lambda column, _: column,
    "present": lambda column, _: ~column.is_null(),
    "in": lambda column, values: column.is_in(list(values)),
    "==": lambda column, values: column == values[0],
    "!=": lambda column, values: column != values[0],
    "<": lambda column, values: column < values[0],
    "<=": lambda column, values: column <= values[0],
    ">": lambda column, values: column > values[0],
    ">=": lambda column, values: column >= values[0],
}


def mean(weights: Mapping[str, float]) -> nw.Expr:
    """Return the weighted mean of the filled columns of a row.

    Parameters
    ----------
    weights : mapping of str to float
        Column to weight.

    Returns
    -------
    Expr
        Missing where no column is filled.
    """
    total = reduce(
        lambda a, b: a + b, (nw.col(c).fill_null(0) * float(w) for c, w in weights.items())
    )
    weight = reduce(
        lambda a, b: a + b,
        ((~nw.col(c).is_null()).cast(nw.Float64) * float(w) for c, w in weights.items()),
    )
    return nw.when(weight > 0).then(total / weight)


def collected(rows: Frame) -> pd.DataFrame:
    """Run a question.

    Parameters
    ----------
    rows : LazyFrame
        What is wanted.

    Returns
    -------
    DataFrame
        Of pandas, whatever the engine.
    """
    found: pd.DataFrame = rows.collect("pandas").to_native()
    return found


def ordered(found: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Sort an answer, texts as texts.

    Parameters
    ----------
    found : DataFrame
        Any order.
    names : list of str
        Columns to sort by, the first one first.

    Returns
    -------
    DataFrame
        Numbered from 0.
    """
    texts = {name: "str" for name in names if found[name].dtype == object}
    found = found.astype(texts)
    return found.sort_values(names, kind="stable").reset_index(drop=True) if names else found
