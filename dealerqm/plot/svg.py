"""SVG as text: make it small, safe and bilingual.

An allow-list decides what stays, so the same function compacts our own drawings and disarms
drawings of others: no script, no style sheet, no event attribute, no reference outside the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as Safe
import pandas as pd
from defusedxml.common import DefusedXmlException

from dealerqm.errors import MethodError

FINE = 6  # decimals of a scale
NAMESPACE = "http://www.w3.org/2000/svg"
TAGS = {
    "svg", "g", "defs", "clipPath", "path", "use", "rect", "circle", "ellipse", "line",
    "polyline", "polygon", "text", "tspan", "title", "desc", "linearGradient", "radialGradient",
    "stop",
}  # fmt: skip
INHERITED = (
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "font-size", "font-family",
    "font-weight", "font-style", "text-anchor",
)  # fmt: skip
ATTRIBUTES = {
    *INHERITED, "opacity", "clip-path", "id", "href", "d", "points", "transform", "x", "y", "x1",
    "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "viewBox", "offset",
    "stop-color", "stop-opacity", "gradientUnits", "gradientTransform", "dx", "dy", "lang",
}  # fmt: skip
_GEOMETRY = {
    "d", "points", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry",
    "width", "height",
}  # fmt: skip
_DEFAULTS = {
    "stroke-opacity": "1", "fill-opacity": "1", "stroke-dashoffset": "0", "text-anchor": "start",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+e-?\d+")
_LOCAL = re.compile(r"url\(#([\w.-]+)\)")
_BLANK = re.compile(r"\s*([MLHVCSQTAZmlhvcsqtaz,])\s*|\s+")
_LINE = re.compile(r"([MLz])(?:([\d.-]+) ([\d.-]+))?")
_LINES = re.compile(rf"(?:{_LINE.pattern})+")
_ID = re.compile(r'(?<= id=")|(?<= href="#)|(?<=url\(#)')
_NO_TURN = re.compile(r"rotate\(-?0[ )].*")


@dataclass(frozen=True)
class Picture:
    """A drawing with the words and numbers that say the same.

    Attributes
    ----------
    svg : str
        A whole SVG file.
    alt : str
        What the picture shows, in one or two sentences.
    data : DataFrame
        The small table that the picture stands beside.
    notes : DataFrame
        What the numbered flags stand for: ``number, kind, period, end, text``; empty without flags.
    """

    svg: str = field(repr=False)
    alt: str
    data: pd.DataFrame = field(repr=False, compare=False)
    notes: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}


def clean(svg: str, *, digits: int = 1) -> str:
    """Return a drawing with only allowed parts, rounded numbers and short ids.

    Parameters
    ----------
    svg : str
        A whole SVG file.
    digits : int
        Decimals kept in coordinates; marker shapes keep one more.

    Returns
    -------
    str
        The drawing, to stand alone as a file or, without its name space, in a page.

    Raises
    ------
    MethodError
        If the text is no SVG, or one with entities of its own.

    Examples
    --------
    >>> clean('<svg xmlns="http://www.w3.org/2000/svg"><script/><path d="M 0.123 1"/></svg>')
    '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0.1 1"/></svg>'
    """
    try:
        root = Safe.fromstring(svg)
    except (ParseError, DefusedXmlException) as error:
        raise MethodError(f"picture: found no readable SVG: {error}.") from None
    kept = _allowed(root)
    if kept is None or kept.tag != "svg":
        raise MethodError(f"picture: found <{root.tag}>, expected <svg>.")
    _short_ids(kept)
    _round(kept, digits)
    _hoist(kept)
    kept.attrib = {"xmlns": NAMESPACE, **kept.attrib}
    return _write(kept)


def inline(svg: str, labelled_by: str) -> str:
    """Return a cleaned drawing as part of a page, its ids made unique by the label's.

    Parameters
    ----------
    svg : str
        Result of ``clean``.
    labelled_by : str
        Id of the element whose text describes the picture.

    Returns
    -------
    str
        The ``<svg>`` element without name space, with role and description.

    Examples
    --------
    >>> inline('<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>', "c1")
    '<svg role="img" aria-labelledby="c1"><g/></svg>'
    """
    role = f'<svg role="img" aria-labelledby="{labelled_by}"'
    return _ID.sub(rf"\g<0>{labelled_by}-", svg).replace(f'<svg xmlns="{NAMESPACE}"', role, 1)


def bilingual(svg: str, words: Mapping[str, Mapping[str, str]]) -> str:
    """Return a drawing that holds its words in every language; the page's style hides all but one.

    Parameters
    ----------
    svg : str
        Result of ``clean``.
    words : mapping of str to mapping
        Text as drawn to ``{language: text}``.

    Returns
    -------
    str
        The drawing, each known text replaced by one ``<tspan lang>`` a language.

    Examples
    --------
    >>> bilingual("<text>目标</text>", {"目标": {"zh": "目标", "en": "goal"}})
    '<text><tspan lang="zh">目标</tspan><tspan lang="en">goal</tspan></text>'
    """
    escaped = {_escape(drawn): texts for drawn, texts in words.items()}

    def spans(match: re.Match[str]) -> str:
        texts = escaped.get(match[1])
        if texts is None:
            return match[0]
        parts = (f'<tspan lang="{code}">{_escape(text)}</tspan>' for code, text in texts.items())
        return f">{''.join(parts)}</text>"

    return re.sub(r">([^<>]+)</text>", spans, svg)


def titled(svg: str, titles: Mapping[str, Sequence[str]]) -> str:
    """Return a drawing whose marks say something under the pointer.

    Parameters
    ----------
    svg : str
        A whole SVG file, not yet cleaned.
    titles : mapping of str to sequence of str
        Id of a group to one text for each of its first ``<use>`` elements.

    Returns
    -------
    str
        The drawing, a ``<title>`` in every such element.

    Examples
    --------
    >>> titled('<g id="a"><use x="1"/><use x="2"/></g>', {"a": ["n < 3"]})
    '<g id="a"><use x="1"><title>n &lt; 3</title></use><use x="2"/></g>'
    """
    for name, texts in titles.items():
        head, found, tail = svg.partition(f'<g id="{name}">')
        parts = re.split(r"(<use [^>]*?)/>", tail, maxsplit=len(texts))
        for place, text in zip(range(1, len(parts), 2), texts, strict=False):
            parts[place] += f"><title>{_escape(text)}</title></use>"
        svg = head + found + "".join(parts)
    return svg


def _allowed(node: Element) -> Element | None:
    """Copy a node as far as it is allowed; style becomes attributes, a title holds only text."""
    tag = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
    if tag not in TAGS:
        return None
    if tag in ("title", "desc"):
        copy = Element(tag)
        copy.text = node.text
        return copy
    copy = Element(tag, dict(sorted(_attributes(node).items())))
    copy.text = node.text if tag in ("text", "tspan") else None
    copy.extend(child for child in map(_allowed, node) if child is not None)
    return copy


def _attributes(node: Element) -> dict[str, str]:
    found = {name.rpartition("}")[2]: value for name, value in node.attrib.items()}
    for rule in found.pop("style", "").split(";"):
        name, _, value = rule.partition(":")
        found[name.strip()] = value.strip()
    return {
        name: value.removesuffix("px") if name == "font-size" else value
        for name, value in found.items()
        if name in ATTRIBUTES and _harmless(name, value) and _DEFAULTS.get(name) != value
    }


def _harmless(name: str, value: str) -> bool:
    if name == "href":
        return value.startswith("#")
    if name == "transform":
        return not _NO_TURN.fullmatch(value)
    return "url(" not in value or _LOCAL.fullmatch(value) is not None


def _short_ids(root: Element) -> None:
    """Give ids that something refers to a short name and drop the others."""
    wanted = [node.get("href", "#")[1:] for node in root.iter()]
    wanted += [match[1] for node in root.iter() if (match := _LOCAL.match(_any_url(node)))]
    there = {node.get("id") for node in root.iter()}
    known = dict.fromkeys(name for name in wanted if name in there)
    short = {name: str(number) for number, name in enumerate(known, 1)}
    for node in root.iter():
        if (own := node.attrib.pop("id", None)) in short:
            node.set("id", short[own])
        if "href" in node.attrib:
            node.set("href", "#" + short.get(node.get("href", "")[1:], ""))
        for name, value in list(node.attrib.items()):
            if match := _LOCAL.fullmatch(value):
                node.set(name, f"url(#{short.get(match[1], '')})")


def _any_url(node: Element) -> str:
    return next((value for value in node.attrib.values() if value.startswith("url(#")), "")


def _round(node: Element, digits: int) -> None:
    for name in _GEOMETRY & set(node.attrib):
        value = _NUMBER.sub(lambda match: _short(match[0], digits), node.attrib[name])
        if name == "d":
            value = _BLANK.sub(lambda match: match[1] or " ", value).strip()
            value = _steps(value) if _LINES.fullmatch(value) else value
        node.set(name, value)
    if "transform" in node.attrib:
        value = _NUMBER.sub(lambda match: _short(match[0], FINE), node.attrib["transform"])
        node.set("transform", value)
    for child in node:
        _round(child, digits + 1 if node.tag == "defs" else digits)


def _steps(path: str) -> str:
    """Write a path of straight lines in its short form; a line without length becomes a dot."""
    parts: list[str] = []
    here = before = ("", "")
    for command, x, y in _LINE.findall(path):
        point = (x, y)
        if command == "L" and point == here:
            parts[-1] += "z" if parts[-1][0] == "M" and parts[-1][-1] != "z" else ""
            continue
        if command == "L" and parts and parts[-1][0] == "M":
            parts[-1] = parts[-1].rstrip("z")
        short, axis = _level(here, point) if command == "L" else ("", 0)
        if short and parts[-1][0] == short[0] and _onward(before[axis], here[axis], point[axis]):
            parts[-1] = short
        else:
            parts.append(short or f"{command}{x} {y}".strip())
            before = here
        here = point
    return "".join(parts)


def _level(here: tuple[str, str], there: tuple[str, str]) -> tuple[str, int]:
    """Return the short form of a level or upright line, and the axis along which it runs."""
    if here[1] == there[1]:
        return f"H{there[0]}", 0
    return (f"V{there[1]}", 1) if here[0] == there[0] else ("", 0)


def _onward(one: str, two: str, three: str) -> bool:
    """Whether the third place lies beyond the second as seen from the first."""
    return (float(two) - float(one)) * (float(three) - float(two)) > 0


def _short(number: str, digits: int) -> str:
    text = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _hoist(node: Element) -> None:
    """Give a group what all its children share, then dissolve groups that say nothing."""
    for child in node:
        _hoist(child)
    if node.tag in ("g", "svg"):
        _share(node, [child for child in node if child.tag != "defs"])
    flat: list[Element] = []
    for child in node:
        if child.tag == "g" and not child.attrib:
            flat.extend(child)
        elif child.tag not in ("g", "defs") or len(child):
            flat.append(child)
    node[:] = _runs(flat)


def _runs(children: list[Element]) -> list[Element]:
    """Put neighbouring texts of one look into a group."""
    grouped: list[Element] = []
    for look, run in groupby(children, key=_look):
        texts = list(run)
        if look is None or len(texts) == 1:
            grouped += texts
            continue
        group = Element("g", dict(look))
        for text in texts:
            text.attrib = {k: v for k, v in text.attrib.items() if k not in group.attrib}
            group.append(text)
        grouped.append(group)
    return grouped


def _look(node: Element) -> tuple[tuple[str, str], ...] | None:
    look = tuple((name, value) for name, value in node.attrib.items() if name in INHERITED)
    return look if node.tag == "text" and look else None


def _share(node: Element, children: list[Element]) -> None:
    for name in INHERITED:
        values = {child.get(name) for child in children}
        if len(children) > 1 and len(values) == 1 and None not in values:
            node.set(name, str(values.pop()))
            for child in children:
                del child.attrib[name]


def _write(node: Element) -> str:
    head = "".join(f' {name}="{_escape(value)}"' for name, value in node.attrib.items())
    body = _escape(node.text or "") + "".join(map(_write, node))
    return f"<{node.tag}{head}>{body}</{node.tag}>" if body else f"<{node.tag}{head}/>"


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;")
