"""Weighted cells: the sums of weights that the estimates of a survey need, exact on any engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import pandas as pd

from dealerqm.errors import MethodError
from dealerqm.facts.engine import Ask, collected, frame, nw, ordered

STEP = 1 << 20  # weights are summed in parts of 20 bits
TOP = 1 << 20  # and lie below this


def weighted_cells(
    native: object, ask: Ask, roles: Mapping[str, str], *, answer: str, weight: str
) -> pd.DataFrame:
    """Collapse survey rows into the weighted cells of a cube.

    Parameters
    ----------
    native : DuckDB relation, pandas or Spark frame
        The table.
    ask, roles, answer, weight
        As for ``Facts.weighted_cells``.

    Returns
    -------
    DataFrame
        As for ``Facts.weighted_cells``.

    Raises
    ------
    MethodError
        If a row lacks a role or a usable weight.
    """
    value = nw.col(weight)
    good = ((value >= 0) & (value < TOP)).fill_null(value=False)
    filled = reduce(lambda a, b: a & b, (~nw.col(c).is_null() for c in roles.values()), good)
    given = nw.when(good).then(value).otherwise(0.0)
    rows = frame(native, Ask(ask.table, (), ask.where, ask.between)).select(
        **{role: nw.col(column) for role, column in roles.items()},
        answer=nw.col(answer).cast(nw.Float64),
        weighs=(given > 0).cast(nw.Int64),
        bad=(~filled).cast(nw.Int64),
        n=nw.lit(1, dtype=nw.Int64),
        steps=(given * float(STEP**2) + 0.5).floor().cast(nw.Int64),
    )
    rows = rows.with_columns(a=nw.col("steps") // STEP**2)
    rows = rows.with_columns(b=(nw.col("steps") - nw.col("a") * STEP**2) // STEP)
    rows = rows.with_columns(c=nw.col("steps") - nw.col("a") * STEP**2 - nw.col("b") * STEP)
    a, b, c = (nw.col(name) for name in "abc")
    rows = rows.with_columns(aa=a * a, ab=2 * a * b, ac=2 * a * c + b * b, bc=2 * b * c, cc=c * c)
    keys, sums = (
        [*roles, "answer", "weighs"],
        ["bad", "n", *"abc", "aa", "ab", "ac", "bc", "cc"],
    )
    cells = rows.group_by(*keys).agg(*(nw.col(name).sum() for name in sums))
    cells = cells.with_columns(*(nw.col(name).cast(nw.Int64) for name in sums))
    found = collected(cells)
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
    return ordered(found, keys)[[*roles, "answer", "n", "w", "w2"]]
