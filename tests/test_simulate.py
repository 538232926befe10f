"""The simulated group: the same bytes from the same seed, and what is planted can be found."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from dealerqm import ingest, plan, privacy, simulate
from dealerqm.errors import ParameterError, PrivacyError
from dealerqm.registers import Register
from dealerqm.simulate import plant
from dealerqm.world import DAY, Config, World, care, settings, survey

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
SMALL = Config(
    stores=6, regions=3, quarters=8, orders=15_000, leads=5_000, invitations=6_500,
    complaints=750, contacts=5_000, null_runs=2, duplicates=5,
)  # fmt: skip
MEGABYTE = 1_000_000
TABLES = {name: table for name, table in plan.load().tables.items() if not table.made_from}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    return folder, simulate.simulate(folder, seed=5, config=SMALL)


@pytest.fixture(scope="module")
def truth(group):
    return json.loads((group[0] / "truth.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def raw(group):
    return {name: read(group[0] / "raw", name) for name in TABLES}


@pytest.fixture(scope="module")
def sample():
    """What is planted in the committed sample, simulated again in memory."""
    told = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
    sd = {kpi: np.array(list(stores.values())) for kpi, stores in told["store_month_sd"].items()}
    config = Config(**told["config"])
    world, planned, improved = simulate.planted_world(config, told["seed"], sd)
    return told, plant.run(world), planned, improved, sd


@pytest.fixture(scope="module")
def features(sample):
    """Customers with the columns by which segments can be recovered, on a log scale."""
    world, order, people = sample[1].world, sample[1].order, sample[1].base.customers
    done = order[world.inside(order["opened_at"]) & (order["status"] == "closed")]
    plain = done[done["parent"] < 0]
    cars = done.groupby("car").agg(
        low=("odometer_km", "min"), high=("odometer_km", "max"), first=("arrived_at", "min"),
        last=("arrived_at", "max"), customer=("customer", "first"),
    )  # fmt: skip
    cars = cars[cars["last"] > cars["first"]]
    rate = (cars["high"] - cars["low"]) / (cars["last"] - cars["first"]) * DAY
    service = plain[plain["kind"] == "maintenance"]
    bill = service["labour_fen"] + service["parts_fen"]
    paid = plain[plain["kind"].isin(["maintenance", "repair", "body"])].groupby("customer")
    money = paid[["discount_fen", "labour_fen", "parts_fen"]].sum()
    out = pd.DataFrame({
        "km": rate.groupby(cars["customer"]).mean(),
        "spend": bill.groupby(service["customer"]).median(),
        "discount": money["discount_fen"] / (money["labour_fen"] + money["parts_fen"]),
    })  # fmt: skip
    visits = done.groupby("customer").size()
    out = out[out.index.isin(visits.index[visits >= 3])]
    out = np.log(out[(out > 0).all(axis=1)])
    return out, people["segment"].to_numpy()[out.index]


def read(folder, name):
    """Both dialects of a table under contract names, as texts, dates and numbers."""
    table, parts = TABLES[name], []
    chinese = folder / "dms_a" / f"{table.files[0]}.csv"
    english = folder / "dms_b" / f"{table.files[1]}.xlsx"
    frame = pd.read_csv(chinese, encoding="gb18030", skiprows=1, dtype=str, keep_default_na=False)
    frame = frame[frame.iloc[:, 0] != "合计"].replace("", None)
    heads = {column.headers[0]: column.name for column in table.exported.values()}
    parts.append(frame.rename(columns=heads).assign(dialect="a"))
    if english.exists():
        frame = pd.read_excel(english, engine="calamine", keep_default_na=False, dtype=object)
        frame = frame.replace("", None)
        heads = {column.headers[1]: column.name for column in table.exported.values()}
        parts.append(frame.rename(columns=heads).assign(dialect="b"))
    out = pd.concat(parts, ignore_index=True)
    for column in table.exported.values():
        if column.type in ("date", "datetime"):
            out[column.name] = out[column.name].map(moment)
    return out


def moment(cell):
    """A date or time from any spelling of the exports."""
    if not isinstance(cell, str):
        return pd.NaT if cell is None else pd.Timestamp(cell)
    return pd.Timestamp(
        cell.replace("年", "-").replace("月", "-").replace("日", "").replace("/", "-")
    )


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# ---------------------------------------------------------------- the same bytes


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(group, tmp_path):
    simulate.simulate(tmp_path / "again", seed=5, config=SMALL)
    assert hashes(tmp_path / "again") == hashes(group[0])
    simulate.simulate(tmp_path / "other", seed=6, config=replace(SMALL, null_runs=1))
    other = hashes(tmp_path / "other")
    assert all(other[name] != value for name, value in hashes(group[0]).items() if "raw" in name)


@pytest.mark.slow
def test_committed_sample_is_what_the_package_simulates(tmp_path):
    simulate.simulate(tmp_path)
    assert hashes(tmp_path) == hashes(SAMPLES)


def test_truth_is_returned_and_written(group, truth):
    assert truth == group[1]
    assert {"nulls", "segments", "risks", "improvements", "personal_data"} <= set(truth)


def test_simulation_refuses_a_folder_with_other_exports(tmp_path):
    (tmp_path / "raw" / "dms_a").mkdir(parents=True)
    (tmp_path / "raw" / "dms_a" / "real.csv").write_text("真实数据", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"raw: holds 1 files .* first dms_a/real.csv"):
        simulate.simulate(tmp_path, seed=5, config=SMALL)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["real.csv"]


def test_a_change_in_one_stream_leaves_the_others_alone():
    world = World(SMALL, 5)
    first = world.rng("orders").random(3)
    world.rng("leads").random(1000)
    assert (world.rng("orders").random(3) == first).all()
    assert (World(SMALL, 5, run=1).rng("orders").random(3) != first).all()


# ---------------------------------------------------------------- exports


def test_sizes_are_what_was_asked_for(sample):
    told, made = sample[0], sample[1]
    config, world = Config(), made.world
    assert dict(told["config"]) == dict(vars(config))
    found = {
        "orders": world.inside(made.order["opened_at"]).sum(),
        "leads": world.inside(made.lead["created_at"]).sum(),
        "invitations": len(made.answers),
        "complaints": world.inside(made.told["received_at"]).sum(),
        "contacts": world.inside(made.calls["at"]).sum(),
    }
    for name, number in found.items():
        assert number == pytest.approx(getattr(config, name), rel=0.1), name


def test_sample_fits_into_the_repository():
    assert (
        sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) <= 25 * MEGABYTE
    )


def test_half_of_the_stores_export_in_each_dialect_and_rows_stay_with_their_store(raw):
    home = raw["stores"].set_index("store_id")["dialect"]
    assert Counter(home) == {"a": 3, "b": 3}
    for name, frame in raw.items():
        if "store_id" in TABLES[name].exported:
            assert (frame["store_id"].map(home) == frame["dialect"]).all(), name


@pytest.mark.parametrize("name", list(TABLES))
def test_every_column_is_filled_in_each_dialect(raw, name):
    for _, part in raw[name].groupby("dialect"):
        empty = [c for c in TABLES[name].exported if part[c].isna().all()]
        assert empty == []
        for column in TABLES[name].exported.values():
            assert not (column.required and part[column.name].isna().any()), column.name


def test_nothing_happens_after_the_last_day_or_before_the_first(raw, truth):
    end = pd.Timestamp(truth["as_of"]) + pd.Timedelta(days=1)
    for name, table in TABLES.items():
        for column in table.exported.values():
            if column.type in ("date", "datetime") and not column.planned:
                assert raw[name][column.name].max() < end, (name, column.name)
    born = {"service_orders": "opened_at", "leads": "created_at", "complaints": "received_at"}
    for name, column in born.items():
        assert raw[name][column].min() >= pd.Timestamp("2024-10-01")


def test_outcomes_of_the_newest_rows_are_still_open(raw):
    newest = raw["complaints"].sort_values("received_at").tail(10)
    assert newest["closed_at"].isna().mean() >= 0.8  # a few are withdrawn at once
    assert (raw["service_orders"]["status"].isin(["在修", "Open"])).sum() > 0
    assert raw["parts_lines"]["supplied_at"].isna().any()


def test_only_the_planted_rows_are_exported_twice(raw, truth):
    planted = Counter(entry["table"] for entry in truth["duplicates"])
    assert planted == dict.fromkeys(settings()["sample"]["duplicated"], SMALL.duplicates)
    for name, table in TABLES.items():
        twice = raw[name][raw[name].duplicated(list(table.key), keep="first")]
        listed = [entry["row"] for entry in truth["duplicates"] if entry["table"] == name]
        assert sorted(twice[table.key[0]]) == sorted(listed)
        assert raw[name].duplicated().sum() == len(listed), name


def test_ingest_takes_every_row_and_accepts_the_demonstration_key(group, tmp_path):
    folder = group[0]
    key = privacy.demo_key(folder)
    snapshot = ingest.ingest(folder / "raw", tmp_path, plan.load(), key=key)
    counts = snapshot.counts.select_dtypes("number").sum()
    assert counts["loaded"] + counts["duplicates"] + counts["non_data"] == counts["rows"]
    assert counts["duplicates"] == 4 * SMALL.duplicates
    assert set(snapshot.issues["rule"]) <= {"duplicate", "number_format"}


def test_demonstration_key_is_refused_when_a_raw_file_changes(group, tmp_path):
    for name in ("demo.json", *json.loads((group[0] / "demo.json").read_text("utf-8"))["files"]):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((group[0] / name).read_bytes())
    changed = tmp_path / "raw" / "dms_a" / "门店.csv"
    changed.write_bytes(changed.read_bytes() + b"\r\n")
    with pytest.raises(PrivacyError, match="门店"):
        privacy.demo_key(tmp_path)


def test_registers_are_read_by_the_register(group, tmp_path, truth):
    register = Register(tmp_path / "state.sqlite")
    register.from_excel(group[0] / "registers.xlsx", at="2026-10-01T09:00:00", by="test")
    found = register.state("improvement").set_index("key")
    assert sorted(found.index) == ["I01", "I02", "I03"]
    for entry in truth["improvements"].values():
        row = found.loc[entry["id"]]
        assert row["kpi"] == entry["kpi"]
        picked = "" if pd.isna(row["picked_months"]) else row["picked_months"]
        assert picked == ", ".join(entry["selection_months"])
        assert {part.split()[0] for part in row["stores"].split(", ")} == set(entry["start"])
        assert str(row["starts_on"])[:7] == min(entry["start"].values())
    assert set(register.state("risk")["key"]) == {risk["id"] for risk in truth["risks"]}
    assert len(register.state("sign_off")) == 2 * (SMALL.quarters - 1)


def test_exports_show_what_real_ones_show(group, raw):
    lines = (group[0] / "raw/dms_a/维修工单.csv").read_bytes().decode("gb18030").split("\r\n")
    assert lines[0].startswith("维修工单明细")
    assert lines[-2].startswith("合计")
    texts = "".join((group[0] / f"raw/dms_a/{name}.csv").read_text("gb18030")
                    for name in ("销售线索", "员工任职"))  # fmt: skip
    assert '"￥' in texts
    assert re.search(r"\d{4}/\d{1,2}/\d{1,2} \d\d:\d\d", texts)
    assert re.search(r"\d{4}年\d{1,2}月\d{1,2}日", texts)
    assert set(raw["service_orders"]["status"]) >= {"已取消", "已退款", "Cancelled", "Refunded"}
    answers = raw["survey_responses"]["product"].dropna().astype(float)
    assert {98, 99, 0} <= set(answers)


# ---------------------------------------------------------------- consistency


def test_steps_of_complaints_fit_their_times_and_follow_each_other(raw):
    steps, told = raw["complaint_events"], raw["complaints"].set_index("complaint_id")
    spellings = TABLES["complaint_events"].columns["action"].values  # noqa: PD011
    words = {word: action for action, found in spellings.items() for word in found}
    steps = steps.assign(action=steps["action"].map(words)).sort_values(["complaint_id", "at"])
    last = steps.pivot_table(index="complaint_id", columns="action", values="at", aggfunc="max")
    for action, column in {"receive": "received_at", "respond": "first_response_at",
                           "resolve": "resolved_at", "review": "reviewed_at"}.items():  # fmt: skip
        given = told[column].reindex(last.index)
        done = given.notna()
        assert (last[action][done] == given[done]).all(), action
    again = steps[steps["action"] != "receive"]
    before = steps.groupby("complaint_id")["to_state"].shift()[again.index]
    assert (again["from_state"] == before).all()
    assert {"wait", "resume", "escalate", "withdraw", "reopen"} <= set(steps["action"])


def test_comebacks_lie_inside_the_guarantee_of_the_first_order(sample):
    order = sample[1].order
    back = order[order["parent"] >= 0]
    first = order.iloc[back["parent"]]
    rules = plan.load().settings["guarantee"]
    days = (back["arrived_at"].to_numpy() - first["closed_at"].to_numpy()) / DAY
    km = back["odometer_km"].to_numpy() - first["odometer_km"].to_numpy()
    levels = first["work_level"]
    assert (days > 0).all()
    assert (days <= levels.map({k: r["days"] for k, r in rules.items()}).to_numpy()).all()
    assert (km <= levels.map({k: r["km"] for k, r in rules.items()}).to_numpy()).all()
    assert back["car"].tolist() == first["car"].tolist()


def test_odometers_never_run_backwards(sample):
    order = sample[1].order.sort_values(["car", "arrived_at"])
    steps = order["odometer_km"].diff()[order["car"].diff() == 0]
    assert (steps >= 0).all()


# ---------------------------------------------------------------- personal data


def identity_is_valid(text):
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    total = sum(int(a) * w for a, w in zip(text[:17], weights, strict=True))
    return text[17] == "10X98765432"[total % 11]


def vin_is_valid(text):
    values = {str(i): i for i in range(10)}
    values |= dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", [*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)],
                       strict=True))  # fmt: skip
    weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    total = sum(values[c] * w for c, w in zip(text, weights, strict=True)) % 11
    return text[8] == ("X" if total == 10 else str(total))


def test_personal_data_are_made_up_and_their_check_digits_fit(raw, truth):
    numbers = [str(v) for v in raw["customers"]["id_number"].dropna()]
    assert all(re.fullmatch(r"99\d{15}[\dX]", n) and identity_is_valid(n) for n in numbers)
    assert all(re.fullmatch(r"154\d{8}", str(n)) for n in raw["customers"]["phone"])
    assert all(vin_is_valid(v) and v.startswith("LX0") for v in raw["vehicles"]["vin"])
    for entry in truth["personal_data"]:
        value = entry["value"]
        assert entry["kind"] != "mobile" or value.startswith("154")
        assert entry["kind"] != "id_number" or (value[:2] == "99" and identity_is_valid(value))
        assert entry["kind"] != "vin" or (value[:3] == "LX0" and vin_is_valid(value))
        assert entry["kind"] != "email" or value.endswith("@example.com")


def test_every_planted_string_stands_in_its_text_and_all_are_listed(raw, truth):
    texts = {"complaints": "text", "survey_responses": "comment"}
    listed = {(e["table"], e["row"]): e["value"] for e in truth["personal_data"]}
    written = 0
    for name, column in texts.items():
        said = raw[name].drop_duplicates().set_index(TABLES[name].key[0])[column].dropna()
        written += len(said)
        for row, text in said.items():
            found = re.search(r"154\d{8}|99\d{15}[\dX]|LX0\w{14}|@example|wxid_", str(text))
            assert bool(found) <= ((name, row) in listed)
        assert all(value in said[row] for (table, row), value in listed.items() if table == name)
    assert 0.01 < len(listed) / written < 0.035
    kinds = {entry["kind"] for entry in truth["personal_data"]}
    assert len(kinds) >= 4


# ---------------------------------------------------------------- planted: levels


def test_planted_shifts_have_the_size_they_are_said_to_have(sample):
    _, made, planned, _, sd = sample
    found, plain = plant.values(made), plant.values(plant.run(replace(made.world, planted={})))
    moved, wanted = [], []
    for entry in planned:
        if entry["kind"] == "shift":
            kpi, store, span = (
                entry["kpi"],
                entry["store"],
                slice(entry["first"], entry["last"] + 1),
            )
            sign = -1 if kpi in plant.RATES else 1
            gap = np.nanmean(found[kpi][store, span]) - np.nanmean(plain[kpi][store, span])
            months = entry["last"] - entry["first"] + 1
            assert months >= 12
            moved.append(sign * gap / sd[kpi][store])
            wanted.append(entry["size"])
            # a mean of so many months against another: four standard errors
            assert moved[-1] == pytest.approx(entry["size"], abs=4 * np.sqrt(2 / months)), entry
    slope = np.dot(moved, wanted) / np.dot(wanted, wanted)
    assert slope == pytest.approx(1, abs=0.1)
    assert {abs(size) for size in wanted} == {1, 1.5, 2, 3}
    assert min(Counter(abs(size) for size in wanted).values()) >= 4


def test_standard_deviations_are_those_of_store_months_without_plants(sample):
    _, made, _, _, sd = sample
    fresh = plant.values(plant.run(World(made.world.config, made.world.seed, run=77)))
    for kpi, listed in sd.items():
        ratio = np.nanstd(fresh[kpi], axis=1, ddof=1) / listed
        # months that all stores share count once, so the spread of one run is known to a quarter
        assert np.sqrt(np.mean(ratio**2)) == pytest.approx(1, abs=0.3), kpi


def test_nulls_have_neither_a_plant_nor_a_kin_with_one(truth):
    hit = {(e["kpi"], e["store_id"]) for e in truth["planted"]}
    hit |= {
        (m["kpi"], s) for m in truth["improvements"].values() if m["size_sd"] for s in m["start"]
    }
    hit.add(("complaint_rate", truth["burst"]["store_id"]))
    for kpi, stores in truth["nulls"].items():
        assert stores
        assert not {(kpi, store) for store in stores} & hit
    assert not {("satisfaction", s) for s in truth["nulls"]["nps"]} & hit


def test_improvements_raise_their_stores_and_the_fading_one_fades(sample):
    _, made, _, improved, sd = sample
    kpis = [entry["kpi"] for entry in improved.values()]
    only = replace(made.world, planted={kpi: made.world.planted[kpi] for kpi in kpis})
    found, plain = plant.values(plant.run(only)), plant.values(plant.run(replace(only, planted={})))
    for name, first, late in (("staggered", 0.5, 0.5), ("fading", 0.8, 0.1)):
        entry = improved[name]
        gain = (found[entry["kpi"]] - plain[entry["kpi"]]) / sd[entry["kpi"]][:, None]
        early = np.mean([np.nanmean(gain[s, m : m + 3]) for s, m in entry["start"].items()])
        after = np.mean([np.nanmean(gain[s, m + 9 : m + 12]) for s, m in entry["start"].items()])
        assert early == pytest.approx(first, abs=0.12)
        assert after == pytest.approx(late, abs=0.12)
    assert len(set(improved["staggered"]["start"].values())) == 4


def test_null_improvement_looks_good_only_against_the_months_it_was_picked_on(sample):
    made, sd = sample[1], sample[4]
    entry = plant.null_improvement(made, plant.values(made))
    score = plant.values(made)["closing_rate"] / sd["closing_rate"][:, None]
    begin = next(iter(entry["start"].values()))
    treated = np.isin(np.arange(len(score)), list(entry["start"]))
    picked, before = score[:, entry["selection"]], score[:, begin - 15 : begin - 3]
    after = score[:, begin : begin + 12]

    def gain(base):
        change = np.nanmean(after, axis=1) - np.nanmean(base, axis=1)
        return change[treated].mean() - change[~treated].mean()

    assert gain(picked) > 0.5
    assert abs(gain(before)) < 0.4


def test_store_months_vary_more_than_chance_and_remember(sample):
    order, world = sample[1].order, sample[1].world
    kept = order[world.inside(order["opened_at"])]
    day = world.day(kept["opened_at"])
    counts = np.zeros((16, world.days))
    np.add.at(counts, (kept["store"].to_numpy(), day), 1)
    counts = counts[:, world.burn :]
    assert (counts.var(axis=1) / counts.mean(axis=1)).min() > 1.3
    plain = plant.run(World(world.config, world.seed, run=1))
    memory = []
    for kpi, grid in plant.values(plain).items():
        if kpi in ("ready_on_time", "parts_first_fill", "test_drive_rate", "checklist_compliance"):
            gap = grid - np.nanmean(grid, axis=1, keepdims=True)
            memory.append(np.nanmean(gap[:, 1:] * gap[:, :-1]) / np.nanmean(gap**2))
    bias = -1 / world.months  # of the estimator, where there is no memory
    assert np.mean(memory) > bias + 0.02


def test_spring_festival_has_a_peak_a_standstill_and_a_rebound(sample):
    order, world = sample[1].order, sample[1].world
    days = pd.Series(np.bincount(world.day(order["arrived_at"]), minlength=world.days), world.dates)
    usual = days.iloc[world.burn :].median()
    for festival in (date(2024, 2, 10), date(2025, 1, 29), date(2026, 2, 17)):
        mean = [
            days[
                pd.Timestamp(festival + timedelta(a)) : pd.Timestamp(festival + timedelta(b))
            ].mean()
            for a, b in ((-14, -2), (-1, 6), (7, 18))
        ]
        assert mean[0] > 1.15 * usual
        assert mean[1] < 0.1 * usual
        assert mean[2] > 1.05 * usual


def test_waiting_rises_with_load(sample):
    order, world = sample[1].order, sample[1].world
    place = order["store"] * world.days + world.day(order["arrived_at"])
    load = order.groupby(place)["car"].transform("size") / order.groupby("store")["car"].transform(
        "size"
    )
    wait = (order["started_at"] - order["arrived_at"]).groupby(load > load.median()).mean()
    assert wait[True] > wait[False] + 1


# ---------------------------------------------------------------- planted: survey


def test_advisers_explain_a_tenth_to_a_seventh_of_satisfaction(sample):
    made = plant.run(replace(sample[1].world, planted={}))
    rows = made.answers[(made.answers["touchpoint"] == "service") & made.answers["overall"].notna()]
    rows = rows[~rows["begged"].astype(bool)]
    rows = rows[~rows["store"].isin(survey.biased_stores(made.world, made.base.share))]
    groups = rows.groupby("adviser")["overall"]
    n, total = groups.size(), len(rows)
    between = (n * (groups.mean() - rows["overall"].mean()) ** 2).sum() / (len(n) - 1)
    within = ((rows["overall"] - groups.transform("mean")) ** 2).sum() / (total - len(n))
    size = (total - (n**2).sum() / total) / (len(n) - 1)
    assert 0.10 <= (between - within) / (between + (size - 1) * within) <= 0.15


def test_scores_follow_the_effects_of_advisers(sample):
    made = sample[1]
    rows = made.answers[(made.answers["touchpoint"] == "service") & made.answers["overall"].notna()]
    means = rows.groupby("adviser")["overall"].agg(["mean", "size"])
    means = means[means["size"] >= 10]
    assert np.corrcoef(means["mean"], made.base.team.effect(means.index.to_numpy()))[0, 1] > 0.7


def test_answering_is_driven_by_recorded_facts(sample):
    rows = sample[1].answers
    rows = rows[
        (rows["touchpoint"] == "service")
        & (rows["invited_at"] < rows["invited_at"].max() - 20 * DAY)
    ]
    answered = rows["responded_at"].notna()

    def share(mask):
        return answered[mask].mean()

    for fact in ("slow_fact", "again", "complained"):
        assert share(rows[fact] > 0) < share(rows[fact] == 0) - 0.08, fact
    assert share(rows["channel"] == "sms") < share(rows["channel"] == "phone") - 0.1
    assert share(rows["age_band"] == "under_35") < share(rows["age_band"] == "over_54") - 0.1


def test_raw_satisfaction_flatters_and_weighting_by_recorded_facts_comes_closer(sample):
    told, made = sample[0], sample[1]
    rows = made.answers[made.answers["respondent"] == "customer"]
    rows = rows[~rows["store"].isin(survey.biased_stores(made.world, made.base.share))]
    words = pd.get_dummies(rows[["channel", "age_band", "touchpoint"]])
    facts = rows[["slow_fact", "again", "complained"]].assign(**words).astype(float)
    answered = rows["overall"].notna()
    model = LogisticRegression(C=100, max_iter=500).fit(facts, answered)
    weight = (rows["base_weight"] / model.predict_proba(facts)[:, 1])[answered]
    good = rows["overall"][answered] >= 9
    quarter = made.world.month(rows["invited_at"])[answered] // 3
    kept = {s: q for s, q in told["satisfaction"].items() if s not in told["informative_stores"]}
    better, flattering = [], []
    for i, q in enumerate(made.world.quarters):
        cells = [stores[q.key] for stores in kept.values()]
        true = sum(c["n"] * c["share"] for c in cells) / sum(c["n"] for c in cells)
        mine = quarter == i
        plain, adjusted = good[mine].mean(), np.average(good[mine], weights=weight[mine])
        better.append(abs(adjusted - true) < abs(plain - true))
        flattering.append(plain - true)
    assert np.mean(flattering) > 0.02
    assert np.mean(better) >= 0.8


def test_in_two_stores_answering_follows_satisfaction_itself(sample):
    told, made = sample[0], sample[1]
    rows = made.answers[made.answers["overall"].notna()]
    ids = made.base.store_ids
    link = {
        ids[store]: stats.spearmanr(part["delay"], part["overall"]).statistic
        for store, part in rows.groupby("store")
    }
    assert sorted(link, key=link.get)[:2] == sorted(told["informative_stores"], key=link.get)
    for name in told["informative_stores"]:
        part = rows[rows["store"] == list(ids).index(name)]
        cells = told["satisfaction"][name].values()
        true = sum(c["n"] * c["share"] for c in cells) / sum(c["n"] for c in cells)
        assert (part["overall"] >= 9).mean() > true + 0.08


def test_gaming_advisers_get_rows_of_tens(sample):
    made = sample[1]
    rows = made.answers[(made.answers["touchpoint"] == "service") & made.answers["overall"].notna()]
    items = [*settings()["survey"]["item_offset"], "overall"]
    tens = (rows[items] == 10).all(axis=1).groupby(rows["adviser"]).mean()
    gaming = made.base.team.people["gaming"].to_numpy()[tens.index.astype(int)]
    assert gaming.sum() >= 5
    assert tens[gaming].min() > tens[~gaming].quantile(0.95)


# ---------------------------------------------------------------- planted: customers, care, risk


def test_segments_overlap_by_five_to_eight_percent(features):
    columns, segment = features
    half = np.arange(len(columns)) % 2 == 0
    wrong = []
    for rows in (half, ~half):
        rule = QuadraticDiscriminantAnalysis().fit(columns[rows], segment[rows])
        wrong.append(1 - rule.score(columns[~rows], segment[~rows]))
    assert 0.05 <= np.mean(wrong) <= 0.08


def test_segment_members_are_listed_by_customer(sample):
    segments = sample[0]["segments"]
    assert len(segments["names"]) == 4
    counts = Counter(segments["members"].values())
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 0.1 * sum(counts.values())


def test_campaigns_bring_customers_by_the_planted_uplift(sample):
    made = sample[1]
    calls = made.calls[
        made.calls["campaign"].notna() & (made.calls["at"] < made.world.end - 61 * DAY)
    ]
    visits = made.order.groupby("customer")["arrived_at"].apply(np.sort)
    day = np.floor(calls["at"] / DAY) * DAY + DAY
    came = np.array([
        np.searchsorted(visits[c], start + 60 * DAY) > np.searchsorted(visits[c], start)
        for c, start in zip(calls["customer"], day, strict=True)
    ])  # fmt: skip
    held = calls["hold_out"].astype(bool).to_numpy()
    gap = came[~held].mean() - came[held].mean()
    error = np.sqrt(0.25 / held.sum() + 0.25 / (~held).sum())
    assert gap == pytest.approx(sample[0]["campaign_uplift"], abs=3 * error)
    assert held.mean() == pytest.approx(0.2, abs=0.03)


def test_burst_stands_out_in_its_store_and_weeks(sample):
    told, made = sample[0], sample[1]
    burst, world = told["burst"], made.world
    store = list(made.base.store_ids).index(burst["store_id"])
    rows = made.told[made.told["subtype"] == care.BURST]
    first = rows.groupby("repeat")["received_at"].min().get(-1)
    assert set(rows["store"]) == {store}
    assert str(world.dates[world.day(first)].date()) >= burst["first_day"]
    assert (rows["repeat"] < 0).sum() == burst["complaints"]
    usual = (made.told["store"] == store).sum() / world.days
    assert burst["complaints"] / 21 > 3 * usual


def test_risks_are_found_in_their_order(sample):
    told, made = sample[0], sample[1]
    rows = made.told[made.world.inside(made.told["received_at"])]
    paid = rows.groupby("subtype")["compensation_fen"].sum()
    losses = [risk["annual_loss"] for risk in told["risks"]]
    assert losses == sorted(losses, reverse=True)
    found = [paid[risk["subtype"]] for risk in told["risks"]]
    assert stats.kendalltau(losses, found).statistic >= 0.8


def test_kappa_of_two_checkers_can_be_measured(sample):
    rows = sample[1].checks
    pairs = rows[rows.duplicated(["visit", "item_no"], keep=False)].groupby(["visit", "item_no"])[
        "passed"
    ]
    assert len(pairs) > 300
    assert 0.9 < (pairs.min() == pairs.max()).mean() < 0.98


def test_case_mix_turns_the_order_of_stores_round(sample):
    told, made = sample[0], sample[1]
    plain = plant.run(replace(made.world, planted={}))
    share = np.nanmean(plant.values(plain)["ready_on_time"], axis=1)
    own = np.array([entry["ready"] for entry in told["case_mix"].values()])
    turned = [
        (i, j)
        for i in range(16)
        for j in range(16)
        if own[i] > own[j] + 0.05 and share[i] < share[j]
    ]
    assert turned
