"""Survey cases of weights, replicates, shares and sample sizes, read by their fields."""

import re

import numpy as np
import pandas as pd

from dealerqm.errors import MethodError
from dealerqm.sampling.design import calibrated
from dealerqm.sampling.estimate import mean, ratio, total
from dealerqm.sampling.replicate import (
    Statistic,
    bootstrap,
    half_samples,
    jackknife,
    replicate,
    supplied,
)
from dealerqm.stats import intervals, shares
from dealerqm.weights import planning
from dealerqm.weights.calibration import calibrate, respond, response_propensity
from dealerqm.weights.raking import poststratify, rake
from dealerqm.weights.weighting import trim
from reference_runners import survey_design, words
from reference_runners.survey_models import arguments, outer

SEED, DRAWS = 20, 4000
POPULATION = {  # of the schools from which the public samples were drawn
    "stype": {"E": 4421.0, "H": 755.0, "M": 1018.0}, "sch_wide": {"No": 1072.0, "Yes": 5122.0},
}  # fmt: skip
MEAN, TOTAL, RATIO = "api00", "enroll", ("api_stu", "enroll")  # what a case of them means unnamed


# ---------------------------------------------------------------- weights


def weighted(case, frame, folder):
    """Post-strata, margins, calibration or trimming; the weights and estimates with them."""
    sample = survey_design.sample_of(case, frame)
    text, expected = case["source_call"], case["expected"]
    try:
        made = weighting(case, frame, sample)
    except MethodError as error:
        if "required" not in expected:
            raise
        return infeasible(case, frame, sample, str(error))
    on = made.on
    if re.search(r"\brake\(", text):  # R takes the residuals of rake() without weights
        on = on._replace(start=np.ones(on.start.size))
    if "trimWeights" in text:
        return summary(made)
    after = calibrated(sample, made.weights, on=on)
    return summary(made) | estimates(after, frame, expected) | given(case)


def given(case):
    """Totals that a case lists among its expected values."""
    return {
        key: case["expected"][key] for key in ("margins", "population") if key in case["expected"]
    }


def summary(made):
    w = made.weights[made.weights > 0]
    neff = w.sum() ** 2 / (w**2).sum()
    return {
        "weights": {
            "n": w.size, "sum": w.sum(), "min": w.min(), "max": w.max(), "first10": w[:10],
            "kish_neff": neff, "kish_deff": made.deff,
        },
        "iterations": made.iterations, "outcome": made.verdict,
    }  # fmt: skip


def estimates(sample, frame, expected):
    """Means, totals and shares by the names in the expected keys; errors stand beside them."""
    got = {}
    for key in expected:
        kind, _, name = key.partition("_")
        if kind not in ("mean", "total", "prop") or name == "se":
            continue
        parts = survey_design.columns(name, frame)
        found = [(total if kind == "total" else mean)(sample, y) for y in parts.values()]
        names = list(parts)
        got[key] = survey_design.shaped(expected[key], names, [e.estimate[0] for e in found])
        got[f"{kind}_se"] = survey_design.shaped(
            expected.get(f"{kind}_se"), names, [e.se[0] for e in found]
        )
    return got


def weighting(case, frame, sample):
    text = case["source_call"]
    if "trimWeights(" in text:
        _, named = arguments(text, "trimWeights")
        low, high = float(named.get("lower", "-inf")), float(named["upper"])
        mode = "repeat" if named.get("strict") == "TRUE" else "once"
        start = rake(sample.weights, frame, margins_of(case, frame))
        return trim(start, low, high, mode=mode)
    if "calibrate(" in text:
        return calibration(case, frame, sample)
    if "postStratify(" in text:
        name = words.name(re.search(r"~\s*([\w.]+)", text)[1])
        return poststratify(sample.weights, frame[name], words.totals(text) or POPULATION[name])
    return rake(sample.weights, frame, margins_of(case, frame))


def margins_of(case, frame):
    """Totals of the margins: of the call, of the expected values, else of the population."""
    text, known = case["source_call"], case["expected"].get("margins")
    if known:
        return {words.name(name): levels for name, levels in known.items()}
    listed = re.search(r"list\((\s*~[^()]*)\)", text)
    named = re.findall(r"~\s*([\w.]+)", listed[1]) if listed else []
    names = [words.name(name) for name in named] or list(POPULATION)
    plain = re.sub(r"control\s*=\s*list\([^)]*\)", "", text)
    lists = re.search(r"list\((?=[^~()]*=)([^()]*)\)", plain)
    written = [words.totals(part) for part in outer(lists[1], ",")] if lists else []
    table = dict(zip(names, written, strict=True)) if written else {n: POPULATION[n] for n in names}
    return broken(text, table)


def broken(text, table):
    """Totals with the fault that the call describes in words."""
    level = re.search(r"target for ([\w.]+)\s*==\s*'(\w+)'", text)
    if level and "no target" in text:
        name = words.name(level[1])
        return {name: {k: v for k, v in POPULATION[name].items() if k != level[2]}}
    if level:  # of a level that nobody has
        name = words.name(level[1])
        return {name: POPULATION[name] | {level[2]: 10.0}}
    if re.search(r"disagree|different totals|unequal totals|do not agree", text):
        last = list(table)[-1]
        return table | {last: {k: 1.01 * v for k, v in table[last].items()}}
    return table


def calibration(case, frame, sample):
    """Totals by R's names of the columns of a model: (Intercept), levels but the first, numbers."""
    _, named = arguments(case["source_call"], "calibrate")
    totals, x = case["expected"]["population"], {}
    for name in totals:
        plain = words.name(name)
        base = next((c for c in frame if plain.startswith(c) and plain != c), None)
        if name == "(Intercept)":
            x[name] = np.ones(len(frame))
        elif plain in frame:
            x[name] = frame[plain]
        else:
            x[name] = frame[base].astype(str) == plain.removeprefix(base)
    bounds = re.search(r"bounds\s*=\s*c\(([^)]*)\)", case["source_call"])
    edges = tuple(float(v.replace("Inf", "inf")) for v in bounds[1].split(",")) if bounds else None
    return calibrate(
        sample.weights, x, totals, distance=named.get("calfun", "linear"),
        **({"bounds": edges} if edges else {}),
    )  # fmt: skip


def infeasible(case, frame, sample, message):
    """Totals that cannot be met: refused by name; what is reached when the gap is accepted."""
    cycles = re.search(r"maxit\s*=\s*(\d+)", case["source_call"])
    found = rake(
        sample.weights, frame, margins_of(case, frame), unmet="accept",
        cycles=int(cycles[1]) if cycles else 200,
    )  # fmt: skip
    gaps, worst = found.gaps, int(np.argmax(np.abs(found.gaps.gap)))
    named = f"{gaps.margin[worst]}={gaps.level[worst]}" in message and "Merge" in message
    largest = abs(float(gaps.gap[worst]))
    told = f"{largest:.1%}" in message and found.verdict == "unmet" and named
    reached = {
        f"R_achieved_{name}": {
            level: float(total)
            for margin, level, total in zip(gaps.margin, gaps.level, gaps.achieved, strict=True)
            if margin == name
        }
        for name in dict.fromkeys(gaps.margin)
    }
    required = case["expected"]["required"] if told else f"the message says only: {message}"
    return {"required": required, "max_abs_rel_gap": largest, **reached}


# ---------------------------------------------------------------- replicates


def replicated(case, frame, folder):
    """Jackknife, half samples, bootstrap, supplied weights, raked anew where the call rakes."""
    text, expected = case["source_call"], case["expected"]
    sample = survey_design.sample_of(case, frame)
    made = replicates_of(case, frame, sample, folder)
    again = (
        rake(sample.weights, frame, margins_of(case, frame))
        if re.search(r"\brake\(", text)
        else None
    )
    rows = survey_design.where(case, frame)
    got = {
        "replicates": made.scale.size, "brr_replicates": made.scale.size, "df": made.df,
        "scale": made.scale[0] if np.ptp(made.scale) == 0 else 1.0, "rscales": made.scale,
    }  # fmt: skip
    for kind, statistic in statistics(case, frame, rows).items():
        found = replicate(sample, made, statistic, reweight=again)
        got |= {kind: found.estimate[0], f"{kind}_se": found.se[0], "se": found.se[0]}
        got |= {"low": found.low[0], "high": found.high[0], "estimate": found.estimate[0]}
        got |= {f"{kind}_low": found.low[0], f"{kind}_high": found.high[0]}
        for key in [k for k in expected if k.startswith(f"{kind}_") and k not in got]:
            got[key] = found.estimate[0]  # mean_api00 and the like
    return got | special(case, frame, sample, made, rows)


def replicates_of(case, frame, sample, folder):
    text = case["source_call"]
    _, named = (
        arguments(text, re.search(r"(as\.svrepdesign|svrepdesign)\(", text)[1])
        if ("svrepdesign(" in text)
        else ([], {})
    )
    kind = named.get("type") or next(
        (word for word in ("JK1", "JKn", "BRR", "Fay", "bootstrap") if word in text), "JKn"
    )
    if re.search(r"(?<!as\.)svrepdesign\(", text):
        return taken(case, frame, folder, kind, named)
    if "bootstrap" in kind or "bootstrap" in text:
        draws = re.search(r"(\d+)\s+(?:Rao|\w*\s*replicates)", text)
        return bootstrap(sample, replicates=int(draws[1]) if draws else DRAWS, seed=SEED)
    if kind == "Fay":
        return half_samples(sample, fay=float(re.search(r"rho\s*=\s*([\d.]+)", text)[1]))
    return half_samples(sample) if kind == "BRR" else jackknife(sample)


def taken(case, frame, folder, kind, named):
    """Replicate weights of a file beside the data."""
    file = re.search(r"(\w+weights\w*)(?:\.csv)?", named.get("repweights", case["source_call"]))[1]
    each = pd.read_csv(folder / f"{file}.csv").to_numpy(float)
    weights = frame[words.name(case["design"]["weights"])].to_numpy(float)
    if named.get("combined.weights") == "FALSE" or "combined.weights=FALSE" in case["source_call"]:
        each = each * weights[:, None]
    count = each.shape[1]
    usual = {"bootstrap": 1 / (count - 1), "BRR": 1 / count, "JK1": (count - 1) / count}
    scale = float(pd.eval(named["scale"])) if "scale" in named else usual.get(kind, 1.0)
    centre = "estimate" if named.get("mse") == "TRUE" else "replicates"
    return supplied(weights, each, scale=scale, centre=centre)


def statistics(case, frame, rows):
    """What a case estimates: the formulas of its call, else the usual ones of its keys."""
    text, keys, found = case["source_call"], set(case["expected"]), {}
    if "nps" in keys:
        found["nps"] = Statistic.means(survey_design.promoters(frame), domain=rows)
    for function, kind, usual in (
        ("svymean", "mean", f"~{MEAN}"), ("svytotal", "total", f"~{TOTAL}"),
        ("svyratio", "ratio", f"~{RATIO[0]}, ~{RATIO[1]}"),
    ):  # fmt: skip
        if kind not in keys and not any(k.startswith((f"{kind}_", f"{kind}s_")) for k in keys):
            continue
        named = re.search(function + r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text)
        terms = re.findall(r"~\s*([^,]+)", named[1] if named and "~" in named[1] else usual)
        y = [np.asarray(words.value(term, frame), float) for term in terms]
        y = [np.where(rows, part, np.nan) for part in y]
        bottoms = {"mean": (), "total": None, "ratio": tuple(y[1:])}
        found[kind] = Statistic((y[0],), bottoms[kind])
    return found


def special(case, frame, sample, made, rows):
    """Errors that a case names by their method."""
    keys, found = case["expected"], {}
    if "se_brr" in keys or any(k.startswith("se_fay") for k in keys):
        statistic = next(iter(statistics(case, frame, rows).values()))
        taylor = ratio(sample, statistic.top[0], statistic.bottom[0])
        found["se_taylor"] = taylor.se[0]
        found["se_brr"] = replicate(sample, half_samples(sample), statistic).se[0]
        for key in (k for k in keys if k.startswith("se_fay")):
            share = float(key.removeprefix("se_fay")) / 10
            found[key] = replicate(sample, half_samples(sample, fay=share), statistic).se[0]
    elif "se_boot_reference" in keys:
        y = words.value(MEAN, frame)
        found["se_taylor"] = mean(sample, y, domain=rows).se[0]
        found["se_boot_reference"] = replicate(sample, made, Statistic.means(y)).se[0]
    return found


# ---------------------------------------------------------------- shares, sample sizes, response


def plain_share(case, frame, folder):
    x, n = (case["design"][key] for key in ("x", "n"))
    level = {"confidence": case["design"].get("level", 0.95)}
    ends = {
        "wilson": intervals.wilson, "wilson_cc": shares.wilson_corrected,
        "clopper_pearson": shares.clopper_pearson, "agresti_coull": shares.agresti_coull,
        "jeffreys": shares.jeffreys,
    }  # fmt: skip
    got = {name: [float(v) for v in function(x, n, **level)[1:]] for name, function in ends.items()}
    return got | {"p": x / n, "agresti_coull_clipped": np.clip(got["agresti_coull"], 0, 1)}


def two_shares(case, frame, folder):
    x1, n1, x2, n2 = (case["design"][key] for key in ("x1", "n1", "x2", "n2"))
    apart = intervals.difference(intervals.wilson(x1, n1), intervals.wilson(x2, n2))
    test = planning.two_shares([x1, x2], [n1, n2])
    return {
        "diff": float(apart.estimate), "low": float(apart.low), "high": float(apart.high),
        "chisq": test.chi2, "p": test.p, "p_cc": test.p_corrected, "fisher_p": test.p_exact,
    }  # fmt: skip


def sample_size(case, frame, folder):
    given = case["design"]
    variance = given["p"] * (1 - given["p"]) if "p" in given else given["sd"] ** 2
    found = planning.answers_for_interval(
        variance, given["margin"], population=given.get("N") or np.inf,
        deff=given.get("deff", 1), response_rate=given.get("response_rate", 1),
        confidence=given.get("level", 0.95),
    )  # fmt: skip
    return {"n_exact": float(found.exact), "n": float(found.n), "invites": float(found.invitations)}


def power(case, frame, folder):
    given = case["design"]
    chances = {key: given[key] for key in ("power", "alpha") if key in given}
    return {"n_per_group": planning.answers_for_change(given["p1"], given["p2"], **chances)}


def allocation(case, frame, folder):
    found = planning.allocate(*(case["design"][key] for key in "NSn"))
    return {
        "neyman": found.neyman, "proportional": found.proportional,
        "var_neyman": found.variance_neyman, "var_prop": found.variance_proportional,
    }  # fmt: skip


def nonresponse(case, frame, folder):
    """Inverse propensities and classes for those who did not answer."""
    given = case["design"]
    left, right = re.match(r"(\w+)\s*~\s*([\w+.\s]+?)\s*(?:\(|$)", given["propensity"]).groups()
    names = [words.name(name) for name in outer(right, "+")]
    weights, answered = frame[given["weights"]].to_numpy(float), frame[left].to_numpy(bool)
    fit = response_propensity(frame[names], answered)
    classes = respond(weights, answered, frame[words.name(given["cells"])])
    inverse = np.where(answered, weights / fit.chance, 0.0)
    got = {
        "coef": dict(zip(["(Intercept)", *names], fit.coefficient, strict=True)),
        "response_rate_unweighted": answered.mean(),
        "response_rate_weighted": weights[answered].sum() / weights.sum(),
        "ipw_sum": inverse.sum(), "class_sum": classes.weights.sum(),
    }  # fmt: skip
    outcome = next(
        re.sub("^ipw_mean_", "", k) for k in case["expected"] if k.startswith("ipw_mean_")
    )
    y = frame[outcome].to_numpy(float)
    for name, w in {
        f"ipw_mean_{outcome}": inverse, f"class_mean_{outcome}": classes.weights,
        "naive_mean": weights * answered, "full_mean": weights,
    }.items():  # fmt: skip
        got[name] = (w * y).sum() / w.sum()
    return got


WEIGHTED = [  # words of the call, expected keys -> the function
    (r"svrepdesign|bootstrap|JK1|JKn|BRR", (), replicated),
    (r"postStratify\(|calibrate\(|trimWeights\(|\brake\b", (), weighted),
]
PLAIN = {  # fields of the design -> the function
    ("x", "n"): plain_share, ("x1", "n1", "x2", "n2"): two_shares, ("p", "margin"): sample_size,
    ("sd", "margin"): sample_size, ("p1", "p2"): power, ("N", "S", "n"): allocation,
    ("weights", "propensity"): nonresponse,
}  # fmt: skip
