"""The questions to row-level data, each answered by a small frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dealerqm.errors import MethodError
from dealerqm.facts.cells import weighted_cells
from dealerqm.facts.engine import (
    Ask,
    Flag,
    Frame,
    collected,
    frame,
    holds,
    known,
    mean,
    nw,
    ordered,
)

MINUTE = 60
ROWS_CAP = 100_000


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
            columns[name] = (known(terms) & holds(terms)).cast(nw.Int64)
            columns[f"{name}_known"] = known(terms).cast(nw.Int64)
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
            value = nw.when(holds(flag)).then(mean(columns) * grain).otherwise(value)
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
        return weighted_cells(self.table(ask.table), ask, roles, answer=answer, weight=weight)

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
        row = collected(ends).iloc[0]
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
        return ordered(found, names)

    def _frame(self, ask: Ask) -> Frame:
        return frame(self.table(ask.table), ask)

    def _sum(self, ask: Ask, columns: Mapping[str, nw.Expr]) -> pd.DataFrame:
        names = ["rows", *columns]
        frame = self._frame(ask).with_columns(rows=nw.lit(1, dtype=nw.Int64), **columns)
        totals = [nw.col(name).sum() for name in names]
        sums = frame.group_by(*ask.by).agg(*totals) if ask.by else frame.select(*totals)
        found = collected(sums).fillna(dict.fromkeys(names, 0))
        return ordered(found.astype(dict.fromkeys(names, "int64")), list(ask.by))

    def _histogram(self, ask: Ask, columns: Mapping[str, nw.Expr]) -> pd.DataFrame:
        frame = self._frame(ask).select(*ask.by, **columns, count=nw.lit(1, dtype=nw.Int64))
        names = [*ask.by, *columns]
        sums = frame.group_by(*names).agg(nw.col("count").sum())
        found = collected(sums)
        kinds = {"value": "Float64", "event": "int64", "count": "int64"}
        return ordered(found.astype({n: kinds[n] for n in (*columns, "count")}), names)
