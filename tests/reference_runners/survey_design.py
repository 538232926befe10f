"""Survey cases of designs, domains, intervals, quantiles and waves, read by their fields.

The design names columns of the data, the call says in R's words what was estimated and of which
rows, and the keys of the expected values say what to report.
"""

import itertools
import re

import numpy as np
import pandas as pd

from dealerqm.errors import MethodError
from dealerqm.psychometrics.answers import index_scores, index_weights
from dealerqm.sampling.compare import change, contrast, quantile, together
from dealerqm.sampling.design import codes, design
from dealerqm.sampling.estimate import mean, nps, ratio, total
from dealerqm.sampling.variance import covariance
from dealerqm.stats import multiple
from dealerqm.stats.intervals import adjusted_wald_nps
from dealerqm.stats.shares import share_interval
from reference_runners import words
from reference_runners.survey_models import arguments, differences, outer
from reference_runners.survey_weights import PLAIN, WEIGHTED

LONELY = {"fail": "refuse", "certainty": "remove"}
METHODS = {"mean": "t", "xlogit": "logit"}
POINTS = 100  # R's cases give net promoter scores from -100 to 100
DROPPED = "R_"  # keys of what R did where a note says that it was wrong


def handles(case):
    return run_of(case) is not None


def faults(case, folder):
    """List what differs from the case's expected values."""
    run = run_of(case)
    if run is None:
        return [f"{case['source_call']}: the package does not express it"]
    expected = case["expected"]
    try:
        got = run(case, rows_of(case, folder), folder)
    except MethodError as error:
        got = {"outcome": "error", "message": str(error)}
        if (lacking := re.search(r"no target for (\w+)\s*==\s*'(\w+)'", case["source_call"])) and (
            f"{lacking[1]}={lacking[2]}" not in str(error)
        ):
            got = {"outcome": f"the message does not name {lacking[2]}"}
    wanted = {k: v for k, v in expected.items() if k in got or not k.startswith(DROPPED)}
    return list(differences(got, wanted, case["tolerance"]))


def run_of(case):
    """The function that runs a case: by its design's fields, its call, or its expected keys."""
    fields = set(case["design"]) if isinstance(case["design"], dict) else set()
    for needed, run in PLAIN.items():
        if set(needed) <= fields:
            return run
    text, keys = case["source_call"], set(case["expected"])
    for pattern, needed, run in RUNS:
        if re.search(pattern, text) and set(needed) <= keys:
            return run
    return None


# ---------------------------------------------------------------- rows and designs


def rows_of(case, folder):
    if not case.get("data"):
        return None
    frame = pd.read_csv(folder / case["data"])
    text = case["source_call"]
    if only := re.search(r"wave (\d) rows only", text):
        frame = frame[frame["wave"] == int(only[1])].reset_index(drop=True)
    rows = re.search(r"set ([\w.]+)\s*=\s*(0|NA) (?:for|in) the first (\w+) (.*?)\s*rows", text)
    if rows:
        column, number, count, chosen = words.name(rows[1]), rows[2], rows[3], rows[4]
        held = words.condition(chosen, frame) if chosen else np.ones(len(frame), bool)
        first = np.flatnonzero(held)[: words.COUNTS.get(count) or int(count)]
        frame[column] = frame[column].astype(float if number == "0" else frame[column].dtype)
        frame.loc[first, column] = 0.0 if number == "0" else None
    return frame


def sample_of(case, frame):
    """The design: columns, lists of columns, constants, or weights of sampling fractions."""
    fields = case["design"]

    def column(given):
        if given is None:
            return None
        if isinstance(given, list):
            return [column(part) for part in given]
        word = words.name(str(given).split()[0].lstrip("~"))
        if word in frame:
            return frame[word].to_numpy()
        try:
            return np.full(len(frame), float(word))
        except ValueError:
            return None  # words for what the sizes of the population say

    weights, size = column(fields.get("weights")), column(fields.get("fpc"))
    if weights is None and size is None:
        weights = np.ones(len(frame))
    rule = re.search(r"lonely\.psu\s*=\s*'(\w+)'", case["source_call"])
    lonely = LONELY.get(rule[1], rule[1]) if rule else "refuse"
    return design(
        weights, psu=column(fields.get("ids")), strata=column(fields.get("strata")), size=size,
        lonely=lonely,
    )  # fmt: skip


def where(case, frame):
    """Rows of subset(design, …); of a wave; without a word on waves of the newest; else all."""
    text = case["source_call"]
    if "subset(design" in text.replace(" ", ""):
        return words.condition(arguments(text, "subset")[0][1], frame)
    if "wave" not in frame or "rows only" in text:
        return np.ones(len(frame), bool)
    named = re.search(r"wave\s*(?:==)?\s*(\d)", text)
    return (frame["wave"] == (int(named[1]) if named else frame["wave"].max())).to_numpy()


def call(case, function):
    """Formula parts, positional and named arguments of a call."""
    positional, named = arguments(case["source_call"], function)
    terms = outer(positional[0].partition("~")[2], "+")
    return terms, positional, named


def scored(text, frame):
    """An outcome in words or in R's words: NPS, top-2-box x>=9, a formula's side."""
    if re.fullmatch(r"\s*~?\s*NPS\s*", text, re.IGNORECASE) or re.search(r"\bNPS\b", text):
        return promoters(frame)
    box = re.search(r"top-\d-box\s+(\w+\s*>=?\s*\d+)", text)
    return words.value(box[1] if box else text.lstrip("~ "), frame)


def promoters(frame):
    score = frame["nps"].to_numpy(float)
    return np.where(np.isnan(score), np.nan, POINTS * ((score >= 9) * 1.0 - (score <= 6)))


# ---------------------------------------------------------------- estimates


def columns(term, frame):
    """R's columns of a term: a number, levels of a factor, or FALSE and TRUE of a condition."""
    found = words.value(term, frame)
    if words.logical(term):
        return {f"{term}FALSE": 1 - found, f"{term}TRUE": found}
    if found.dtype == object or term.strip().startswith(("factor(", "as.factor(")):
        plain = re.sub(r"^(?:as\.)?factor\((.*)\)$", r"\1", term.strip())
        lost = pd.isna(found)
        levels = sorted({v for v, gone in zip(found, lost, strict=True) if not gone})
        number = [f"{v:g}" if isinstance(v, float) else str(v) for v in levels]
        return {
            f"{plain}{n}": np.where(lost, np.nan, found == v)
            for n, v in zip(number, levels, strict=True)
        }
    return {words.name(term): found}


def plainly(key):
    return words.name(re.sub(r"[\s\"']", "", key))


def shaped(expected, names, values):
    """Values as the case lists them: by name, in order, or the only one."""
    values = [float(v) for v in values]
    if isinstance(expected, dict):
        known = {plainly(k): v for k, v in zip(names, values, strict=True)}
        return {key: known[plainly(key)] for key in expected if plainly(key) in known}
    return values if isinstance(expected, list) or len(values) > 1 else values[0]


def estimated(case, frame, folder, function="svymean"):
    """Means and totals of a formula, and the keys that one wants to know of them."""
    expected, sample = case["expected"], sample_of(case, frame)
    terms, _, named = call(case, function)
    rows = where(case, frame)
    parts = {k: v for term in terms for k, v in columns(term, frame).items()}
    estimator = total if function == "svytotal" else mean
    found = [estimator(sample, np.asarray(y, float), domain=rows) for y in parts.values()]
    both = together(*found)
    deff = both.deff
    if named.get("deff", "").strip("'\"") == "replace":
        size = sum(sample.weights[rows])
        deff = deff * (1 - both.n / size)
    report = {
        "estimate": both.estimate, "se": both.se, "deff": deff, "var": both.se**2,
        "cv": both.se / both.estimate, "n_eff": both.n_eff,
        "ci95_t_low": both.low, "ci95_t_high": both.high, "low": both.low, "high": both.high,
    }  # fmt: skip
    got = {key: shaped(expected.get(key), list(parts), part) for key, part in report.items()}
    got |= {"df": float(both.df[0]), "vcov": covariance(sample, both.scores).tolist()}
    got |= {"ci95": [both.low[0], both.high[0]], "n": float(both.n[0])}
    return got | {"mean": got["estimate"], "mean_se": got["se"], "nps": got["estimate"]}


def totals(case, frame, folder):
    return estimated(case, frame, folder, "svytotal")


def lonely(case, frame, folder):
    """A mean and a total of one design."""
    both = [estimated(case, frame, folder, name) for name in ("svymean", "svytotal")]
    return both[0] | {"total": both[1]["estimate"], "total_se": both[1]["se"]}


def scores(case, frame, folder):
    """A net promoter score in words."""
    sample, rows = sample_of(case, frame), where(case, frame)
    found = nps(sample, frame["nps"], domain=rows, small=0)
    low, high = (POINTS * part[0] for part in (found.low, found.high))
    return {
        "nps": POINTS * found.estimate[0], "se": POINTS * found.se[0], "df": found.df[0],
        "low": low, "high": high,
    }  # fmt: skip


def ratios(case, frame, folder):
    terms, positional, _ = call(case, "svyratio")
    bottom = positional[1].partition("~")[2]
    sample, rows = sample_of(case, frame), where(case, frame)
    found = ratio(sample, words.value(terms[0], frame), words.value(bottom, frame), domain=rows)
    names = ("estimate", "se", "low", "high", "df", "deff")
    return {name: getattr(found, name)[0] for name in names}


def share(case, frame, folder):
    terms, _, named = call(case, "svyciprop")
    sample, rows = sample_of(case, frame), where(case, frame)
    found = mean(sample, words.value(terms[0], frame), domain=rows)
    method, level = named.get("method", "logit"), float(named.get("level", 0.95))
    df = float(named["df"].replace("Inf", "inf")) if "df" in named else found.df[0]
    ends = share_interval(
        found.estimate, found.se, df, found.n, method=METHODS.get(method, method), confidence=level
    )
    got = {"estimate": found.estimate[0], "se": found.se[0], "df": df}
    got |= {"low": ends.low[0], "high": ends.high[0]}
    return got | {"ci95": [got["low"], got["high"]]}


def quantiles(case, frame, folder):
    terms, positional, named = call(case, "svyquantile")
    probs = words.numbers(positional[2])
    y = np.where(where(case, frame), words.value(terms[0], frame), np.nan)
    method = named.get("interval.type") or dotted(case, "interval.type") or "mean"
    found = quantile(
        sample_of(case, frame), y, probs, rule=named.get("qrule", "math"),
        method=METHODS.get(method, method),
    )  # fmt: skip
    return {
        "probs": probs, "estimate": found.estimate, "ci_low": found.low, "ci_high": found.high,
        "se": found.se,
    }  # fmt: skip


def dotted(case, key):
    found = re.search(re.escape(key) + r"\s*=\s*'([\w-]+)'", case["source_call"])
    return found[1] if found else None


# ---------------------------------------------------------------- domains and waves


def by_domain(case, frame, folder):
    """Estimates by the levels of one or more columns, in the order in which the case has them."""
    expected, text = case["expected"], case["source_call"]
    start = text.index("svyby(")
    parts, _ = arguments(text[start:], "svyby")
    sample, rows = sample_of(case, frame), where(case, frame)
    keys = [words.name(word) for word in outer(parts[1].partition("~")[2], "+")]
    label = frame[keys].astype(str).agg("|".join, axis=1)
    domain, names = codes(label.to_numpy(object))
    domain = np.where(rows, domain, -1)
    outcomes = outer(parts[0].partition("~")[2], "+") if parts[0].startswith("~") else [parts[0]]
    y = np.asarray(scored(outcomes[0], frame), float)
    if "svyratio" in text:
        bottom = re.search(r"denominator\s*=\s*~([\w.]+)", text)[1]
        found = ratio(sample, y, words.value(bottom, frame), domain=domain)
    else:
        found = (total if "svytotal" in text else mean)(sample, y, domain=domain)
    listed = [expected[key] for key in ("domain",) if key in expected] or [
        expected[key] for key in keys
    ]
    order = [names.tolist().index("|".join(map(str, row))) for row in zip(*listed, strict=True)]
    alone = found.flag == "one_psu"  # R gives 0 there; the package gives none, and says why
    se = np.where(alone, 0.0, found.se)
    known = covariance(sample, found.scores)[np.ix_(order, order)]
    got = {key: expected[key] for key in (*keys, "domain") if key in expected}
    got |= {"se": se[order], "vcov": known.tolist(), "flag": found.flag[order].tolist()}
    got |= {"df": found.df[order], "n": found.n[order], "deff": found.deff[order]}
    if alone.any():
        got["required"] = expected.get("required")
    for outcome in outcomes if len(outcomes) > 1 else []:
        each = mean(sample, np.asarray(scored(outcome, frame), float), domain=domain)
        name, error = words.name(outcome), each.se[order]
        got |= {name: each.estimate[order], f"se_{name}": error, f"se.{name}": error}
    named = ("estimate", "nps", "t2b", "mean", "share")
    return got | {next((k for k in expected if k in named), "estimate"): found.estimate[order]}


def pairwise(case, frame, folder):
    """All differences of domains, by normal theory, with adjusted p-values."""
    found = by_domain(case, frame, folder)
    text = case["source_call"]
    parts, _ = arguments(text[text.index("svyby(") :], "svyby")
    sample, rows = sample_of(case, frame), where(case, frame)
    key = words.name(parts[1].partition("~")[2])
    domain, names = codes(frame[key].to_numpy(object))
    both = mean(sample, scored(parts[0], frame), domain=np.where(rows, domain, -1))
    pairs = list(itertools.combinations(range(names.size), 2))
    table = np.zeros((len(pairs), names.size))
    for row, (one, other) in enumerate(pairs):
        table[row, one], table[row, other] = 1, -1
    made = contrast(sample, both, table, df=np.inf)
    labels = [f"{names[one]}{names[other]}" for one, other in pairs]
    expected = case["expected"]
    return found | {
        "estimate": shaped(expected.get("estimate"), labels, made.estimate),
        "se": shaped(expected.get("se"), labels, made.se),
        "z": made.estimate / made.se, "p_normal": made.p,
        "p_holm": multiple.holm(made.p), "p_bh": multiple.benjamini_hochberg(made.p),
    }  # fmt: skip


def waves(case, frame, folder):
    """The change between two waves, with the stores of both."""
    sample, text = sample_of(case, frame), case["source_call"]
    named = re.search(r"(?:for|of|~)\s*([a-z_]\w*)", text)
    known = named and named[1] in frame and named[1] != "wave"
    y = frame[named[1]].to_numpy(float) if known and named[1] != "nps" else promoters(frame)
    if inner := re.search(r"~\s*(I\(.*?\))\s*,", text):
        y = words.value(inner[1], frame)
    old, new = sorted(frame["wave"].unique())[:2]
    before, after = (mean(sample, y, domain=(frame["wave"] == w).to_numpy()) for w in (old, new))
    found = change(sample, before, after)
    z = found.estimate[0] / found.se[0]
    normal, apart = (
        contrast(sample, together(before, after), [[-1, 1]], df=np.inf), found.independent[0],
    )  # fmt: skip
    known = covariance(sample, together(before, after).scores)
    return {
        "change": found.estimate[0], "se": found.se[0], "se_if_independent": apart,
        "low": found.low[0], "high": found.high[0], "df": found.df[0], "p": found.p[0],
        "p_t": found.p[0], "p_normal": normal.p[0], "z": z, "t": z, "covariance": known[0, 1],
        "cov": known[0, 1], "correlation": known[0, 1] / np.sqrt(known[0, 0] * known[1, 1]),
        "wave1": before.estimate[0], "wave2": after.estimate[0],
        "se1": before.se[0], "se2": after.se[0], "vcov": known.tolist(),
    }  # fmt: skip


def closed(case, frame, folder):
    """A net promoter score without weights, by its closed form."""
    rows = case["design"].get("note", "")
    named = re.search(r"wave (\d)", rows)
    score = frame.loc[frame["wave"] == int(named[1]), "nps"] if named else frame["nps"]
    score = score.dropna().to_numpy(float)
    n, up, down = score.size, int((score >= 9).sum()), int((score <= 6).sum())
    plain = nps(design(np.ones(n)), score, small=0)
    value, se = POINTS * plain.estimate[0], POINTS * plain.se[0]
    closed_se = se * np.sqrt((n - 1) / n)
    z = 1.959963984540054
    ends = adjusted_wald_nps(up, down, n)
    middle, half = POINTS * (ends.low + ends.high) / 2, POINTS * (ends.high - ends.low) / 2
    return {
        "n": n, "promoters": up, "detractors": down, "nps": value, "se": closed_se,
        "se_n_minus_1": se, "wald_low": value - z * closed_se, "wald_high": value + z * closed_se,
        "adj_nps": middle, "adj_se": half / z, "adj_low": middle - half, "adj_high": middle + half,
    }  # fmt: skip


def index(case, frame, folder):
    """An index of items with weights, on as many points as the call has per point of the scale."""
    weights = case["expected"]["weights"]
    made = index_weights(list(weights.values()))
    items = frame[list(weights)].to_numpy(float)
    factor = float(re.search(r"(\d+)\s*\*\s*sum", case["source_call"])[1])
    score = index_scores(items, made.weight, top=1, points=factor)
    found = mean(sample_of(case, frame), score, domain=where(case, frame))
    got = {"weights": weights, "index": found.estimate[0], "se": found.se[0], "n": found.n[0]}
    return got | {"low": found.low[0], "high": found.high[0], "df": found.df[0]}


def unequal(case, frame, folder):
    """Kish's effective number of rows and design effect of the weights, by wave."""
    number, _ = codes(frame["wave"]) if "wave" in frame else (np.zeros(len(frame), int), None)
    found = mean(sample_of(case, frame), np.ones(len(frame)), domain=number)
    lists = {"n_eff": found.n_eff, "deff_w": found.n / found.n_eff, "n": found.n}
    return {
        key: part if isinstance(case["expected"].get(key), list) else part[0]
        for key, part in lists.items()
    }


RUNS = [  # words of the call, expected keys -> the function; the first that fits
    *WEIGHTED,
    (r"", ("change",), waves),
    (r"", ("promoters",), closed),
    (r"", ("index",), index),
    (r"", ("deff_w",), unequal),
    (r"svycontrast\(", (), pairwise),
    (r"svyby\(", (), by_domain),
    (r"svyciprop\(", (), share),
    (r"svyquantile\(", (), quantiles),
    (r"svyratio\(", (), ratios),
    (r"svymean\(.*svytotal\(", (), lonely),
    (r"svymean\(", (), estimated),
    (r"svytotal\(", (), totals),
    (r"svymean", ("nps",), scores),
]
