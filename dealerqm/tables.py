"""What every table holds: the loader of ``tables.toml``.

A contract names its columns, their types, ranges, allowed words, sensitivity and the headers
under which exports carry them; derived columns are declared here and computed on ingest.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from dealerqm import labels
from dealerqm.errors import TableError, unknown

TYPES = ("id", "text", "category", "int", "float", "money", "bool", "date", "datetime")
SENSITIVE = ("", "pseudonym", "drop", "mask")
PERIOD_KEYS = ("day", "week", "month", "quarter", "weekday")
_COLUMN_KEYS = {
    "type", "headers", "required", "sensitive", "person", "ref", "min", "max", "values", "codes",
    "keys", "planned",
}  # fmt: skip
_DERIVED_KEYS = {"type", "unit", "from", "label"}
_TABLE_KEYS = {"label", "key", "files", "required", "made_from", "order", "columns", "derived"}


@dataclass(frozen=True)
class Column:
    """One column of a table contract.

    Attributes
    ----------
    name : str
        Contract name.
    type : str
        One of ``TYPES``; ``money`` is integer fen, exports write yuan.
    headers : tuple of str
        Names under which exports carry it; dialect A first, dialect B second.
    required : bool
        A row without it goes to quarantine.
    sensitive : str
        Empty, ``pseudonym``, ``drop`` or ``mask``.
    person : str
        Pseudonym space, such as ``customer`` or ``staff``.
    ref : str
        Table whose key it points to, or empty.
    minimum, maximum : float or None
        Range in stored units, both included.
    values : mapping
        Canonical word to its spellings in exports; empty means any word.
    codes : tuple of int
        Numbers that mean "no answer" and become missing.
    keys : bool
        Whether period keys are stored beside it.
    planned : bool
        A time that may lie after the snapshot's ``as_of``, such as a promise.
    source : tuple of str
        For a derived column: function of ``ingest/derive.py`` and its arguments.
    unit : str
        Unit of a derived column.
    label : mapping
        Language to name.
    """

    name: str
    type: str
    headers: tuple[str, ...] = ()
    required: bool = False
    sensitive: str = ""
    person: str = ""
    ref: str = ""
    minimum: float | None = None
    maximum: float | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    codes: tuple[int, ...] = ()
    keys: bool = False
    planned: bool = False
    source: tuple[str, ...] = ()
    unit: str = ""
    label: Mapping[str, str] = field(default_factory=dict)

    @property
    def derived(self) -> bool:
        """Whether ingest computes the column instead of reading it."""
        return bool(self.source)


@dataclass(frozen=True)
class Table:
    """One table contract.

    Attributes
    ----------
    name : str
        Contract name.
    label : mapping
        Language to name.
    key : tuple of str
        Columns that identify a row.
    columns : mapping
        Name to Column, in order, derived ones last.
    files : tuple of str
        File names of the two export dialects.
    required : bool
        Whether a review cannot do without it.
    made_from : str
        For a table that ingest makes itself: function of ``ingest/derive.py``.
    order : tuple of (str, str)
        Pairs of times: the first is never after the second.
    """

    name: str
    label: Mapping[str, str]
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    files: tuple[str, ...] = ()
    required: bool = False
    made_from: str = ""
    order: tuple[tuple[str, str], ...] = ()

    @property
    def exported(self) -> dict[str, Column]:
        """The columns that exports carry."""
        return {name: column for name, column in self.columns.items() if not column.derived}

    @property
    def stored(self) -> dict[str, Column]:
        """The columns that a snapshot holds: all but the dropped ones."""
        return {name: col for name, col in self.columns.items() if col.sensitive != "drop"}

    def with_items(self, items: Mapping[str, Column]) -> Table:
        """Return the contract with the instrument's item columns before the derived ones."""
        exported = {**self.exported, **items}
        derived = {name: column for name, column in self.columns.items() if column.derived}
        return Table(
            self.name, self.label, self.key, MappingProxyType({**exported, **derived}),
            self.files, self.required, self.made_from, self.order,
        )  # fmt: skip


@cache
def load() -> Mapping[str, Table]:
    """Return the package's table contracts.

    Returns
    -------
    mapping of str to Table
        In the order of ``tables.toml``.

    Examples
    --------
    >>> load()["service_orders"].columns["labour_fen"].type
    'money'
    """
    text = resources.files("dealerqm").joinpath("tables.toml").read_text(encoding="utf-8")
    return MappingProxyType(read(tomllib.loads(text)))


def read(raw: Mapping[str, dict[str, Any]], where: str = "tables.toml") -> dict[str, Table]:
    """Check a parsed contract file and turn it into contracts.

    Parameters
    ----------
    raw : mapping
        The parsed TOML: table name to ``label, key, files, required, columns, derived``.
    where : str
        File name for messages.

    Returns
    -------
    dict of str to Table
        In the order of the file.

    Raises
    ------
    TableError
        If a key, type, sensitivity, reference or source column is unknown, something is missing,
        a label lacks a language, or a header stands for two columns of one table.

    Examples
    --------
    >>> toml = {"t": {"label": {"en": "T", "zh": "T"}, "key": ["a"],
    ...               "columns": {"a": {"type": "id", "headers": ["甲", "A"]}}}}
    >>> read(toml)["t"].columns["a"].label
    {'zh': '甲', 'en': 'A'}
    """
    contracts = {name: _table(name, body, where) for name, body in raw.items()}
    for table in contracts.values():
        for column in table.columns.values():
            if column.ref and column.ref not in contracts:
                place = f"{where} [{table.name}.columns.{column.name}] ref"
                raise TableError(unknown(place, column.ref, contracts))
            _sources(table, column, contracts, where)
    return contracts


def _sources(table: Table, column: Column, contracts: Mapping[str, Table], where: str) -> None:
    """Refuse a derived column made from something that neither it nor a named table has."""
    here = {**table.columns, **contracts}
    for word in column.source[1:]:
        if word not in here:
            raise TableError(
                unknown(f"{where} [{table.name}.derived.{column.name}] from", word, here)
            )
        here |= contracts[word].columns if word in contracts else {}


def _table(name: str, body: Mapping[str, Any], where: str) -> Table:
    place = f"{where} [{name}]"
    _only(body, _TABLE_KEYS, place)
    _needs(body, ("label", "key", "columns"), place)
    columns: dict[str, Column] = {}
    for column, spec in dict(body["columns"]).items():
        columns[column] = _column(column, spec, f"{where} [{name}.columns.{column}]")
    for column, spec in dict(body.get("derived", {})).items():
        columns[column] = _derived(column, spec, f"{where} [{name}.derived.{column}]")
    _unique_headers(columns, place)
    key = tuple(body["key"])
    for part in key:
        if part not in columns:
            raise TableError(unknown(f"{place} key", part, columns))
    order = tuple((str(first), str(second)) for first, second in body.get("order", ()))
    for part in (column for pair in order for column in pair):
        if part not in columns:
            raise TableError(unknown(f"{place} order", part, columns))
    return Table(
        name=name,
        label=_label(body["label"], place),
        key=key,
        columns=MappingProxyType(columns),
        files=tuple(body.get("files", ())),
        required=bool(body.get("required", False)),
        made_from=str(body.get("made_from", "")),
        order=order,
    )


def _column(name: str, spec: Mapping[str, Any], place: str) -> Column:
    _only(spec, _COLUMN_KEYS, place)
    if spec.get("type") not in TYPES:
        raise TableError(unknown(f"{place} type", str(spec.get("type")), TYPES))
    if spec.get("sensitive", "") not in SENSITIVE:
        raise TableError(unknown(f"{place} sensitive", str(spec["sensitive"]), SENSITIVE))
    headers = tuple(spec.get("headers", ()))
    values = {word: tuple(spellings) for word, spellings in dict(spec.get("values", {})).items()}
    return Column(
        name=name,
        type=str(spec["type"]),
        headers=headers,
        required=bool(spec.get("required", False)),
        sensitive=str(spec.get("sensitive", "")),
        person=str(spec.get("person", "")),
        ref=str(spec.get("ref", "")),
        minimum=spec.get("min"),
        maximum=spec.get("max"),
        values=values,
        codes=tuple(spec.get("codes", ())),
        keys=bool(spec.get("keys", False)),
        planned=bool(spec.get("planned", False)),
        label=dict(zip(("zh", "en"), headers, strict=False)),
    )


def _derived(name: str, spec: Mapping[str, Any], place: str) -> Column:
    _only(spec, _DERIVED_KEYS, place)
    _needs(spec, ("from", "label"), place)
    if spec.get("type") not in TYPES:
        raise TableError(unknown(f"{place} type", str(spec.get("type")), TYPES))
    return Column(
        name=name,
        type=str(spec["type"]),
        source=tuple(spec["from"]),
        unit=str(spec.get("unit", "")),
        label=_label(spec["label"], place),
    )


def _label(body: Mapping[str, str], place: str) -> dict[str, str]:
    codes = labels.languages()
    if set(body) != set(codes):
        raise TableError(f"{place} label: found {dict(body)}, expected a text for each of {codes}.")
    return dict(body)


def _unique_headers(columns: Mapping[str, Column], place: str) -> None:
    seen: dict[str, str] = {}
    for column in columns.values():
        for header in column.headers:
            if header in seen:
                raise TableError(
                    f"{place}: header {header!r} stands for {seen[header]} and {column.name}."
                )
            seen[header] = column.name


def _only(body: Mapping[str, Any], allowed: set[str], place: str) -> None:
    for key in body:
        if key not in allowed:
            raise TableError(unknown(place, key, allowed))


def _needs(body: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in keys:
        if key not in body:
            raise TableError(f"{place}: {key} is missing.")
