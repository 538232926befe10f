"""The one importer of matplotlib: figures of fixed size with the package's own font.

Matplotlib is imported when something is drawn, so `import dealerqm` stays light. A character that
the font lacks is an error, never a box.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from dealerqm import labels
from dealerqm.errors import MethodError, ParameterError, unknown
from dealerqm.plot import scale
from dealerqm.plot import svg as drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

FAMILY = "Dealerqm Sans SC"
BOTH = "both"
FALLBACK = "〓"
POINTS_PER_INCH = 72

# Okabe and Ito: told apart by every kind of colour vision; shapes and dashes say the same again.
INK, GREY, PALE, BAND = "#333333", "#767676", "#d9d9d9", "#f0f3f6"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


class Mark(NamedTuple):
    """A sign of a chart: shape, colours of face and edge, size in points."""

    marker: str
    face: str
    edge: str
    size: float


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
    """

    svg: str = field(repr=False)
    alt: str
    data: pd.DataFrame = field(repr=False, compare=False)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}


@dataclass
class Words:
    """The words of one picture; in ``both`` it remembers what to say in each language."""

    lang: str
    said: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an unknown language."""
        allowed = [*labels.languages(), BOTH]
        if self.lang not in allowed:
            raise ParameterError(unknown("language", self.lang, allowed))

    def __call__(self, key: str, **values: object) -> str:
        """Return the words of a label key."""
        return self.of({code: labels.text(key, code, **values) for code in labels.languages()})

    def of(self, texts: Mapping[str, str]) -> str:
        """Return one of the texts; in ``both`` the longest stands for all while drawing."""
        if self.lang != BOTH:
            return texts[self.lang]
        longest = max(texts.values(), key=len)
        self.said[longest] = dict(texts)
        return longest


def font_path() -> Path:
    """Return the file of the package's font.

    Returns
    -------
    Path
        An OpenType file; its licence stands beside it.

    Examples
    --------
    >>> font_path().name
    'DealerqmSansSC.otf'
    """
    return Path(str(resources.files("dealerqm").joinpath("fonts", "DealerqmSansSC.otf")))


@cache
def charmap() -> frozenset[int]:
    """Return the code points that the font can show.

    Returns
    -------
    frozenset of int
        Code points.

    Examples
    --------
    >>> ord("满") in charmap(), 0x20BB7 in charmap()
    (True, False)
    """
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_path())).get_charmap())


def visible(text: str) -> str:
    """Return a text from the data with 〓 for every character that the font lacks.

    Parameters
    ----------
    text : str
        A store name, say; texts of the package itself must not need this.

    Returns
    -------
    str
        The text, drawable.

    Examples
    --------
    >>> visible("𠮷祥店")
    '〓祥店'
    """
    known = charmap()
    return "".join(letter if ord(letter) in known else FALLBACK for letter in text)


@contextmanager
def style(*, editable_text: bool) -> Iterator[None]:
    """Set everything that decides how a picture looks, whatever the machine's settings are.

    Parameters
    ----------
    editable_text : bool
        Whether the SVG keeps text as text (for pages that bring the font) or turns it to shapes
        (for files that stand alone).

    Yields
    ------
    None
        While drawing.
    """
    from matplotlib import font_manager, rc_context, rcdefaults, rcParams

    manager = font_manager.fontManager
    if FAMILY not in {entry.name for entry in manager.ttflist}:
        manager.addfont(font_path())
    with rc_context():
        rcdefaults()
        rcParams["font.family"] = [FAMILY]
        rcParams["text.color"] = INK
        rcParams["text.parse_math"] = False
        rcParams["text.hinting"] = "none"
        rcParams["svg.fonttype"] = "none" if editable_text else "path"
        rcParams["svg.hashsalt"] = "dealerqm"
        rcParams["path.simplify"] = False
        rcParams["lines.solid_capstyle"] = "butt"
        yield


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of fixed size.

    Parameters
    ----------
    width, height : float
        In points, which are the units of the SVG.

    Returns
    -------
    Figure
        Not tied to any window.
    """
    from matplotlib.figure import Figure as Blank

    blank = Blank(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
    blank.patch.set_visible(False)
    return blank


def label(
    ax: Axes, text: str, at: tuple[float, float], *, offset: tuple[float, float],
    **look: Any,  # noqa: ANN401  what matplotlib takes
) -> None:  # fmt: skip
    """Write a text near a place of the chart.

    Parameters
    ----------
    ax : Axes
        The chart.
    text : str
        One line.
    at : (float, float)
        Place in data.
    offset : (float, float)
        From there, in points; the text is aligned away from the place.
    **look : Any
        Font size, colour.
    """
    across, up = offset
    ha = "left" if across > 0 else "right" if across < 0 else "center"
    va = "bottom" if up > 0 else "top" if up < 0 else "center"
    ax.annotate(text, at, xytext=offset, textcoords="offset points", ha=ha, va=va, **look)


def legend(
    figure: Figure, items: Iterable[tuple[Mark, str]], at: tuple[float, float], *, size: float
) -> None:
    """Say what signs mean, in one row.

    Parameters
    ----------
    figure : Figure
        The whole picture.
    items : iterable of (Mark, str)
        Signs and their words.
    at : (float, float)
        Left end of the row, in points from the left and the top.
    size : float
        Font size.
    """
    from matplotlib.lines import Line2D

    wide, high = (float(side) * POINTS_PER_INCH for side in figure.get_size_inches())
    x, y = at[0], 1 - at[1] / high
    for mark, text in items:
        look: dict[str, Any] = {"marker": mark.marker, "mfc": mark.face, "mec": mark.edge}
        dot = Line2D([(x + 4) / wide], [y], ls="none", ms=mark.size, mew=0.8, **look)
        figure.add_artist(dot)
        figure.text((x + 13) / wide, y, text, fontsize=size, color=GREY, va="center")
        x += 13 + scale.width(text, size) + 18


def render(figure: Figure, words: Words) -> str:
    """Return a figure as clean SVG, the same bytes every time.

    Parameters
    ----------
    figure : Figure
        Drawn under ``style``.
    words : Words
        Its words; in ``both`` every one of them appears in each language.

    Returns
    -------
    str
        The SVG.

    Raises
    ------
    MethodError
        If a text needs a character that the font lacks.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    drawn = [str(text.get_text()) for text in texts]
    _check_glyphs([*drawn, *(text for said in words.said.values() for text in said.values())])
    raw = io.StringIO()
    backend: Any = FigureCanvasSVG(figure)
    backend.print_svg(raw, metadata={"Date": None})
    svg = drawing.clean(raw.getvalue()).replace(" height=", ' stroke-linejoin="round" height=', 1)
    if words.lang == BOTH:
        svg = drawing.bilingual(svg, words.said).replace(f""" font-family="'{FAMILY}'\"""", "")
    return svg


def _check_glyphs(texts: Iterable[str]) -> None:
    for text in texts:
        for letter in text:
            if ord(letter) not in charmap() and letter != "\n":
                raise MethodError(
                    f"picture text {text!r}: the font has no {letter!r} (U+{ord(letter):04X}); "
                    f"write it otherwise, or pass texts from the data through plot.visible()."
                )
