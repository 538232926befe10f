"""One executed notebook as one offline page: everything sanitised, code folded away."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import nh3
from markupsafe import Markup

from dealerqm import labels, plot
from dealerqm.errors import MethodError
from dealerqm.report.pages import render, safe

DROPPED = {"interactive", "remove", "remove-cell"}
INPUT_HIDDEN = {"hide-input", "remove-input"}
TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "div", "dl", "dt", "em",
    "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol", "p",
    "pre", "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "u", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan", "scope"},
    "span": {"lang"}, "p": {"lang"}, "div": {"lang"}, "table": {"class"},
}  # fmt: skip
RICHEST = ("image/svg+xml", "text/html", "image/png", "text/markdown", "text/plain")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
_TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_CELL = re.compile(r"<(t[hd])((?: scope=\"\w+\")?)>([^<]*)</t[hd]>")
_NUMERIC = re.compile(r"[<+−-]?[\d,.]+%?|–|")
_SAFE_LINK = re.compile(r"(?:#[\w.-]*|[\w-][\w.-]*(?:#[\w.-]*)?)")


def notebook_html(notebook: Mapping[str, Any], *, title: str, home: str = "") -> str:
    """Return an executed notebook as a page in the style of the report.

    Parameters
    ----------
    notebook : mapping
        In the notebook format, version 4, with outputs.
    title : str
        Used where the notebook has no heading.
    home : str
        File that the page links back to, or empty.

    Returns
    -------
    str
        One HTML file that loads nothing. Cells tagged ``interactive`` are left out, code is
        folded, HTML of cells and outputs passes an allow-list, pictures keep only shapes.

    Raises
    ------
    MethodError
        If it is no notebook of version 4.
    """
    if notebook.get("nbformat") != 4 or "cells" not in notebook:  # noqa: PLR2004  the format's name
        raise MethodError(
            f"notebook {title!r}: found no nbformat 4, expected a notebook with cells."
        )
    cells = [
        _cell(cell, number)
        for number, cell in enumerate(notebook["cells"])
        if not DROPPED & set(cell.get("metadata", {}).get("tags", ()))
    ]
    name = heading(notebook) or title
    context = {"cells": [cell for cell in cells if cell], "home": home}
    titles = dict.fromkeys(labels.languages(), name)
    return render("notebook.html.jinja", title=titles, context=context)


def heading(notebook: Mapping[str, Any]) -> str:
    """Return the first heading of a notebook.

    Parameters
    ----------
    notebook : mapping
        In the notebook format.

    Returns
    -------
    str
        Its text, or nothing.

    Examples
    --------
    >>> heading({"cells": [{"cell_type": "markdown", "source": "# 投诉 · Complaints"}]})
    '投诉 · Complaints'
    """
    for cell in notebook["cells"]:
        found = re.match(r"\s*#\s+(.+)", _joined(cell["source"]))
        if cell["cell_type"] == "markdown" and found:
            return found[1].strip()
    return ""


def _cell(cell: Mapping[str, Any], number: int) -> dict[str, Any] | None:
    source, tags = _joined(cell["source"]), set(cell.get("metadata", {}).get("tags", ()))
    if cell["cell_type"] == "markdown":
        return {"kind": "text", "html": sanitised(_markdown(source))}
    if cell["cell_type"] != "code" or not source.strip():
        return None
    outputs = list(_outputs(cell.get("outputs", ()), number))
    code = None if INPUT_HIDDEN & tags else source
    return {"kind": "code", "code": code, "outputs": outputs} if code or outputs else None


def _outputs(outputs: Iterable[Mapping[str, Any]], number: int) -> Iterable[dict[str, Any]]:
    for place, output in enumerate(outputs):
        if output["output_type"] == "stream":
            yield {"kind": "pre", "html": _pre(output["text"])}
        elif output["output_type"] == "error":
            yield {"kind": "error", "html": _pre(f"{output['ename']}: {output['evalue']}")}
        else:
            yield from _shown(output.get("data", {}), f"o-{number}-{place}")


def _shown(data: Mapping[str, Any], name: str) -> Iterable[dict[str, Any]]:
    kind = next((kind for kind in RICHEST if kind in data), None)
    if kind is None:
        return
    content = _joined(data[kind])
    said = _joined(data.get("text/plain", ""))
    if kind == "image/svg+xml":
        picture = plot.inline(plot.clean(content), name)
        yield {"kind": "picture", "id": name, "html": Markup(picture), "alt": said}
    elif kind == "image/png" and _BASE64.fullmatch(content):
        bare = "".join(content.split())
        image = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(bare, said)
        yield {"kind": "picture", "id": name, "html": image, "alt": ""}
    elif kind == "text/html":
        yield {"kind": "html", "html": sanitised(content)}
    elif kind == "text/markdown":
        yield {"kind": "html", "html": sanitised(_markdown(content))}
    elif kind == "text/plain":
        yield {"kind": "pre", "html": _pre(content)}


def sanitised(html: str) -> Markup:
    """Return HTML of others with only harmless elements, and no link that leaves the folder.

    Parameters
    ----------
    html : str
        Any HTML.

    Returns
    -------
    Markup
        Text, tables and lists; scripts, styles, forms, pictures and handlers are gone.

    Examples
    --------
    >>> str(sanitised('<p onclick="x()">a<script>b</script> <a href="javascript:c">d</a></p>'))
    '<p>a <a>d</a></p>'
    """
    clean = nh3.clean(
        html, tags=TAGS, attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
        attribute_filter=_kept, url_schemes=set(), link_rel=None, strip_comments=True,
        clean_content_tags={"script", "style", "iframe", "object", "svg", "math", "template"},
    )  # fmt: skip
    return Markup(_TABLE.sub(_aligned, clean).replace("://", "&#58;//"))


def _aligned(table: re.Match[str]) -> str:
    """Mark the columns of a plain table that hold only numbers, so that they end at the right."""
    rows = [_CELL.findall(row) for row in _ROW.findall(table[0])]
    width = max((len(row) for row in rows), default=0)
    if len(rows) < 2 or any(len(row) != width for row in rows):  # noqa: PLR2004  head and body
        return table[0]
    body = [[text for _, _, text in row] for row in rows[1:]]
    numeric = [all(_NUMERIC.fullmatch(row[i]) for row in body) for i in range(width)]
    places = itertools.cycle(numeric)
    return _CELL.sub(
        lambda cell: (
            f'<{cell[1]} class="num"{cell[2]}>{cell[3]}</{cell[1]}>' if next(places) else cell[0]
        ),
        table[0],
    )


def _kept(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "href":
        return value if _SAFE_LINK.fullmatch(value) else None
    if attribute == "class":
        return value if value in ("dataframe", "num") else None
    return value


def _pre(text: Any) -> Markup:  # noqa: ANN401
    return safe(_CONTROL.sub("", _joined(text)))


def _markdown(source: str) -> str:
    import mistune  # comes with the workbench

    return str(mistune.html(source))


def _joined(source: Any) -> str:  # noqa: ANN401  the format allows a text or its lines
    return source if isinstance(source, str) else "".join(source)
