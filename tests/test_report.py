"""The report: complete, bilingual, harmless, the same bytes; looked at in a browser offline."""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import socket
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import openpyxl
import pandas as pd
import pytest
import review_case

from dealerqm import labels, plot, publish, report
from dealerqm.errors import MethodError
from dealerqm.report import board, evidence
from dealerqm.report.notebook import sanitised

LARGEST_PAGE = 1_000_000
SECTIONS = [
    "verdict", "scorecard", "dimensions", "matrix", "changes", "signals", "subjects", "cases",
    "charts", "quality",
    "definitions", "benchmarks", "methods", "stamp",
]  # fmt: skip
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'=cmd|x http://evil.invalid/"


@cache
def review():
    return review_case.review()


@cache
def tiny():
    """The same with five KPIs, for what does not need all."""
    chosen = review().plan
    names = ["lead_contact_time", "satisfaction", "nps", "complaint_rate", "service_retention"]
    kpis = {name: chosen.kpis[name] for name in names}
    marks = {n: b for n, b in chosen.benchmarks.items() if b.get("kpi") in kpis}
    return review_case.review(replace(chosen, kpis=kpis, benchmarks=marks))


@cache
def index():
    return report.index_html(review(), {"01_a": notebook(), "02_b": "cell 3: NameError"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("reports") / "2026Q3"
    pages = {"01_a": notebook(), "02_b": "cell 3: NameError"}
    return report.write(review(), target, notebooks=pages)


def notebook(*more):
    picture = review().scorecard.where(unit_type="group").plot("zh")
    table = pd.DataFrame({"指标": ["满意度", "等待"], "数值": ["91.0%", "20.5"]})
    cells = [
        nbformat.v4.new_markdown_cell(
            "# 评审 · Review\n\n**问题** | table |\n\n|a|b|\n|-|-|\n|1|2|"
        ),
        code("shown = picture", picture._repr_mimebundle_()),
        code("table", {"text/html": table.to_html(), "text/plain": str(table)}),
        code("hidden()", {"text/plain": "a widget"}, tags=["interactive"]),
        *more,
    ]
    return nbformat.v4.new_notebook(cells=cells)


def code(source, data=None, tags=(), outputs=None):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
    shown = nbformat.v4.new_output("display_data", data=data or {})
    cell["outputs"] = [shown] if outputs is None else outputs
    return cell


class Page(HTMLParser):
    """Elements, ids and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.unclosed = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append((tag, known))
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if "href" in known and tag == "a" else []
        void = ("meta", "input", "br", "hr", "img")
        self.open += [] if tag in void else [tag]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def all(self, tag):
        return [known for name, known in self.tags if name == tag]


# ---------------------------------------------------------------- the folder


def test_the_folder_holds_what_the_contract_names(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "index.html", "01_a.html", "tables.xlsx", "findings.json", "facts.json", "manifest.json",
    }  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    assert manifest["snapshot"] == "5f1c0a9d2b7e4c31" and manifest["rows"]["loaded"] == 52_282


def test_two_runs_in_two_folders_give_the_same_bytes(tmp_path):
    one = report.write(tiny(), tmp_path / "a" / "2026Q3", notebooks={"01_a": notebook()})
    tiny.cache_clear()
    two = report.write(tiny(), tmp_path / "b" / "2026Q3", notebooks={"01_a": notebook()})
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_findings_and_facts_are_those_of_the_review(folder):
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    assert [f["finding_id"] for f in findings] == [f.finding_id for f in review().findings]
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert facts.keys() == review().facts.keys() and facts["nps.group"]["n"] == 4200


def test_the_workbook_has_every_row_and_numbers_stay_numbers(folder):
    book = openpyxl.load_workbook(io.BytesIO((folder / "tables.xlsx").read_bytes()))
    assert book.sheetnames[0].startswith("说明") and len(book.sheetnames) == 10
    rows = list(book["记分卡 Scorecard"].iter_rows(values_only=True))
    heads = [str(head).rpartition("\n")[2] for head in rows[0]]
    assert len(rows) == len(review().scorecard.table) + 1 and "kpi_zh" in heads
    first = dict(zip(heads, rows[1], strict=True))
    expected = review().scorecard.table.iloc[0]
    assert first["value"] == pytest.approx(expected["value"], rel=1e-11)
    assert first["kpi_en"] == "Enquiries answered in 24 h" and first["n"] == 4200
    assert all(cell.data_type != "f" for sheet in book for row in sheet for cell in row)
    assert any(
        "'=1" in str(cell)
        for row in book["数据问题 Data problems"].iter_rows(values_only=True)
        for cell in row
    )


# ---------------------------------------------------------------- the page


def test_the_page_is_small_whole_and_passes_the_door():
    assert len(index().encode()) <= LARGEST_PAGE
    publish.check_page("index.html", index())
    page = Page(index())
    assert page.unclosed == [] and page.open == []
    assert [known["id"] for known in page.all("section")] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    assert "://" not in index() and "02_b" in index() and 'href="01_a.html"' in index()


def test_the_page_brings_every_glyph_that_it_shows():
    from fontTools.ttLib import TTFont

    data = re.search(r"data:font/woff;base64,([^)]*)", index())[1]
    brought = TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap()
    bare = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", index(), flags=re.DOTALL)
    shown = {ord(letter) for letter in html.unescape(re.sub("<[^>]*>", "", bare))}
    assert shown - set(brought) <= {ord("\n")} and len(shown) > 500


def test_every_kpi_appears_in_every_view():
    for name in review().plan.kpis:
        assert f'<tr id="k-{name}">' in index()
        assert f'id="c-{name}"' in index()
        assert index().count(f'href="#k-{name}"') >= 3


def test_every_text_is_there_in_both_languages():
    counted = {lang: index().count(f'<span lang="{lang}">') for lang in labels.languages()}
    assert counted["zh"] == counted["en"] > 1000
    assert index().count('<tspan lang="zh">') == index().count('<tspan lang="en">') > 100


def test_tables_have_captions_scopes_and_pictures_descriptions():
    page = Page(index())
    assert index().count("<table") == index().count("<caption") > 10
    assert all("scope" in known for known in page.all("th"))
    pictures = page.all("svg")
    assert len(pictures) > 44 and all(known["role"] == "img" for known in pictures)
    assert {known["aria-labelledby"] for known in pictures} <= set(page.ids)
    scrolled = [known for known in page.all("div") if known.get("class") == "scroll"]
    assert all(
        known["tabindex"] == "0" and known["aria-labelledby"] in page.ids for known in scrolled
    )


def test_each_verdict_has_a_sign_a_word_and_a_colour_of_its_own():
    assert len(set(board.SIGNS.values())) == len(board.SIGNS)
    assert set(board.SIGNS) == {key[8:] for key in labels.keys() if key.startswith("verdict.")}  # noqa: SIM118
    for name, sign in board.SIGNS.items():
        assert f'class="v-{name}"' in index() and sign in index()


def test_the_verdict_is_traced_to_findings_that_the_page_shows():
    told = re.findall(r'class="ref" href="#f-(\w+)"', index())
    assert len(told) >= 2 and all(f'<tr id="f-{name}">' in index() for name in told)


def test_noise_is_said_to_be_noise_and_chance_is_stated():
    moved = evidence.changes(review(), review().scorecard.table)
    group = review().scorecard.table.query("unit_type == 'group'")
    beyond = (group["beyond_period"].fillna(False) | group["beyond_year"].fillna(False)).sum()
    assert len(moved["group"]) == beyond and len(moved["group"]) + len(moved["within"]) == len(
        group
    )
    assert "≈ 噪声" in index() and "≈ noise" in index()
    stores = review().scorecard.table.query("unit_type == 'store'")["beyond_period"]
    expected = f"{0.05 * stores.notna().sum():.0f}"
    assert moved["expected"] == expected and f"仅凭偶然也约有{expected}项" in index()


def test_the_demonstration_key_is_announced_and_a_real_one_is_not():
    assert 'class="warning"' in index()
    real = replace(tiny(), stamp={**tiny().stamp, "demonstration_key": False})
    assert 'class="warning"' not in report.index_html(real)


def test_benchmarks_say_whether_they_are_verified():
    for name, entry in review().plan.benchmarks.items():
        row = re.search(rf'<tr id="b-{name}">.*?</tr>', index(), re.DOTALL)[0]
        assert labels.text(f"status.{entry['status']}", "en") in row and str(entry["year"]) in row


# ---------------------------------------------------------------- numbers and small groups


@pytest.mark.parametrize(("measure", "size", "number", "value", "change"), [
    ("share", 0.9, 0.9123, "91.2%", "+91.2"), ("score", 0.5, -0.42, "−42", "−42.0"),
    ("value", 127.2, 2.2201, "2.2", "+2.2"), ("value", 0.48, -0.0151, "−0.015", "−0.015"),
    ("value", 25_000.0, 431.4, "431", "+431"), ("value", 20.0, -0.0004, "0.0", "0.0"),
    ("share", 0.9, None, "–", "–"),
])  # fmt: skip
def test_numbers_of_a_row_have_the_same_decimals(measure, size, number, value, change):
    spelled = board.Spelled({"measure": measure}, size)
    number = np.nan if number is None else number
    assert (spelled.value(number), spelled.change(number)) == (value, change)


def test_nothing_about_fewer_than_k_people_is_in_the_page():
    table = tiny().scorecard.table
    place = table.index[(table["unit"] == "S05") & (table["kpi"] == "nps")][0]
    table.loc[place, ["n", "value", "low", "high", "verdict"]] = [3, 0.9171, 0.91, 0.93, "met"]
    small = replace(tiny(), scorecard=replace(tiny().scorecard, frame=table))
    cells = board.matrix(small, publish.suppress(table, report.SCORECARD_COUNTS, k=5))
    row = next(r for area in cells["areas"] for r in area["rows"] if r["name"] == "nps")
    assert row["cells"][cells["units"].index("S05")]["value"] in ("", "–")
    page = report.index_html(small)
    assert "91.71" not in page and "0.917" not in page


def test_personal_numbers_in_data_are_masked_on_the_way_out(tmp_path):
    quality = tiny().quality.table
    quality.loc[0, "expected"] = "回电13800138000"
    told = replace(tiny(), quality=replace(tiny().quality, frame=quality))
    written = report.write(told, tmp_path / "r")
    assert all(b"13800138000" not in path.read_bytes() for path in written.iterdir())
    assert "回电[mobile]" in (written / "index.html").read_text(encoding="utf-8")


def test_hostile_names_are_shown_as_text():
    quality = tiny().quality.table
    quality.loc[0, ["file", "column", "rule", "expected"]] = EVIL
    page = report.index_html(replace(tiny(), quality=replace(tiny().quality, frame=quality)))
    publish.check_page("index.html", page)
    assert "&lt;script&gt;alert(1)" in page and page.count("<script>") == 1
    assert "http&#58;//evil.invalid/" in page


def test_rare_characters_become_a_sign_and_are_named():
    table = tiny().counts.table
    table.loc[0, "file"] = "𠮷祥店.csv"
    page = report.index_html(replace(tiny(), counts=replace(tiny().counts, frame=table)))
    assert "〓祥店.csv" in page and "U+20BB7" in page and "𠮷" not in page
    assert "U+" not in index().rpartition("<footer>")[2]


def test_a_review_without_goals_alarms_or_problems_still_renders():
    chosen = tiny().plan
    table = tiny().scorecard.table.assign(goal=np.nan, verdict="no_goal")
    for name in ("beyond_period", "beyond_year"):
        table[name] = pd.array([False] * len(table), dtype="boolean")
    quiet = replace(
        tiny(),
        plan=replace(chosen, benchmarks={}),
        scorecard=replace(tiny().scorecard, frame=table, findings=()),
        charts=replace(tiny().charts, frame=tiny().charts.frame.assign(beyond=False)),
        signals=replace(tiny().signals, frame=tiny().signals.frame.head(0), findings=()),
        quality=replace(tiny().quality, frame=tiny().quality.frame.head(0)),
    )
    page = report.index_html(quiet)
    publish.check_page("index.html", page)
    assert labels.text("about.quiet", "zh") in page and labels.text("about.clean", "en") in page


def test_many_stores_are_cut_to_those_with_most_missed_goals():
    table = review().scorecard.table
    stores = table[table["unit_type"] == "store"]
    many = pd.concat([stores.assign(unit=stores["unit"] + f"-{i}") for i in range(4)])
    many.loc[many["unit"] == "S16-3", "verdict"] = "missed"
    cells = board.matrix(review(), many)
    assert len(cells["units"]) == board.MOST_STORES and cells["all"] == 64
    assert "S16-3" in cells["units"]


# ---------------------------------------------------------------- notebooks


def test_a_notebook_becomes_one_harmless_page():
    page = report.notebook_html(notebook(), title="x", home="index.html")
    publish.check_page("a.html", page)
    assert Page(page).unclosed == []
    assert "<title>评审 · Review</title>" in page and "a widget" not in page
    assert page.count('role="img"') == 1 and '<td class="num">91.0%</td>' in page
    assert '<details class="code"><summary>' in page and 'href="index.html"' in page


HOSTILE = [
    nbformat.v4.new_markdown_cell(f"text {EVIL} [x](javascript:alert(3)) <style>p{{}}</style>"),
    nbformat.v4.new_markdown_cell("<iframe src=//evil.invalid></iframe><form><input></form>"),
    code("html", {"text/html": f"<p onclick=alert(4) style='x'>{EVIL}</p><a href=//e>a</a>"}),
    code("markdown", {"text/markdown": EVIL}),
    code("plain", {"text/plain": EVIL}),
    code("js", {"application/javascript": "alert(5)", "text/plain": "kept"}),
    code("svg", {"image/svg+xml": f'<svg xmlns="{plot.svg.NAMESPACE}" onload="alert(6)">'
                                  "<script>alert(7)</script><rect/></svg>"}),
    code("png", {"image/png": 'AAAA" onerror="alert(8)'}),
    code("print", outputs=[nbformat.v4.new_output("stream", text=f"\x1b[31m{EVIL}\x1b[0m")]),
    code("error", outputs=[nbformat.v4.new_output("error", ename="E", evalue=EVIL, traceback=[])]),
    code(f"# {EVIL}"),
]  # fmt: skip


def test_hostile_cells_and_outputs_are_disarmed():
    page = report.notebook_html(notebook(*HOSTILE), title="x")
    publish.check_page("a.html", page)
    tags = Page(page)
    assert not any(name.startswith("on") for _, known in tags.tags for name in known)
    assert len(tags.all("script")) == 1 and tags.all("iframe") == tags.all("img") == []
    assert "\x1b" not in page and "alert(5)" not in page and "kept" in page
    assert set(tags.links) <= {"#main", "#harmful-link"}


def test_sanitising_keeps_tables_and_drops_what_loads():
    kept = sanitised("<table><tr><td>1</td></tr></table><svg><a href='x'/></svg><p class='a'>b</p>")
    assert "<td>1</td>" in kept and "svg" not in kept and "class" not in kept


def test_what_is_no_notebook_is_refused():
    with pytest.raises(MethodError, match="no nbformat 4"):
        report.notebook_html({"nbformat": 3}, title="x")


# ---------------------------------------------------------------- style


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_and_signs_are_told_apart_from_the_page():
    css = (Path(report.__file__).parents[1] / "templates" / "report.css").read_text("utf-8")
    colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6})", css))
    for name in ("ink", "soft", "blue", "bad", "good"):
        assert contrast(colours[name], "#ffffff") >= 4.5
    for text, fill in (("bad", "bad-fill"), ("good", "good-fill"), ("soft", "open-fill")):
        assert contrast(colours[text], colours[fill]) >= 4.5
    from dealerqm.plot import canvas

    assert contrast(canvas.GREY, "#ffffff") >= 4.5 and contrast(canvas.INK, "#ffffff") >= 4.5
    for colour in (canvas.BLUE, canvas.VERMILLION, canvas.GREEN):
        assert contrast(colour, "#ffffff") >= 3


# ---------------------------------------------------------------- in a browser, offline


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("NO CHROMIUM: the report was not looked at; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


LOOK = """() => ({
  font: document.fonts.check("15px 'Dealerqm Sans SC'", "满意度"),
  wide: document.documentElement.scrollWidth - window.innerWidth,
  shown: document.querySelector("#verdict h2").innerText,
  lang: document.documentElement.lang,
  title: document.title,
})"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("lang", labels.languages())
def test_the_page_opens_offline_and_fits(folder, chromium, width, lang):
    context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, asked, told = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("console", lambda message: told.append(message.text))
    page.goto((folder / "index.html").as_uri())
    page.click(f".switch label[for={lang}]")
    page.wait_for_function("document.fonts.status === 'loaded'")
    assert page.evaluate(LOOK) == {
        "font": True, "wide": 0, "shown": labels.text("section.verdict", lang),
        "lang": {"zh": "zh-CN", "en": "en"}[lang],
        "title": labels.text("page.title", lang, period="2026Q3"),
    }  # fmt: skip
    assert told == [] and all(url.startswith(("file:", "data:")) for url in asked)
    context.close()


@pytest.mark.browser
def test_hostile_pages_run_nothing(folder, chromium, tmp_path):
    page_file = tmp_path / "a.html"
    page_file.write_text(report.notebook_html(notebook(*HOSTILE), title="x"), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        page = chromium.new_page()
        told, asked = [], []
        page.on("dialog", lambda dialog: told.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.evaluate("() => document.querySelectorAll('a,p,td').forEach(e => e.click())")
        page.wait_for_timeout(200)
    assert told == [] and all(url.startswith(("file:", "data:")) for url in asked)
    page.close()


@pytest.mark.browser
def test_the_keyboard_switches_the_language_and_works_without_script(folder, chromium):
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    heading = page.locator("#verdict h2")
    assert heading.inner_text() == "结论"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert heading.inner_text() == "Verdict"
    context.close()


@pytest.mark.browser
def test_the_language_goes_along_to_the_notebooks(folder, chromium):
    page = chromium.new_page()
    page.goto((folder / "index.html").as_uri())
    page.click(".switch label[for=en]")
    page.click('a[data-page="01_a.html"]')
    assert page.locator("header a").inner_text() == "← Back to the review"
    page.close()
