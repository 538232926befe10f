"""Pictures: the same bytes every time, readable in both languages, nothing foreign inside."""

import re
import subprocess
import sys
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dealerqm import labels, plot
from dealerqm.errors import MethodError, ParameterError
from dealerqm.kpi import Scorecard
from dealerqm.period import parse, span
from dealerqm.plot import canvas, charts, scale
from dealerqm.result import Result
from dealerqm.spc import ControlCharts

LANGUAGES = labels.languages()
NAMES = {"zh": "总体满意度", "en": "Overall satisfaction"}


def series(first="2023-10", last="2026-09", young=0, **more):
    """A share around 86 % whose last two points fall out of the limits."""
    keys = [period.key for period in span(parse(first), parse(last))]
    value = 0.86 + 0.02 * np.sin(np.arange(len(keys)) * 2.1)
    value[-2:] = 0.77, 0.96
    table = pd.DataFrame({"period": keys, "n": 200, "value": value})
    table = table.assign(centre=0.86, lower=0.80, upper=0.92, judged=np.arange(len(keys)) >= young)
    table.loc[: young - 1, ["centre", "lower", "upper"]] = np.nan
    table["beyond"] = table["judged"] & ((table["value"] < 0.80) | (table["value"] > 0.92))
    return table.assign(**more)


def chart(frame, lang="zh", label=NAMES, **more):
    options = {"goal": 0.9, "better": "up", "measure": "share", **more}
    return plot.control_chart(frame, label=label, lang=lang, **options)


def forest_rows():
    columns = ["kpi", "value", "low", "high", "goal", "verdict"]
    rows = [
        ("a", 0.86, 0.84, 0.88, 0.90, "missed"),
        ("b", 18.0, 17.0, 19.0, 20.0, "met"),
        ("c", 0.94, 0.90, 0.98, 0.95, "cannot_tell"),
        ("d", 130.0, 120.0, 140.0, 60.0, "missed"),
        ("e", 0.5, 0.4, 0.6, np.nan, "no_goal"),
    ]
    return pd.DataFrame(rows, columns=columns)


def forest(lang="zh"):
    better = {"a": "up", "b": "down", "c": "up", "d": "down", "e": "none"}
    return plot.forest(forest_rows(), names=dict.fromkeys("abcde", NAMES), better=better, lang=lang)


def texts(svg):
    return [
        "".join(node.itertext())
        for node in ElementTree.fromstring(svg).iter()
        if "text" in node.tag
    ]


PICTURES = {
    "one chart": lambda lang: chart(series(), lang),
    "young chart": lambda lang: chart(series(young=36), lang),
    "grid": lambda lang: plot.small_multiples(
        pd.concat([series(kpi=k, unit_type="group", unit="group") for k in "ab"]),
        panels=dict.fromkeys("ab", plot.Panel(NAMES, 0.9, "up", "share")),
        lang=lang,
    ),
    "forest": forest,
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PICTURES)
def test_the_same_picture_has_the_same_bytes_and_nothing_foreign(name, lang):
    picture = PICTURES[name](lang)
    assert picture.svg == PICTURES[name](lang).svg
    assert picture.alt and len(picture.data)
    assert not re.search(r"<(script|style|metadata|image|foreignObject)|\son\w+=", picture.svg)
    assert set(re.findall(r"\w+://[^\"]+", picture.svg)) == {plot.clean.__globals__["NAMESPACE"]}
    assert picture._repr_mimebundle_() == {"image/svg+xml": picture.svg, "text/plain": picture.alt}


def test_another_process_draws_the_same_bytes():
    code = "import sys; sys.path.insert(0, 'tests'); import test_plot as t; print(t.forest().svg)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONUTF8": "1", "PATH": ""},
    )  # fmt: skip
    assert done.stdout.strip() == forest().svg


def test_settings_of_the_machine_do_not_change_a_picture():
    import matplotlib as mpl  # noqa: TID251

    before = chart(series()).svg
    with mpl.rc_context({"lines.linewidth": 9, "text.color": "red", "font.family": "serif"}):
        assert chart(series()).svg == before


def test_coordinates_are_rounded_to_a_tenth():
    svg = chart(series(), "both").svg
    drawn = re.sub(r"<defs>.*?</defs>", "", svg)
    assert re.findall(r"[ML](-?\d+\.\d\d+)", drawn) == []
    assert len(svg) < 8_000


def test_a_page_chart_keeps_text_as_text_in_both_languages():
    picture = chart(series(), "both")
    for lang, word in (("zh", "目标 90%"), ("en", "goal 90%")):
        assert f'<tspan lang="{lang}">{word}</tspan>' in picture.svg
    assert NAMES["zh"] not in picture.svg  # the page brings the caption
    assert texts(chart(series(), "zh").svg) == []  # alone, the glyphs are shapes


def test_points_beyond_differ_in_shape_and_colour():
    svg = chart(series(), "both").svg
    colours = {canvas.BLUE.lower(), canvas.VERMILLION.lower(), canvas.GREEN.lower()}
    used = {colour for colour in colours if f'fill="{colour}"' in svg}
    assert used == colours
    shapes = re.findall(r'<defs><path d="([^"]+)"', svg)
    assert len(set(shapes[-3:])) == 3  # circle, diamond, triangle


def test_unjudged_points_are_hollow_and_said_to_be_so():
    picture = chart(series(young=36), "both")
    assert 'fill="#ffffff"' in picture.svg
    assert "基线过短" in picture.alt


@pytest.mark.parametrize(("better", "kinds"), [
    ("up", ["worse", "better"]), ("down", ["better", "worse"]), ("none", ["none", "none"]),
])  # fmt: skip
def test_the_sign_of_a_point_beyond_follows_the_better_direction(better, kinds):
    table = charts._series(series())
    assert list(charts._kinds(table, plot.Panel(NAMES, better=better)))[-2:] == kinds


def test_missing_periods_and_values_leave_gaps():
    frame = series()
    frame.loc[5, "value"] = np.nan
    table = charts._series(frame.drop(index=[9, 10]))
    assert len(table) == 36 and list(table.index[table["value"].isna()]) == [5, 9, 10]
    line = max(
        re.findall(r'd="([^"]+)"[^>]*stroke="#0072b2"', chart(frame.drop(index=[9]), "both").svg),
        key=len,
    )
    assert line.count("M") == 3


def test_months_weeks_quarters_and_years_all_draw():
    for first, last in (("2026W01", "2026W39"), ("2023Q4", "2026Q3"), ("2015", "2026")):
        assert "2026" in "".join(texts(chart(series(first, last), "both").svg))


def test_a_goal_far_outside_is_named_at_the_edge():
    assert "目标 40% ↓" in chart(series(), "both", goal=0.4).svg
    assert 'stroke-dasharray="5,3"' not in chart(series(), "both", goal=0.4).svg


def test_labels_at_the_edge_keep_apart():
    places = scale.apart([0.90, 0.901, 0.902], 0.02, (0.8, 1.0))
    assert min(np.diff(sorted(places))) > 0.0199
    assert scale.apart([0.80, 0.80], 0.02, (0.8, 1.0)) == pytest.approx([0.8, 0.82], abs=1e-3)


def test_the_words_say_what_the_chart_shows():
    said = chart(series(), "en").alt
    assert said == (
        "Overall satisfaction: 96.0% in 2026-09. Control limits 80.0% to 92.0%. Goal 90.0%. "
        "Beyond the limits: 2026-08, 2026-09."
    )
    empty = series().assign(value=np.nan, beyond=False, judged=False)
    assert chart(empty, "zh").alt == "总体满意度：无数据。"


@pytest.mark.parametrize("letter", ["𠮷", "\U0001f697", "한"])
def test_a_character_that_the_font_lacks_is_an_error_that_names_it(letter):
    with pytest.raises(MethodError, match=f"U\\+{ord(letter):04X}"):
        chart(series(), label=f"{letter}店")
    assert plot.visible(f"{letter}店") == "〓店"
    assert "〓店" in plot.visible(f"{letter}店") and ord("〓") in plot.charmap()


def test_names_of_stores_fall_back_visibly():
    frame = pd.concat([series(kpi="a", unit_type="store", unit=u) for u in ("𠮷祥", "S02")])
    panels = {"a": plot.Panel(NAMES, measure="share")}
    assert list(plot.small_multiples(frame, panels=panels).data["unit"]) == ["𠮷祥", "S02"]


@pytest.mark.parametrize("name", ["labels.toml", "plan.toml", "tables.toml"])
def test_every_word_of_the_product_can_be_drawn(name):
    said = resources.files("dealerqm").joinpath(name).read_text(encoding="utf-8")
    assert {letter for letter in said if ord(letter) not in plot.charmap()} <= {"\n"}


def test_matplotlib_is_not_imported_before_something_is_drawn():
    code = "import sys, dealerqm, dealerqm.plot; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("frame", "fault"), [
    (series().drop(columns="upper"), "upper"),
    (pd.concat([series(), series()]), "36 repeated"),
    (series().iloc[:0], "0 rows"),
])  # fmt: skip
def test_a_frame_that_is_no_single_series_is_refused(frame, fault):
    with pytest.raises(MethodError, match=fault):
        chart(frame)


def test_unknown_language_and_too_many_charts_are_refused():
    with pytest.raises(ParameterError, match="both, en, zh"):
        chart(series(), "fr")
    many = pd.concat([series(kpi=f"k{i}", unit_type="group", unit="group") for i in range(61)])
    with pytest.raises(MethodError, match="61 series"):
        plot.small_multiples(many, panels={})


def test_forest_puts_better_to_the_right_and_leaves_out_what_has_no_goal():
    data = forest().data.set_index("kpi")["distance"].round(1)
    assert dict(data) == {"a": -4.4, "b": 10.0, "c": -1.1, "d": -116.7}
    assert "−117%" in forest("both").svg
    assert forest("en").alt == "Distance to the goal of 4 KPIs: 1 met, 2 missed, 1 cannot be told."
    with pytest.raises(MethodError, match="no KPI with a goal"):
        plot.forest(forest_rows().tail(1), names={}, better={})


def result(cls, frame, note):
    return cls(frame=frame.reindex(columns=list(cls.COLUMNS)), note=note)


def test_results_are_drawn_by_their_class():
    words = {"kpis": {"a": {"label": NAMES, "measure": "share", "goal": 0.9, "better": "up"}}}
    one = series(kpi="a", unit_type="group", unit="group", chart="p_prime")
    two = pd.concat([one, one.assign(unit_type="store", unit="S01")])
    assert (
        result(ControlCharts, one, words).plot("en").alt.startswith("Overall satisfaction: 96.0%")
    )
    assert result(ControlCharts, two, words).plot("zh").alt.startswith("2张控制图")
    rows = forest_rows().head(1).assign(unit_type="group", unit="group")
    assert len(result(Scorecard, rows, words).plot().data) == 1


def test_a_result_without_picture_or_rows_names_what_can_be_drawn():
    with pytest.raises(MethodError, match="ControlCharts, Scorecard"):
        plot.draw(Result(frame=pd.DataFrame()))
    with pytest.raises(MethodError, match="no rows"):
        result(Scorecard, forest_rows().head(0), {}).plot()


HOSTILE = """<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)" viewBox="0 0 9 9"
 xmlns:xlink="http://www.w3.org/1999/xlink">
 <script>alert(2)</script><style>@import "http://evil.invalid"</style>
 <a xlink:href="javascript:alert(3)"><text x="1">in a link</text></a>
 <image xlink:href="http://evil.invalid/x.png"/>
 <foreignObject><body onload="alert(4)"/></foreignObject>
 <path d="M 0 0 L 1 1" fill="url(http://evil.invalid/#a)" style="stroke: url(x); fill: red"/>
 <use xlink:href="http://evil.invalid/#x"/>
 <text onclick="alert(5)" x="2">&lt;script&gt;</text></svg>"""


def test_drawings_of_others_are_disarmed():
    svg = plot.clean(HOSTILE)
    for word in ("script>", "evil", "alert", "onload", "onclick", "javascript", "foreign", "image"):
        assert word not in svg.replace("&lt;script&gt;", "")
    assert '<path d="M0 0L1 1" fill="red"/>' in svg and "&lt;script&gt;" in svg


@pytest.mark.parametrize("bad", [
    "no svg", "<html/>",
    '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
])  # fmt: skip
def test_what_is_no_plain_svg_is_refused(bad):
    with pytest.raises(MethodError, match="picture"):
        plot.clean(bad)


def test_drawings_on_one_page_keep_their_ids_apart():
    svg = chart(series(), "both").svg
    one, two = plot.inline(svg, "c1"), plot.inline(svg, "c2")
    ids = re.findall(r' id="([^"]+)"', one + two)
    assert len(ids) == len(set(ids)) and set(re.findall(r'href="#([^"]+)"', one + two)) <= set(ids)
    assert "xmlns" not in one and 'aria-labelledby="c1"' in one
