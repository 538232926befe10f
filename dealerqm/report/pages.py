"""From sections to one offline HTML file: templates, all languages, the page's own font."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dealerqm import labels, plot
from dealerqm.publish import policy

REPLACED = "<!-- replaced characters -->"
_TAG = re.compile(r"<[^>]*>")
_PLAIN_ASCII = range(0x20, 0x7F)


def both(key: str, **values: object) -> Markup:
    """Return the words of a label key in every language; the page shows one of them.

    Parameters
    ----------
    key : str
        Dotted key of ``labels.toml``.
    **values : object
        Fields; a mapping gives a field per language.

    Returns
    -------
    Markup
        One ``<span lang>`` a language.

    Examples
    --------
    >>> str(both("verdict.met"))
    '<span lang="zh">达标</span><span lang="en">met</span>'
    """
    said = {}
    for lang in labels.languages():
        fields = {k: v[lang] if isinstance(v, Mapping) else v for k, v in values.items()}
        said[lang] = labels.text(key, lang, **fields)
    return spans(said)


def spans(texts: Mapping[str, str]) -> Markup:
    """Return texts as one ``<span lang>`` a language, or once when they are equal.

    Parameters
    ----------
    texts : mapping of str to str
        Language to text; may hold anything, it is escaped.

    Returns
    -------
    Markup
        HTML.

    Examples
    --------
    >>> str(spans({"zh": "a<b", "en": "a<b"}))
    'a&lt;b'
    """
    if len(set(texts.values())) == 1:
        return safe(next(iter(texts.values())))
    return Markup().join(
        Markup('<span lang="{}">{}</span>').format(lang, safe(text)) for lang, text in texts.items()
    )


def word(prefix: str, value: str) -> Markup:
    """Return the words for a value of a closed list, or the value itself where there are none.

    Parameters
    ----------
    prefix, value : str
        Together a key of ``labels.toml``.

    Returns
    -------
    Markup
        HTML.

    Examples
    --------
    >>> str(word("issue", "no_such_rule"))
    'no_such_rule'
    """
    key = f"{prefix}.{value}"
    return both(key) if key in labels.keys() else safe(value)  # noqa: SIM118  no mapping


def safe(value: object) -> Markup:
    """Return a value escaped, with nothing in it that looks like an address to load.

    Parameters
    ----------
    value : object
        Text or number; None is empty, Markup stays.

    Returns
    -------
    Markup
        HTML.

    Examples
    --------
    >>> str(safe("<a href=//x>"))
    '&lt;a href=//x&gt;'
    """
    if isinstance(value, Markup):
        return value
    text = "" if value is None else str(value)
    return Markup(str(escape(text)).replace("://", "&#58;//"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dealerqm", "templates"), autoescape=True, undefined=StrictUndefined,
        finalize=safe, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False,
    )  # fmt: skip
    environment.globals.update(t=both, p=spans, w=word)
    return environment


def _template(name: str) -> str:
    return resources.files("dealerqm").joinpath("templates", name).read_text(encoding="utf-8")


def render(body: str, *, title: Mapping[str, str], context: Mapping[str, Any]) -> str:
    """Return a whole page.

    Parameters
    ----------
    body : str
        Name of the template of the page's content.
    title : mapping of str to str
        Language to title.
    context : mapping
        What the template shows.

    Returns
    -------
    str
        HTML with style, script, font and policy inside.
    """
    environment = _environment()
    content, missing = _drawable(environment.get_template(body).render(title=title, **context))
    codes = ", ".join(f"U+{ord(letter):04X}" for letter in sorted(missing))
    note = Markup("<p>{}</p>").format(both("page.replaced", codes=codes)) if missing else ""
    content = content.replace(REPLACED, str(note))
    shell = environment.get_template("page.html.jinja")
    parts = {"title": title, "content": Markup(content), "script": Markup(_template("report.js"))}
    bare = shell.render(**parts, style="", policy="")
    style = _template("report.css") + font_face(html.unescape(_TAG.sub("", bare)))
    return shell.render(**parts, style=Markup(style), policy=policy(style)) + "\n"


def _drawable(content: str) -> tuple[str, set[str]]:
    """Replace characters that the font lacks by a sign that it has, so that nothing is a box."""
    known = plot.charmap()
    missing = {c for c in set(content) if ord(c) not in known and not c.isspace()}
    if missing:
        content = content.translate({ord(letter): plot.FALLBACK for letter in missing})
    return content, missing


def font_face(text: str) -> str:
    """Return the style rule that brings the glyphs of a text.

    Parameters
    ----------
    text : str
        Everything that the page says.

    Returns
    -------
    str
        ``@font-face`` with a WOFF inside.
    """
    points = {ord(letter) for letter in text} | set(_PLAIN_ASCII)
    data = base64.b64encode(_subset(frozenset(points & plot.charmap()))).decode()
    return (
        f'@font-face{{font-family:"{plot.FAMILY}";font-weight:400;'
        f'src:url(data:font/woff;base64,{data}) format("woff")}}'
    )


@cache
def _subset(points: frozenset[int]) -> bytes:
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options()
    options.layout_features = ["kern"]
    options.name_IDs = [1, 2, 13, 14]
    options.notdef_outline = True
    options.hinting = False
    font = TTFont(plot.font_path(), recalcTimestamp=False)
    maker = subset.Subsetter(options)
    maker.populate(unicodes=sorted(points))
    maker.subset(font)
    font.flavor = "woff"
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()
