"""Questions to row-level data, answered by small frames of sufficient statistics.

The only module that queries rows. It is written once over narwhals; DuckDB over the snapshot's
Parquet is the default engine, pandas frames serve tests, Spark tables can be handed over.

Traps of the portability layer that shape the code: conditions become integer columns before
``group_by`` (a ``when`` inside ``agg`` is ignored by some engines), ``agg`` holds only sums and
counts, sums of integers are cast to int64, and no date arithmetic is done here (ingest stores
period keys and durations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import reduce
from typing import Any

import narwhals as nw
import pandas as pd

from dealerqm.conditions import Term
from dealerqm.errors import MethodError

Flag = tuple[Term, ...]
MINUTE = 60
ROWS_CAP = 100_000
STEP = 1 << 20  # weights are summed in parts of 20 bits
TOP = 1 << 20  # and lie below this


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


@dataclass(frozen=True)
class Facts:
    """The questions, over any engine that narwhals knows.

    Attributes
    ----------
    table : callable
        Table name to a native frame (DuckDB relation, pandas or Spark frame).
    """

    table: Callable[[str], Any]

    def counts(self, ask: Ask, flags: Mapping[str, Flag]) -> pd.DataFrame:
        """Count rows, and rows that satisfy conditions.

        Parameters
        ----------
        ask : Ask
            Rows and grouping.
        flags : mapping of str to tuple of Term
            Name to condition.

        Returns
        -------
        DataFrame
            ``by``, ``rows``, and per flag ``<name>`` (rows where it holds) and ``<name>_known``
            (rows where all its columns are filled); int64, sorted by ``by``.
        """
        columns = {}
        for name, terms in flags.items():
            columns[name] = (_known(terms) & _holds(terms)).cast(nw.Int64)
            columns[f"{name}_known"] = _known(terms).cast(nw.Int64)
        return self._sum(ask, columns)

    def within(self, ask: Ask, duration: str, age: str, limit: int) -> pd.DataFrame:
        """Count rows finished within a time limit, late, and still pending.

        Parameters
        ----------
        ask : Ask
            Rows and grouping.
        duration, age : str
            Columns in seconds: time to the event (missing while open), and time watched.
        limit : int
            Seconds; a duration equal to the limit is in time.

        Returns
        -------
        DataFrame
            ``by``, ``rows``, ``in_time``, ``late`` (finished late, or open past the limit),
            ``pending`` (open, limit not yet reached); int64, sorted by ``by``.
        """
        done = ~nw.col(duration).is_null()
        quick = done & (nw.col(duration) <= limit).fill_null(value=False)
        overdue = ~done & (nw.col(age) > limit).fill_null(value=False)
        columns = {
            "in_time": quick.cast(nw.Int64),
            "late": ((done & ~quick) | overdue).cast(nw.Int64),
            "pending": (~done & ~overdue).cast(nw.Int64),
        }
        return self._sum(ask, columns)

    def histogram(self, ask: Ask, column: str) -> pd.DataFrame:
        """Count the rows per value of a column.

        Parameters
        ----------
        ask : Ask
            Rows and grouping.
        column : str
            Numeric column (seconds, fen, scores).

        Returns
        -------
        DataFrame
            ``by``, ``value`` (missing where the column is), ``count``; sorted.
        """
        return self._histogram(ask, {"value": nw.col(column)})

    def spells(
        self, ask: Ask, event_after: str, age: str, *, until: int | None = None
    ) -> pd.DataFrame:
        """Count rows per time to the event or to the end of watching, in whole minutes.

        Parameters
        ----------
        ask : Ask
            Rows and grouping.
        event_after, age : str
            Columns in seconds: time to the event (missing if none yet), and time watched.
        until : int or None
            Seconds after which nothing counts: later times become this time without event.

        Returns
        -------
        DataFrame
            ``by``, ``value`` (minutes; missing where both columns are), ``event`` (0 or 1),
            ``count``; sorted.
        """
        happened = ~nw.col(event_after).is_null()
        time = nw.coalesce(nw.col(event_after), nw.col(age))
        if until is not None:
            beyond = (time > until).fill_null(value=False)
            happened = happened & ~beyond
            time = nw.when(beyond).then(nw.lit(until)).otherwise(time)
        return self._histogram(ask, {"value": time // MINUTE, "event": happened.cast(nw.Int64)})

    def weighted(
        self, ask: Ask, weights: Sequence[tuple[Flag, Mapping[str, float]]], *, grain: float
    ) -> pd.DataFrame:
        """Count the rows per weighted mean of several columns.

        Parameters
        ----------
        ask : Ask
            Rows and grouping.
        weights : sequence of (condition, mapping)
            The first condition that a row satisfies gives its column weights.
        grain : float
            The weighted mean is multiplied by this and rounded to a whole number, halves up.

        Returns
        -------
        DataFrame
            ``by``, ``value`` (whole, missing where no column is filled), ``count``; sorted.
        """
        value: nw.Expr = nw.lit(None, dtype=nw.Float64)
        for flag, columns in reversed(weights):
            value = nw.when(_holds(flag)).then(_mean(columns) * grain).otherwise(value)
        return self._histogram(ask, {"value": (value + 0.5).floor().cast(nw.Int64)})

    def weighted_cells(
        self, ask: Ask, roles: Mapping[str, str], *, answer: str, weight: str
    ) -> pd.DataFrame:
        """Collapse survey rows into the weighted cells of a cube.

        Parameters
        ----------
        ask : Ask
            Rows; its ``by`` columns are not used.
        roles : mapping of str to str
            What the cells are told apart by, to its column: ``domain``, ``stratum``, ``psu``,
            margins of the weights. One column may have several roles.
        answer, weight : str
            Numeric columns; a missing answer is an answer of its own.

        Returns
        -------
        DataFrame
            The roles, ``answer``, ``n`` rows, ``w`` and ``w2`` sums of weights and of their
            squares, for ``sampling.cube.read_cells``; sorted. Rows of weight 0 are cells of their
            own.

        Raises
        ------
        MethodError
            If a row lacks a role, or a weight that is 0 or above and below 1,048,576.

        Notes
        -----
        Weights are taken in steps of 2⁻⁴⁰, in three parts of 20 bits, and summed as whole numbers:
        the sums do not depend on the order of the rows or the engine.
        """
        value = nw.col(weight)
        good = ((value >= 0) & (value < TOP)).fill_null(value=False)
        filled = reduce(lambda a, b: a & b, (~nw.col(c).is_null() for c in roles.values()), good)
        given = nw.when(good).then(value).otherwise(0.0)
        frame = self._frame(Ask(ask.table, (), ask.where, ask.between)).select(
            **{role: nw.col(column) for role, column in roles.items()},
            answer=nw.col(answer).cast(nw.Float64),
            weighs=(given > 0).cast(nw.Int64),
            bad=(~filled).cast(nw.Int64),
            n=nw.lit(1, dtype=nw.Int64),
            steps=(given * float(STEP**2) + 0.5).floor().cast(nw.Int64),
        )
        frame = frame.with_columns(a=nw.col("steps") // STEP**2)
        frame = frame.with_columns(b=(nw.col("steps") - nw.col("a") * STEP**2) // STEP)
        frame = frame.with_columns(c=nw.col("steps") - nw.col("a") * STEP**2 - nw.col("b") * STEP)
        a, b, c = (nw.col(name) for name in "abc")
        frame = frame.with_columns(
            aa=a * a, ab=2 * a * b, ac=2 * a * c + b * b, bc=2 * b * c, cc=c * c
        )
        keys, sums = (
            [*roles, "answer", "weighs"],
            ["bad", "n", *"abc", "aa", "ab", "ac", "bc", "cc"],
        )
        cells = frame.group_by(*keys).agg(*(nw.col(name).sum() for name in sums))
        cells = cells.with_columns(*(nw.col(name).cast(nw.Int64) for name in sums))
        found = cells.collect("pandas").to_native()
        if found["bad"].sum():
            raise MethodError(
                f"{ask.table}: {found['bad'].sum()} rows lack {', '.join(roles.values())} or a "
                f"{weight} from 0 to {TOP}; fill them, or leave these rows out by a condition."
            )
        part = {name: found[name].to_numpy("float64") for name in sums}
        found["w"] = part["a"] + part["b"] / STEP + part["c"] / STEP**2
        found["w2"] = part["aa"] + (
            part["ab"] / STEP + part["ac"] / STEP**2 + part["bc"] / STEP**3 + part["cc"] / STEP**4
        )
        found = found.astype({"answer": "Float64", "n": "int64"})
        return _sorted(found, keys)[[*roles, "answer", "n", "w", "w2"]]

    def extent(self, table: str, column: str) -> tuple[Any, Any]:
        """Return the smallest and largest value of a column.

        Parameters
        ----------
        table, column : str
            Where to look.

        Returns
        -------
        (object, object)
            Missing values when the column is empty.
        """
        frame = nw.from_native(self.table(table)).lazy()
        ends = frame.select(low=nw.col(column).min(), high=nw.col(column).max())
        row = ends.collect("pandas").to_native().iloc[0]
        return row["low"], row["high"]

    def rows(self, ask: Ask, columns: Sequence[str], *, cap: int = ROWS_CAP) -> pd.DataFrame:
        """Return the named columns of the rows, or refuse past the cap.

        Parameters
        ----------
        ask : Ask
            Rows; its ``by`` columns come first and give the order.
        columns : sequence of str
            Further columns.
        cap : int
            At most so many rows.

        Returns
        -------
        DataFrame
            Sorted by all its columns.

        Raises
        ------
        MethodError
            If there are more rows than the cap.
        """
        names = [*ask.by, *columns]
        frame = self._frame(ask).select(*names)
        found = frame.head(cap + 1).collect("pandas").to_native()
        if len(found) > cap:
            raise MethodError(
                f"{ask.table}: more than {cap} rows asked for; ask for fewer days, stores or "
                "columns, or for counts."
            )
        return _sorted(found, names)

    def _frame(self, ask: Ask) -> nw.LazyFrame[Any]:
        frame: nw.LazyFrame[Any] = nw.from_native(self.table(ask.table)).lazy()
        keep = [~nw.col(name).is_null() for name in ask.by]
        if ask.where:
            keep.append(_known(ask.where) & _holds(ask.where))
        if ask.between:
            day, first, last = ask.between
            start, end = (datetime.combine(d, time()) for d in (first, last))
            keep.append((nw.col(day) >= start) & (nw.col(day) <= end))
        return frame.filter(reduce(lambda a, b: a & b, keep)) if keep else frame

    def _sum(self, ask: Ask, columns: Mapping[str, nw.Expr]) -> pd.DataFrame:
        names = ["rows", *columns]
        frame = self._frame(ask).with_columns(rows=nw.lit(1, dtype=nw.Int64), **columns)
        totals = [nw.col(name).sum() for name in names]
        sums = frame.group_by(*ask.by).agg(*totals) if ask.by else frame.select(*totals)
        found = sums.collect("pandas").to_native().fillna(dict.fromkeys(names, 0))
        return _sorted(found.astype(dict.fromkeys(names, "int64")), list(ask.by))

    def _histogram(self, ask: Ask, columns: Mapping[str, nw.Expr]) -> pd.DataFrame:
        frame = self._frame(ask).select(*ask.by, **columns, count=nw.lit(1, dtype=nw.Int64))
        names = [*ask.by, *columns]
        sums = frame.group_by(*names).agg(nw.col("count").sum())
        found = sums.collect("pandas").to_native()
        kinds = {"value": "Float64", "event": "int64", "count": "int64"}
        return _sorted(found.astype({n: kinds[n] for n in (*columns, "count")}), names)


def _holds(terms: Flag) -> nw.Expr:
    return reduce(lambda a, b: a & b, (_term(term) for term in terms), nw.lit(value=True))


def _known(terms: Flag) -> nw.Expr:
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


def _mean(weights: Mapping[str, float]) -> nw.Expr:
    total = reduce(
        lambda a, b: a + b, (nw.col(c).fill_null(0) * float(w) for c, w in weights.items())
    )
    weight = reduce(
        lambda a, b: a + b,
        ((~nw.col(c).is_null()).cast(nw.Float64) * float(w) for c, w in weights.items()),
    )
    return nw.when(weight > 0).then(total / weight)


def _sorted(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    texts = {name: "str" for name in names if frame[name].dtype == object}
    frame = frame.astype(texts)
    return frame.sort_values(names, kind="stable").reset_index(drop=True) if names else frame
