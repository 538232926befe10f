"""The one importer of matplotlib: figures of fixed size with the package's own font.

Matplotlib is imported when something is drawn, so `import dealerqm` stays light. A character that
the font lacks is an error, never a box.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

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
EDGE, TIP, LINE = 0.8, 9.0, 1.6  # width of edges, of what the pointer finds, height of text lines
EDGES, TITLE, SMALL = 9.0, 13.0, 9.0  # margin of a whole picture, fonts of title and legend

# Okabe and Ito: told apart by every kind of colour vision; shapes and dashes say the same again.
INK, GREY, PALE, BAND = "#333333", "#767676", "#d9d9d9", "#f0f3f6"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, YELLOW, SAND = "#56B4E9", "#E69F00", "#F0E442", "#fbeccb"
CROSSED = "crossed"  # a marker of ours: a circle with a cross in it


class Mark(NamedTuple):
    """A sign of a chart: shape, colours of face and edge, size in points."""

    marker: str
    face: str
    edge: str
    size: float

    def hollow(self) -> Mark:
        """Return the sign without its face."""
        return self._replace(face="white", edge=GREY)


@dataclass
class Words:
    """The words of one picture; in ``both`` it remembers what to say in each language."""

    lang: str
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    tips: dict[str, list[str]] = field(default_factory=dict)

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

    @property
    def codes(self) -> list[str]:
        """The languages that are spoken."""
        return labels.languages() if self.lang == BOTH else [self.lang]


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


Items = Sequence[tuple[Mark, str]]


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
    look |= {"ha": ha, "va": va, "annotation_clip": False}
    ax.annotate(text, at, xytext=offset, textcoords="offset points", **look)


def marks(ax: Axes, x: Any, y: Any, mark: Mark, *, grow: float = 1.0) -> None:  # noqa: ANN401
    """Draw one sign at many places.

    Parameters
    ----------
    ax : Axes
        The chart.
    x, y : array_like
        Places in data.
    mark : Mark
        The sign; plain discs become one path, which is short.
    grow : float
        Factor of its size.
    """
    look: dict[str, Any] = {"clip_on": False, "zorder": 4}
    size = mark.size * grow
    if mark.marker == "o" and mark.face == mark.edge:
        stops = np.column_stack([x, x, np.full(len(x), np.nan)]).ravel()
        level = np.column_stack([y, y, y]).ravel()
        look |= {"color": mark.face, "lw": size + EDGE, "solid_capstyle": "round"}
        ax.plot(stops, level, **look)
    else:
        ax.plot(x, y, ls="none", ms=size, **_look(mark), **look)


def _look(mark: Mark) -> dict[str, Any]:
    shape = _crossed() if mark.marker == CROSSED else mark.marker
    return {"marker": shape, "mfc": mark.face, "mec": mark.edge, "mew": EDGE}


def _crossed() -> Any:  # noqa: ANN401
    from matplotlib.path import Path as Outline

    cross = Outline([[-1, -1], [1, 1], [-1, 1], [1, -1]], [1, 2, 1, 2])  # 1 moves, 2 draws
    return Outline.make_compound_path(Outline.unit_circle(), cross)


def tips(ax: Axes, x: Any, y: Any, texts: Sequence[str], words: Words) -> None:  # noqa: ANN401
    """Let places of a chart say something under the pointer.

    Parameters
    ----------
    ax : Axes
        The chart.
    x, y : array_like
        Places in data, inside the chart.
    texts : sequence of str
        One for each place; lines are kept.
    words : Words
        The words of the picture, which keep the texts until it is rendered.
    """
    if len(texts):
        name = f"tips{len(words.tips)}"
        words.tips[name] = list(texts)
        look: dict[str, Any] = {"marker": "s", "mfc": (1, 1, 1, 0), "mec": "none", "zorder": 9}
        ax.plot(x, y, ls="none", ms=TIP, gid=name, clip_on=False, **look)


def legend(figure: Figure, items: Items, at: tuple[float, float], *, size: float) -> None:
    """Say what signs mean, in as many lines as the width asks for.

    Parameters
    ----------
    figure : Figure
        The whole picture.
    items : sequence of (Mark, str)
        Signs and their words.
    at : (float, float)
        Left end of the first line, in points from the left and the top.
    size : float
        Font size.
    """
    from matplotlib.lines import Line2D

    wide, high = (float(side) * POINTS_PER_INCH for side in figure.get_size_inches())
    slots = _slots(items, wide - at[0], size)
    for (mark, text), (left, line) in zip(items, slots, strict=True):
        x, y = at[0] + left, 1 - (at[1] + line * LINE * size) / high
        dot = Line2D([(x + 4) / wide], [y], ls="none", ms=mark.size, **_look(mark))
        figure.add_artist(dot)
        figure.text((x + 13) / wide, y, text, fontsize=size, color=GREY, va="center")


def _slots(items: Items, room: float, size: float) -> list[tuple[float, int]]:
    return scale.flow([31 + scale.width(text, size) for _, text in items], room)


def head(figure: Figure, title: str, items: Items) -> None:
    """Write title and legend at the top.

    Parameters
    ----------
    figure : Figure
        The whole picture.
    title : str
        Cut to one line.
    items : sequence of (Mark, str)
        Signs and their words.
    """
    wide, high = (float(side) * POINTS_PER_INCH for side in figure.get_size_inches())
    text = scale.fit(title, wide - 2 * EDGES, TITLE)
    figure.text(EDGES / wide, 1 - 16 / high, text, fontsize=TITLE, va="center")
    legend(figure, items, (EDGES, 36), size=SMALL)


def more(items: Items, wide: float) -> float:
    """Return the height of a legend beyond its first line.

    Parameters
    ----------
    items : sequence of (Mark, str)
        Signs and their words.
    wide : float
        Width of the picture.

    Returns
    -------
    float
        In points.
    """
    lines = [line for _, line in _slots(items, wide - EDGES, SMALL)]
    return LINE * SMALL * max(lines, default=0)


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
    svg = drawing.clean(drawing.titled(raw.getvalue(), words.tips)).replace(
        " height=", ' stroke-linejoin="round" height=', 1
    )
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
