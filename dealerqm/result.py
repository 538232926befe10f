"""Results and findings: what every analysis hands on, as data and never as text.

A Result is a tidy table with declared columns, the findings drawn from it, and a note that states
every choice made. Sentences, rounding and pixels appear only in ``show`` and ``plot``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError, unknown

if TYPE_CHECKING:
    from dealerqm.plot import Picture

SEVERITIES = ("act", "watch", "info")
DIRECTIONS = ("better", "worse", "none")
UNIT_TYPES = ("group", "region", "store", "staff", "segment", "risk", "improvement")
DIGITS = 12


@dataclass(frozen=True)
class Unit:
    """What a column of a Result holds: its unit of measure and its label key.

    Attributes
    ----------
    measure : str
        ``share, count, date, text, flag, value`` (in the KPI's own unit), ``p`` …
    label : str
        Key in ``labels.toml``.
    """

    measure: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the data say, as data: who, when, what, how sure.

    Attributes
    ----------
    quarter, subject, rule, kpi : str
        Period key, part of the package, rule that fired, KPI.
    unit_type, unit : str
        One of ``UNIT_TYPES`` and the unit's id.
    period_start, period_end : date
        Days the finding is about.
    value, expected, low, high : float or None
        Estimate, what was expected, and the interval of the estimate.
    p_value, q_value : float or None
        Evidence, before and after false-discovery control.
    severity, direction : str
        One of ``SEVERITIES`` and ``DIRECTIONS``.
    onset : tuple of date, or None
        Date of the change with its earliest and latest day.
    evidence : mapping
        Table name and row keys.
    """

    quarter: str
    subject: str
    rule: str
    kpi: str
    unit_type: str
    unit: str
    period_start: date
    period_end: date
    severity: str
    direction: str = "none"
    value: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    onset: tuple[date, date, date] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse words outside the closed lists."""
        for name, allowed in (
            ("severity", SEVERITIES), ("direction", DIRECTIONS), ("unit_type", UNIT_TYPES),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise MethodError(unknown(f"finding {name}", getattr(self, name), allowed))

    @property
    def finding_id(self) -> str:
        """Stable hash of what the finding is about, equal in every rerun."""
        parts = (self.quarter, self.subject, self.rule, self.kpi, self.unit_type, self.unit)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields, floats with 12 significant digits, dates as ISO text."""
        return {"finding_id": self.finding_id, **{k: plain(v) for k, v in asdict(self).items()}}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Base of all results: a table with declared columns, findings, and a note.

    Attributes
    ----------
    frame : DataFrame
        The table; use ``table`` to read it.
    findings : tuple of Finding
        What it says.
    note : mapping
        Snapshot, plan, method, choices, rows used and dropped.
    """

    COLUMNS: ClassVar[Mapping[str, Unit]] = MappingProxyType({})
    SUMMARY: ClassVar[tuple[str, ...]] = ()

    frame: pd.DataFrame = field(repr=False)
    findings: tuple[Finding, ...] = ()
    note: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a table whose columns are not the declared ones; keep a private copy."""
        if list(self.frame.columns) != list(self.COLUMNS):
            raise MethodError(
                f"{type(self).__name__}: has columns {list(self.frame.columns)}, "
                f"expected {list(self.COLUMNS)}."
            )
        object.__setattr__(self, "frame", self.frame.reset_index(drop=True).copy())

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the tidy table; editing it cannot reach the Result."""
        return self.frame.copy()

    def summary(self) -> pd.DataFrame:
        """Return the few columns that a reader needs first, at most 12 rows."""
        columns = list(self.SUMMARY or self.COLUMNS)
        return self.frame[columns].head(12).reset_index(drop=True)

    def where(self, **equal: object) -> Self:
        """Return the same result with only the rows whose columns have these values."""
        keep = pd.Series(data=True, index=self.frame.index)
        for name, wanted in equal.items():
            if name not in self.COLUMNS:
                raise MethodError(unknown(f"{type(self).__name__} column", name, self.COLUMNS))
            keep &= self.frame[name].isin(wanted if isinstance(wanted, list) else [wanted])
        return replace(self, frame=self.frame[keep])

    def show(self, lang: str = "zh", *, columns: Sequence[str] = ()) -> pd.DataFrame:
        """Return the table for readers: words and rounded numbers in one language.

        Parameters
        ----------
        lang : str
            Language code.
        columns : sequence of str
            Columns to show; none means all.

        Returns
        -------
        DataFrame
            Text only; missing values are en dashes.
        """
        rows = self.frame.to_dict("list")
        kpis = self.note.get("kpis", {})
        known = [kpis.get(name, {}) for name in rows.get("kpi", [""] * len(self.frame))]
        shown = {}
        for name in columns or self.COLUMNS:
            column = self.COLUMNS[name]
            heading = labels.text(column.label, lang)
            if heading in shown:
                heading = f"{heading} ({name})"
            shown[heading] = [
                spell_kpi(value, column.measure, kpi, lang)
                for value, kpi in zip(rows[name], known, strict=True)
            ]
        return pd.DataFrame(shown)

    def plot(self, lang: str = "zh") -> Picture:
        """Draw the result; the drawing lives in ``dealerqm.plot``."""
        from dealerqm import plot  # the one sanctioned upward import

        return plot.draw(self, lang)

    def _repr_html_(self) -> str:
        return str(self.summary().to_html(index=False, na_rep="", border=0))


def plain(value: Any) -> Any:  # noqa: ANN401  JSON is untyped
    """Return a value as JSON can hold it, the same bytes every time.

    Parameters
    ----------
    value : object
        Number, date, text, mapping or sequence; missing numbers become None.

    Returns
    -------
    object
        Floats rounded to 12 significant digits, dates as ISO text, tuples as lists.

    Examples
    --------
    >>> plain({"a": 1 / 3, "b": date(2026, 9, 30), "c": float("nan")})
    {'a': 0.333333333333, 'b': '2026-09-30', 'c': None}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def spell_kpi(value: Any, measure: str, kpi: Mapping[str, Any], lang: str) -> str:  # noqa: ANN401
    """Return one cell whose spelling depends on the KPI of its row.

    Parameters
    ----------
    value : object
        The cell.
    measure : str
        ``kpi`` and ``kpi_change`` follow the KPI's measure, ``kpi_name`` and ``unit_name`` give
        names; anything else is spelled by ``spell``.
    kpi : mapping
        ``label, measure, unit`` of the row's KPI.
    lang : str
        Language code.

    Returns
    -------
    str
        Rounded number with its sign or unit, or a name.

    Examples
    --------
    >>> csat = {"label": {"en": "Satisfied"}, "measure": "share", "unit": ""}
    >>> spell_kpi(0.9, "kpi", csat, "en"), spell_kpi(0.012, "kpi_change", csat, "en")
    ('90.0%', '+1.2')
    """
    if measure == "kpi_name":
        return str(kpi["label"][lang]) if kpi else str(value)
    if measure == "unit_name":
        return labels.text("unit_type.group", lang) if value == "group" else str(value)
    if measure == "kpi":
        return spell(value, kpi.get("measure", "value"), lang)
    if measure == "kpi_change":
        return spell(value, _CHANGES[kpi.get("measure", "value")], lang)
    return spell(value, measure, lang)


def spell(value: Any, measure: str, lang: str) -> str:  # noqa: ANN401
    """Return one cell for readers.

    Parameters
    ----------
    value : object
        The cell; missing becomes an en dash.
    measure : str
        ``share`` (shown in percent), ``points`` (difference of shares, in percentage points),
        ``score`` (times 100), ``count``, ``value``, ``signed``, ``p``, ``flag``, ``date``,
        ``text``, or ``word:<prefix>`` for a key of ``labels.toml`` below the prefix; with
        ``words:`` several keys apart by blanks.
    lang : str
        Language code.

    Returns
    -------
    str
        Rounded number or word.

    Examples
    --------
    >>> spell(0.9123, "share", "en"), spell(None, "share", "en"), spell(1234.5, "value", "en")
    ('91.2%', '–', '1,234.5')
    >>> spell("met", "word:verdict", "zh")
    '达标'
    """
    if value is None or value is pd.NA or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if measure.startswith("word:"):
        return labels.text(f"{measure[5:]}.{value}", lang)
    if measure.startswith("words:"):
        words = [labels.text(f"{measure[6:]}.{word}", lang) for word in str(value).split()]
        return labels.text("word.list", lang).join(words)
    writer = _WRITERS.get(measure)
    return writer(value, lang) if writer else str(value)


def _number(value: float, _: str) -> str:
    size = abs(value)
    digits = 0 if size >= 10_000 else 1 if size >= 10 else 2 if size >= 1 else 3  # noqa: PLR2004
    return f"{value:,.{digits}f}"


_CHANGES = {"share": "points", "score": "points", "value": "signed"}
_WRITERS: Mapping[str, Callable[[Any, str], str]] = {
    "share": lambda value, _: f"{100 * value:.1f}%",
    "points": lambda value, _: f"{100 * value:+.1f}",
    "score": lambda value, _: f"{100 * value:.0f}",
    "signed": lambda value, lang: ("+" if value > 0 else "") + _number(value, lang),
    "count": lambda value, _: f"{int(value):,}",
    "value": _number,
    "p": lambda value, _: "<0.001" if value < 0.001 else f"{value:.3f}",  # noqa: PLR2004
    "flag": lambda value, lang: labels.text("word.yes" if value else "word.no", lang),
    "date": lambda value, _: str(value)[:10],
}
