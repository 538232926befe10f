"""Pictures: the same bytes every time, readable in both languages, nothing foreign inside."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dealerqm import labels, plot
from dealerqm.errors import MethodError, ParameterError
from dealerqm.kpi import Scorecard
from dealerqm.period import parse, span
from dealerqm.plot import canvas, charts, layers, scale, svg, units
from dealerqm.result import Result
from dealerqm.signals import Board
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
    titles = dict.fromkeys(LANGUAGES, label) if isinstance(label, str) else label
    options = {"goal": 0.9, "better": "up", "measure": "share", **more}
    return plot.chart(frame, plot.Panel(titles, **options), lang)


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


def tips(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("title")]


def told(young=0):
    """The series with baseline, phases, an excluded point and a run, and a panel with notes."""
    frame = series(young=young)
    frame["status"] = ["baseline"] * 8 + ["judged"] * 4 + ["baseline"] * 8 + ["judged"] * 16
    frame["phase"] = [1] * 12 + [2] * 24
    frame.loc[12:, ["centre", "lower", "upper"]] += 0.01
    frame.loc[3, ["status", "judged"]] = ["excluded", False]
    frame["run"] = frame["period"].between("2026-01", "2026-07")
    frame.loc[frame["run"], "value"] = 0.84
    notes = (
        plot.Note("2025-05", "2025-07", "remark", "spring campaign"),
        plot.Note("2024-10", "", "rebase", "new questionnaire"),
        plot.Note("2024-01", "2024-01", "exclusion", "vendor counted twice"),
        plot.Note("2026-01", "", "proposal", "level moved"),
        plot.Note("2020-01", "", "remark", "long before the chart"),
    )
    onset = ("2025-11", "2026-01", "2026-03")
    return frame, plot.Panel(NAMES, 0.9, "up", "share", onset, notes)


def pair():
    frame, panel = told()
    mr = frame["value"].diff().abs()
    return frame.assign(mr=mr, mr_centre=0.02, mr_upper=0.066), panel


def funnel_rows(units=40, far=6):
    n = np.linspace(40, 900, units).round()
    width = 0.35 / np.sqrt(n)
    value = 0.86 + width * np.sin(np.arange(units))
    value[:far] = (0.86 + 3.6 * width * (-1.0) ** np.arange(units))[:far]
    limits = {
        f"{side}_{name}": 0.86 + sign * z * width
        for side, sign in (("lower", -1), ("upper", 1))
        for name, z in (("95", 1.96), ("998", 3.09))
    }
    frame = pd.DataFrame({"unit": [f"S{i:02d}" for i in range(units)], "n": n, "value": value})
    frame = frame.assign(centre=0.86, **limits)
    return frame.assign(outlier=(value < frame["lower_998"]) | (value > frame["upper_998"]))


def board_rows(kpis=3, units=4):
    levels = ["act", "watch", "calm", "unknown", "better"]
    rows = [
        (
            f"k{i}",
            NAMES,
            "group" if j == 0 else f"S{j:02d}",
            levels[(i + 2 * j) % 5],
            "none",
            j == 1,
        )
        for i in range(kpis)
        for j in range(units)
    ]
    return pd.DataFrame(rows, columns=["kpi", "label", "unit", "level", "direction", "explained"])


FAR = plot.Panel(NAMES, 0.9, "up", "share")
PICTURES = {
    "one chart": lambda lang: chart(series(), lang),
    "young chart": lambda lang: chart(series(young=36), lang),
    "grid": lambda lang: plot.small_multiples(
        pd.concat([series(kpi=k, unit_type="group", unit="group") for k in "ab"]),
        panels=dict.fromkeys("ab", plot.Panel(NAMES, 0.9, "up", "share")),
        lang=lang,
    ),
    "forest": forest,
    "told chart": lambda lang: plot.chart(*told(), lang),
    "pair": lambda lang: plot.xmr_pair(*pair(), lang),
    "funnel": lambda lang: plot.funnel(funnel_rows(), FAR, lang),
    "board": lambda lang: plot.board_map(board_rows(), lang),
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
    assert len(svg) < 5_500


def test_a_page_chart_keeps_text_as_text_in_both_languages():
    picture = chart(series(), "both")
    for lang, word in (("zh", "目标 90%"), ("en", "goal 90%")):
        assert f'<tspan lang="{lang}">{word}</tspan>' in picture.svg
    assert NAMES["zh"] not in picture.svg  # the page brings the caption
    assert texts(chart(series(), "zh").svg) == []  # alone, the glyphs are shapes


def test_points_beyond_differ_in_shape_and_colour():
    svg = chart(series(), "both").svg
    colours = {canvas.BLUE.lower(), canvas.VERMILLION.lower(), canvas.GREEN.lower()}
    assert colours <= set(re.findall(r'(?:fill|stroke)="(#\w+)"', svg))
    assert 'stroke-linecap="round"' in svg  # points without signal are dots of one path
    shapes = re.findall(r'<defs><path d="([^"]+)"', svg)
    assert len(set(shapes[:2])) == 2  # diamond, triangle


def test_unjudged_points_are_hollow_and_said_to_be_so():
    picture = chart(series(young=36), "both")
    assert 'fill="#ffffff"' in picture.svg
    assert "基线过短" in picture.alt


@pytest.mark.parametrize(("better", "kinds"), [
    ("up", ["worse", "better"]), ("down", ["better", "worse"]), ("none", ["none", "none"]),
])  # fmt: skip
def test_the_sign_of_a_point_beyond_follows_the_better_direction(better, kinds):
    table = charts._series(series())
    assert list(charts._kinds(table, better))[-2:] == kinds


def test_missing_periods_and_values_leave_gaps():
    frame = series()
    frame.loc[5, "value"] = np.nan
    table = charts._series(frame.drop(index=[9, 10]))
    assert len(table) == 36 and list(table.index[table["value"].isna()]) == [5, 9, 10]
    assert strokes(chart(frame.drop(index=[9]), "both").svg)[0].count("M") == 3


def strokes(svg):
    return re.findall(r'd="([^"]+)"[^>]*stroke="#0072b2"', svg)


def test_an_excluded_point_stands_apart_from_the_line():
    frame, panel = told()
    line = strokes(plot.chart(frame, panel, "both").svg)[0]
    assert line.count("M") == 2
    assert list(charts._kinds(charts._series(frame), "up"))[3] == "excluded"


def test_every_sign_has_a_shape_of_its_own_and_runs_are_no_points_beyond():
    signs = {name: (mark.marker, mark.face) for name, mark in layers.MARKERS.items()}
    assert signs.pop("constant") == signs["unjudged"]  # both say: not judged
    assert len(set(signs.values())) == len(signs)
    signals = [mark.marker for name, mark in layers.MARKERS.items() if name in layers.SPEAKING]
    assert len(set(signals)) == len(signals) == 7
    assert dict(charts._kinds(charts._series(told()[0]), "up").value_counts()) == {
        "inside": 26, "run_worse": 7, "excluded": 1, "worse": 1, "better": 1,
    }  # fmt: skip


def test_the_legend_of_a_page_uses_the_signs_of_the_charts():
    drawn = plot.signs()
    assert list(drawn) == list(layers.MARKERS) and len("".join(drawn.values())) < 6_000
    assert all(f'aria-labelledby="sign-{kind}"' in one for kind, one in drawn.items())
    assert 'fill="#d55e00"' in drawn["worse"]
    assert {f"plot.{kind}" for kind in drawn} <= set(labels.keys())


def test_points_beyond_speak_before_runs_where_room_is_short():
    frame, panel = told()
    frame.loc[10, ["value", "beyond"]] = [0.99, True]
    frame.loc[20:34, ["value", "run"]] = [0.84, True]
    page = tips(plot.chart(frame, panel, "both").svg)
    assert [tip[:7] for tip in page][:2] == ["2024-01", "2024-08"] and len(page) == layers.MOST_TIPS


def test_limits_break_where_a_phase_begins():
    frame, panel = told()
    assert len({path.count("M") for path in limit_lines(plot.chart(frame, panel, "both").svg)}) == 1
    one, two = (len(limit_lines(plot.chart(f, FAR, "both").svg)) for f in (series(), frame))
    assert two == 2 * one
    said = texts(plot.chart(frame, panel, "both").svg)
    assert sum("phase 2" in text for text in said) == 1
    assert sum("baseline" in text for text in said) == 2


def limit_lines(svg):
    """Paths in the colour and width of limits that run level."""
    return re.findall(r'<path d="(M[\d.]+ [\d.]+H[^"]+)" fill="none" stroke="#767676"/>', svg)


def test_the_dated_change_is_a_band_with_its_likeliest_period():
    frame, panel = told()
    svg = plot.chart(frame, panel, "both").svg
    band = re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)[^"]*" fill="#fbeccb"', svg)
    left, right = float(band[1]), float(band[2])
    assert right - left == pytest.approx(5 * 286 / 36.4, rel=0.05)  # five of the months shown
    assert any("change 2026-01" in text for text in texts(svg))
    assert "dated 2026-01 (2025-11 to 2026-03)" in plot.describe(frame, panel, "en")
    outside = replace(panel, onset=("2019-01", "2019-02", "2019-03"))
    assert "#fbeccb" not in plot.chart(frame, outside, "both").svg


def test_notes_are_numbered_in_time_and_told_beside_the_chart():
    frame, panel = told()
    picture = plot.chart(frame, panel, "both")
    assert list(picture.notes["number"]) == [1, 2, 3, 4]
    assert list(picture.notes["kind"]) == ["exclusion", "rebase", "remark", "proposal"]
    assert {"1", "2", "3", "4"} <= set(texts(picture.svg))
    alt = plot.describe(frame, panel, "en")
    assert "3 (2025-05–2025-07, remark) spring campaign" in alt and "long before" not in alt
    assert 'stroke-dasharray="1.6,1.6"' in picture.svg  # the proposal
    quarterly = replace(panel, notes=(plot.Note("2025Q2", "", "remark", "x"),))
    one = charts._chart(frame, quarterly, canvas.Words("en"), layers.PAGE)
    assert [rows[:2] for rows in one.placed] == [(18, 20)]


def test_more_notes_than_room_share_flags():
    frame, panel = told()
    notes = tuple(plot.Note(key, "", "remark", key) for key in frame["period"])
    picture = plot.chart(frame, replace(panel, notes=notes), "both")
    assert len(picture.notes) == 36
    shared = [text for text in texts(picture.svg) if re.fullmatch(r"\d+–\d+", text)]
    assert shared[0].startswith("1–") and shared[-1].endswith("–36")


def test_points_speak_under_the_pointer_all_on_large_charts_few_on_a_page():
    frame, panel = told()
    large, page = (plot.chart(frame, panel, lang).svg for lang in ("zh", "both"))
    assert len(tips(large)) == 36 + 4 and len(tips(page)) == layers.MOST_TIPS
    assert tips(page)[-1] == (
        "2026-09: 96.0%, LCL 81.0%, UCL 93.0%, n 200\n超出控制限，变好\nbeyond the limits, better"
    )
    assert "spring campaign" in tips(large)
    assert tips(plot.chart(series(), FAR, "en").svg)[0].endswith("n 200\nno signal")
    assert plot.clean(large).count("<title>") == 40  # a notebook page keeps them


def test_frames_without_the_newer_columns_draw_as_before():
    frame = series().drop(columns="n")
    known = charts._series(frame)
    assert set(known["status"]) == {"judged"} and set(known["phase"]) == {1}
    assert not known["run"].any() and known["n"].isna().all()
    same = frame.assign(run=False, status="judged", phase=1, n=np.nan)
    assert chart(frame, "both").svg == chart(same, "both").svg


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "frame",
    [
        series().tail(1),
        series().assign(value=np.nan, judged=False, beyond=False),
        series().assign(value=np.nan, centre=np.nan, lower=np.nan, upper=np.nan, judged=False),
        series().assign(value=0.86, centre=0.86, lower=0.86, upper=0.86, status="constant"),
        series("2021-10", "2026-09"),
    ],
)
def test_hostile_series_draw_with_every_ornament(frame, lang):
    notes = tuple(plot.Note("2026-09", "", kind, kind) for kind in layers.FLAGS)
    label = {"zh": "很长的指标名称" * 20, "en": "a long name " * 20}
    panel = plot.Panel(label, 40.0, "up", "share", ("2026-09", "2026-09", "2026-10"), notes)
    for size in (lang, "both"):
        assert plot.chart(frame, panel, size).svg
    assert plot.describe(frame, panel, lang)


def test_the_constant_and_the_short_baseline_are_told_apart():
    flat = series().assign(status="constant", judged=False, beyond=False)
    assert "the baseline does not vary" in chart(flat, "en").alt
    assert "the baseline is too short" in chart(flat.assign(status="short"), "en").alt


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
    mark = {"onset": ("2026-05", "2026-06", "2026-07"), "notes": [("2026-01", "", "remark", "x")]}
    noted = result(ControlCharts, two, words | {"marks": {"a": {"S01": mark}}}).plot("en")
    assert list(noted.notes["chart"]) == ["S01 · Overall satisfaction"]
    rows = forest_rows().head(1).assign(unit_type="group", unit="group")
    assert len(result(Scorecard, rows, words).plot().data) == 1


def test_a_result_without_picture_or_rows_names_what_can_be_drawn():
    with pytest.raises(MethodError, match="Audit, Board, Changes, Comments"):
        plot.draw(Result(frame=pd.DataFrame()))
    with pytest.raises(MethodError, match="no rows"):
        result(Scorecard, forest_rows().head(0), {}).plot()


# ---------------------------------------------------------------- pairs, funnels, boards


def test_a_pair_has_one_time_axis_and_names_wild_ranges():
    picture = plot.xmr_pair(*pair(), "both")
    said = texts(picture.svg)
    assert sum("moving range" in text for text in said) == 1
    assert said.count("2025") == 1  # one calendar
    assert picture.alt.endswith("移动极差超出控制限：2026-08, 2026-09。")
    assert list(picture.data["mr"].round(3))[-2:] == [0.07, 0.19]
    with pytest.raises(MethodError, match="mr_upper"):
        plot.xmr_pair(series(), FAR)


def test_a_funnel_names_its_outliers_the_most_extreme_first():
    rows = funnel_rows()
    picture = plot.funnel(rows, FAR, "both")
    assert list(picture.data["unit"])[:6] == ["S00", "S01", "S02", "S03", "S04", "S05"]
    assert {f"S0{i}" for i in range(6)} <= set(texts(picture.svg))
    assert "40个单位中6个超出99.8%控制限" in picture.alt
    quiet = plot.funnel(rows.assign(outlier=False), FAR, "en")
    assert quiet.alt == "Overall satisfaction: none of 40 units is an outlier."
    assert "S00" not in texts(plot.funnel(rows.assign(outlier=False), FAR, "both").svg)


def test_a_funnel_of_uneven_units_has_a_logarithmic_axis_and_of_one_unit_draws():
    rows = funnel_rows()
    rows.loc[0, "n"] = 10
    assert {"10", "100", "500"} <= set(texts(plot.funnel(rows, FAR, "both").svg))
    assert {"250", "500", "750"} <= set(texts(plot.funnel(funnel_rows(), FAR, "both").svg))
    assert plot.funnel(rows.head(1), FAR).svg
    with pytest.raises(MethodError, match="0 units"):
        plot.funnel(rows.assign(n=0), FAR)
    with pytest.raises(MethodError, match="outlier"):
        plot.funnel(rows.drop(columns="outlier"), FAR)


@pytest.mark.parametrize("seed", range(3))
def test_names_beside_points_cover_neither_points_nor_names(seed):
    rng = np.random.default_rng(seed)
    at = rng.uniform(10, 290, (60, 2))
    points = np.hstack([at - 4, at + 4])
    sizes = [(40.0, 11.0)] * 30
    placed = [p for p in scale.beside(points, sizes, (300.0, 300.0)) if p]
    names = np.array([(x, y, x + 40, y + 11) for x, y in placed])
    assert len(names) > 10 and names.min() >= 0 and names.max() <= 300
    everything = np.vstack([points, names])
    for place, (left, low, right, top) in enumerate(names):
        other = np.delete(everything, len(points) + place, axis=0)
        across = (other[:, 0] < right - 1e-9) & (other[:, 2] > left + 1e-9)
        up = (other[:, 1] < top - 1e-9) & (other[:, 3] > low + 1e-9)
        assert not (across & up).any()


def test_a_board_map_shows_levels_by_shape_and_says_which_are_shared():
    assert len({mark.marker for mark in units.LEVELS.values()}) == len(units.LEVELS)
    picture = plot.board_map(board_rows(), "both")
    assert picture.alt == "12张控制图：行动2，关注3，变好2，平稳3，无法判断2。"
    assert list(picture.data.columns) == ["kpi", "act", "watch", "better", "unknown", "calm"]
    assert any("集团" in text for text in texts(picture.svg))
    shared = [tip for tip in tips(picture.svg) if "shared with a wider unit" in tip]
    assert len(shared) == 1 and "S01" in shared[0]
    calm = board_rows().assign(level="calm", explained=False)
    assert tips(plot.board_map(calm, "en").svg) == []


def test_a_board_map_takes_sixty_by_twenty_five_and_long_names():
    rows = board_rows(60, 25)
    rows["unit"] = "上海浦东新区金桥汽车销售服务有限公司第" + rows["unit"] + "店"
    rows["label"] = "很长的指标名称" * 9
    assert len(plot.board_map(rows, "zh").data) == 60


@pytest.mark.parametrize(("rows", "fault"), [
    (board_rows(61, 1), "61 KPIs"),
    (board_rows(1, 26), "26 units"),
    (pd.concat([board_rows(), board_rows()]), "12 pairs twice"),
    (board_rows().iloc[:0], "0 KPIs"),
    (board_rows().assign(level="wacth"), "Nearest: watch"),
    (board_rows().drop(columns="explained"), "explained"),
])  # fmt: skip
def test_a_board_that_cannot_be_drawn_is_refused(rows, fault):
    with pytest.raises(MethodError, match=fault):
        plot.board_map(rows)


def test_the_warning_board_draws_itself_with_the_most_urgent_units():
    rows = pd.DataFrame(
        [("a", "store", f"S{i:02d}", "calm", "calm", "better", "") for i in range(30)]
        + [("a", "group", "group", "act", "act", "worse", ""),
           ("a", "store", "S99", "watch", "watch", "worse", "group")],
        columns=["kpi", "unit_type", "unit", "level", "shown", "direction", "explained_by"],
    )  # fmt: skip
    words = {"kpis": {"a": {"label": NAMES}}}
    picture = result(Board, rows, words).plot("en")
    assert picture.alt.startswith("25 charts: 1 act, 1 watch, 23 better")


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


def test_titles_of_others_hold_only_text():
    bad = '<use href="#a"><title onclick="x()">n &lt; 3<script>y()</script><g/></title></use>'
    kept = plot.clean(f'<svg xmlns="{svg.NAMESPACE}">{bad}</svg>')
    assert "<title>n &lt; 3</title>" in kept and "script" not in kept and "onclick" not in kept
    assert svg.titled('<g id="t"><use/></g>', {"t": ["</title><script>"]}).count("<script") == 0


@pytest.mark.parametrize(("long", "short"), [
    ("M1 1L1 1", "M1 1z"),  # a dot
    ("M1 1L2 1L3 1L2 1L2 5L2 9", "M1 1H3H2V9"),
    ("M1 1L1 1L2 2", "M1 1L2 2"),
    ("M1 1L2 1L3 1z", "M1 1H3z"),
    ("M1 1L1 1M2 2L2 2", "M1 1zM2 2z"),
])  # fmt: skip
def test_paths_become_short_and_stay_what_they_are(long, short):
    assert svg._steps(long) == short


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
