"""Writes exports: dialect A as GB18030 CSV, dialect B and the registers as workbooks.

Nothing depends on the clock: workbooks carry fixed dates, and rows keep their order.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd

from dealerqm.tables import Column, Table
from dealerqm.world import DAY, HOUR, Floats, World

Sheet = tuple[list[str], list[list[str]]]

_EPOCH = date(1899, 12, 30)  # day 0 of the workbook calendar
_ZIP_TIME = (2026, 10, 1, 0, 0, 0)
_FEN = 100
_TIMES, _NUMBERS = ("date", "datetime"), ("int", "float", "money")
_NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACK = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def write_csv(path: Path, table: Table, rows: pd.DataFrame, world: World) -> None:
    """Write one table as dialect A: GB18030, title row, Chinese headers and words.

    Parameters
    ----------
    path : Path
        File.
    table : Table
        Its contract.
    rows : DataFrame
        Columns of the contract; times in minutes, dates in days.
    world : World
        Gives the calendar and the spelling of each table.
    """
    columns, made = table.exported, world.section("sample")
    style = "dash"
    for name in ("slashes", "characters"):
        style = name if table.name in made[name] else style
    cells_ = [_texts(rows[name], column, style, world) for name, column in columns.items()]
    lines = [f"{table.files[0]}明细  导出日期:{world.as_of + timedelta(days=1)}"]
    lines.append(",".join(column.headers[0] for column in columns.values()))
    lines += map(",".join, zip(*cells_, strict=True))
    if table.name in made["totals"]:
        sums = [_total(rows[name], column) for name, column in columns.items()]
        lines.append(",".join(["合计", *sums[1:]]))
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode("gb18030"))


def _total(values: pd.Series, column: Column) -> str:
    return f"{values.sum() / _FEN:.0f}" if column.type == "money" else ""


def _texts(values: pd.Series, column: Column, style: str, world: World) -> list[str]:
    """Return the cells of a column as dialect A spells them; missing ones are empty."""
    if column.type in _TIMES:
        out = _times(_filled(values), column.type, style, world)
    elif column.type == "bool":
        out = np.where(values.fillna(False).astype(bool), "是", "否").tolist()
    elif column.type in _NUMBERS:
        out = _numbers(values, column, world)
    elif words := _words(column, 0):
        out = [words.get(value, "") for value in values]
    else:
        out = [_quoted(str(value)) for value in values]
    return ["" if gone else cell for gone, cell in zip(values.isna(), out, strict=True)]


def _filled(values: pd.Series) -> Floats:
    return np.asarray(np.nan_to_num(values.to_numpy(dtype=np.float64)))


def _numbers(values: pd.Series, column: Column, world: World) -> list[str]:
    numbers = _filled(values) / (_FEN if column.type == "money" else 1)
    if column.name in world.section("sample")["thousands"]:
        return [_quoted(f"￥{number:,.0f}") for number in numbers]
    return [f"{number:.10g}" for number in numbers]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n') else text


def _times(values: Floats, kind: str, style: str, world: World) -> list[str]:
    """Spell days, or minutes as day and clock; every day is spelled once."""
    days = (values if kind == "date" else values // DAY).astype(np.int64)
    known, place = np.unique(days, return_inverse=True)
    spelled = [_spell(world.first + timedelta(days=int(day)), style) for day in known]
    if kind == "date":
        return [spelled[i] for i in place]
    clock = [f" {minute // HOUR:02d}:{minute % HOUR:02d}" for minute in range(DAY)]
    minutes = (values % DAY).astype(np.int64)
    return [spelled[i] + clock[minute] for i, minute in zip(place, minutes, strict=True)]


def _spell(day: date, style: str) -> str:
    if style == "slashes":
        return f"{day.year}/{day.month}/{day.day}"
    return f"{day.year}年{day.month}月{day.day}日" if style == "characters" else str(day)


def sheet(table: Table, rows: pd.DataFrame, world: World) -> Sheet:
    """Return one table as a sheet of dialect B: English headers, real dates and numbers.

    Parameters
    ----------
    table : Table
        Its contract.
    rows : DataFrame
        Columns of the contract; times in minutes, dates in days.
    world : World
        Gives the calendar.

    Returns
    -------
    (list of str, list of list of str)
        Headers, and the XML of the cells by column.
    """
    columns = table.exported
    heads = [column.headers[1] for column in columns.values()]
    return heads, [cells(rows[name], column, world) for name, column in columns.items()]


def cells(values: pd.Series, column: Column, world: World) -> list[str]:
    """Return the cells of a column of a workbook.

    Parameters
    ----------
    values : Series
        Column; times in minutes, dates in days.
    column : Column
        Its contract.
    world : World
        Gives the calendar.

    Returns
    -------
    list of str
        XML of each cell; empty cells where a value is missing.
    """
    if column.type in _TIMES:
        style, per = ("2", 1) if column.type == "date" else ("1", DAY)
        numbers = (world.first - _EPOCH).days + _filled(values) / per
        out = [f'<c s="{style}"><v>{number:.15g}</v></c>' for number in numbers]
    elif column.type == "bool":
        out = [f'<c t="b"><v>{int(bool(value))}</v></c>' for value in values]
    elif column.type in _NUMBERS:
        numbers = _filled(values) / (_FEN if column.type == "money" else 1)
        out = [f"<c><v>{number:.10g}</v></c>" for number in numbers]
    else:
        words = _words(column, 1)
        out = [_text_cell(words.get(value, str(value))) for value in values]
    return ["<c/>" if gone else cell for gone, cell in zip(values.isna(), out, strict=True)]


def _words(column: Column, dialect: int) -> dict[str, str]:
    """Return how a dialect spells the words of a category."""
    spellings = column.values  # noqa: PD011 (a mapping, no frame)
    return {word: spelled[dialect] for word, spelled in spellings.items()}


def _text_cell(text: str) -> str:
    return f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>'


def write_xlsx(path: Path, sheets: Mapping[str, Sheet]) -> None:
    """Write a workbook without any clock in it.

    Parameters
    ----------
    path : Path
        File.
    sheets : mapping
        Name of each sheet to headers and cells, as `sheet` and `cells` make them.
    """
    pages = [("worksheet", f"worksheets/sheet{i + 1}.xml") for i in range(len(sheets))]
    parts = {
        "[Content_Types].xml": _content_types(len(sheets)),
        "_rels/.rels": _relations([("officeDocument", "xl/workbook.xml")]),
        "xl/workbook.xml": _workbook(list(sheets)),
        "xl/_rels/workbook.xml.rels": _relations([*pages, ("styles", "styles.xml")]),
        "xl/styles.xml": _styles(),
    }
    for (_, name), content in zip(pages, sheets.values(), strict=True):
        parts[f"xl/{name}"] = _page(content)
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = 0o600 << 16
            book.writestr(info, text.encode("utf-8"), compresslevel=9)


def _page(content: Sheet) -> str:
    heads, columns = content
    rows = ["".join(map(_text_cell, heads)), *map("".join, zip(*columns, strict=True))]
    body = "".join(f"<row>{row}</row>" for row in rows)
    return f'{_HEAD}<worksheet xmlns="{_NS}"><sheetData>{body}</sheetData></worksheet>'


def _content_types(sheets: int) -> str:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    pages = "".join(
        f'<Override PartName="/xl/worksheets/sheet{i + 1}.xml" ContentType="{kind}.worksheet+xml"/>'
        for i in range(sheets)
    )
    return (
        f'{_HEAD}<Types xmlns="{_PACK}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{pages}'
        f'<Override PartName="/xl/styles.xml" ContentType="{kind}.styles+xml"/></Types>'
    )


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<Relationship Id="rId{i + 1}" Type="{_REL}/{kind}" Target="{target}"/>'
        for i, (kind, target) in enumerate(targets)
    )
    return f'{_HEAD}<Relationships xmlns="{_PACK}/relationships">{rows}</Relationships>'


def _workbook(names: Sequence[str]) -> str:
    pages = "".join(
        f'<sheet name="{escape(name)}" sheetId="{i + 1}" r:id="rId{i + 1}"/>'
        for i, name in enumerate(names)
    )
    return f'{_HEAD}<workbook xmlns="{_NS}" xmlns:r="{_REL}"><sheets>{pages}</sheets></workbook>'


def _styles() -> str:
    plain = '<xf numFmtId="{}" fontId="0" fillId="0" borderId="0" xfId="0"{}/>'
    formats = plain.format(0, "") + plain.format(164, ' applyNumberFormat="1"')
    formats += plain.format(14, ' applyNumberFormat="1"')
    return (
        f'{_HEAD}<styleSheet xmlns="{_NS}"><numFmts count="1">'
        '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm"/></numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/>'
        f'</cellStyleXfs><cellXfs count="3">{formats}</cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
        "</styleSheet>"
    )
