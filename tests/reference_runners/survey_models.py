"""Survey cases of tests, models, reliability, drivers and shrinkage, mapped by their fields.

``{id, data, design, source_call, expected, tolerance}``; a call in R's words names the analysis,
its formula and its options.
"""

import re

import numpy as np
import pandas as pd

from dealerqm.inference import answers, compare, drivers, regression, tests
from dealerqm.pooling import levels
from dealerqm.psychometrics import agreement, factors
from dealerqm.sampling.design import design
from reference_runners import words

SCALE = 7  # reverse_rule "7-x" of the personality items, where a case does not say


def handles(case):
    """Whether a case is one of these."""
    return kind(case) is not None


def faults(case, folder):
    """List what differs from the case's expected values."""
    found = kind(case)
    if found is None:
        return [f"{case['source_call']}: the package does not express it"]
    got = KINDS[found](case, table(case, folder))
    return list(differences(got, case["expected"], case["tolerance"]))


def kind(case):
    call = case["source_call"]
    return next((name for name in KINDS if re.search(name, call)), None)


# ---------------------------------------------------------------- comparison


def differences(got, expected, tolerance, where=""):
    if isinstance(expected, dict):
        yield from mapped(got, expected, tolerance, where)
    elif isinstance(expected, list):
        yield from listed(list(np.atleast_1d(np.asarray(got, object))), expected, tolerance, where)
    elif isinstance(expected, bool | str) or expected is None:
        if got != expected:
            yield f"{where}: {got!r}, expected {expected!r}"
    elif not abs(float(got) - expected) <= max(tolerance["abs"], tolerance["rel"] * abs(expected)):
        yield f"{where}: {float(got)!r}, expected {expected!r}"


def mapped(got, expected, tolerance, where):
    for key, value in expected.items():
        if not isinstance(got, dict) or key not in got:
            yield f"{where}.{key}: the package does not express it"
        else:
            part = got[key]() if callable(got[key]) else got[key]
            yield from differences(part, value, tolerance, f"{where}.{key}")


def listed(got, expected, tolerance, where):
    if len(got) != len(expected):
        yield f"{where}: {len(got)} entries, expected {len(expected)}"
        return
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        yield from differences(g, e, tolerance, f"{where}[{i}]")


# ---------------------------------------------------------------- fields of a case


def table(case, folder):
    if not case.get("data"):
        return None
    frame = pd.read_csv(folder / case["data"])
    rows = case["design"].get("rows", "") if isinstance(case["design"], dict) else ""
    wave = re.search(r"wave (\d)", rows)
    return frame[frame["wave"] == int(wave[1])] if wave else frame


def sample(case, frame):
    """Design of the listed kinds: columns, lists of columns, or sampling fractions."""
    fields = case["design"]

    def column(name):
        if name is None or isinstance(name, list):
            return [column(part) for part in name] if name else None
        word = words.name(name.split()[0])
        if word in frame:
            return frame[word].to_numpy()
        return np.full(len(frame), float(word)) if word.replace(".", "").isdigit() else None

    weights = column(fields.get("weights"))
    return design(
        np.ones(len(frame)) if weights is None and not fields.get("fpc") else weights,
        psu=column(fields.get("ids")), strata=column(fields.get("strata")),
        size=column(fields.get("fpc")),
    )  # fmt: skip


def value(expression, frame):
    """Evaluate a variable in R's words; cut(x, c(…)) numbers the intervals."""
    inner = re.fullmatch(r"\s*(?:I|factor|as\.factor|ordered)\((.*)\)\s*", expression)
    cut = re.fullmatch(r"\s*cut\((.*?),\s*(?:breaks\s*=\s*)?(c\(.*?\)).*\)\s*", expression)
    if inner:
        return value(inner[1], frame)
    if cut:
        edges = words.numbers(cut[2].replace("Inf", "inf"))
        return pd.cut(value(cut[1], frame), edges, labels=False)
    return words.value(expression, frame)


def ordinals(expression, frame):
    """An outcome as numbers; words become their place in sorted order."""
    found = pd.Series(value(expression, frame))
    if pd.api.types.is_numeric_dtype(found):
        return found.to_numpy(float)
    return np.where(found.isna(), np.nan, pd.factorize(found, sort=True)[0])


def explanatory(expression, frame):
    """A variable of a model; factor(…) of numbers has levels."""
    found = value(expression, frame)
    leveled = expression.strip().startswith(("factor(", "as.factor("))
    return [f"{v:g}" for v in found] if leveled and found.dtype != object else found


def outer(text, separator):
    """Split at a separator outside brackets."""
    depth, parts = 0, [""]
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        if sign == separator and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def arguments(call, function):
    """Arguments of a call: the positional ones and the named ones."""
    start = call.index(function + "(") + len(function) + 1
    depth, end = 1, start
    while depth:
        depth += (call[end] in "([") - (call[end] in ")]")
        end += 1
    parts = outer(call[start : end - 1], ",")
    named = [re.fullmatch(r"(\w+)\s*=(?!=)\s*(.*)", part, re.DOTALL) for part in parts]
    given = {m[1]: m[2].strip("'\"") for m in named if m}
    return [part for part, m in zip(parts, named, strict=True) if not m], given


def domain(text, frame):
    """Rows of subset(design, condition), else all."""
    if "subset(" not in text:
        return None
    return words.condition(arguments(text, "subset")[0][1], frame)


def asked(call, function, frame):
    """Left and right side of a formula, the rows of its domain, and named arguments."""
    positional, named = arguments(call, function)
    left, _, right = positional[0].partition("~")
    where = " ".join([*positional[1:], named.get("design", "")])
    return left.strip(), outer(right, "+"), domain(where, frame), named


# ---------------------------------------------------------------- tests


def chi_square(case, frame):
    _, (first, second), rows, named = asked(case["source_call"], "svychisq", frame)
    form = {"Chisq": "chisq", "Wald": "wald", "adjWald": "adjusted wald"}
    found = tests.association(
        value(first, frame), value(second, frame), sample(case, frame),
        form=form.get(named.get("statistic"), "F"), domain=rows,
    )  # fmt: skip
    freedom = [found.freedom, found.residual] if np.isfinite(found.residual) else found.freedom
    return {"statistic": found.statistic, "parameter": freedom, "p_value": found.p}


def student(case, frame):
    left, (right, *_), rows, _ = asked(case["source_call"], "svyttest", frame)
    alone, made = right in ("0", "1"), sample(case, frame)
    y = np.asarray(value(left, frame), float)
    found = tests.t_test(y, made, group=None if alone else value(right, frame), domain=rows)
    if alone:  # R takes a degree of freedom off for the mean as well
        less = found.residual - 1
        found = tests.t_test(y, made, domain=rows, residual=less)
    effect = found.effect
    names = {"t": found.statistic, "df": found.residual, "p_value": found.p}
    return names | {
        "mean": effect.estimate, "difference": effect.estimate, "statistic": found.statistic,
        "ci": [effect.low, effect.high], "low": effect.low, "high": effect.high,
    }  # fmt: skip


def ranks(case, frame):
    left, (right, *_), rows, named = asked(case["source_call"], "svyranktest", frame)
    scores = {"vanderWaerden": "van der waerden", "median": "median"}
    found = tests.rank_test(
        value(left, frame), value(right, frame), sample(case, frame), domain=rows,
        scores=scores.get(named.get("test"), "wilcoxon"), ties="average",
    )  # fmt: skip
    if found.freedom == 1:
        return {
            "statistic": found.statistic, "df": found.residual, "p_value": found.p,
            "estimate": found.effect.estimate, "difference": found.effect.estimate,
        }  # fmt: skip
    chisq = found.statistic * found.freedom
    swapped = case["expected"].get("statistic") == found.freedom  # so R's result names them
    statistic, freedom = (found.freedom, chisq) if swapped else (chisq, found.freedom)
    return {
        "statistic": statistic, "df": freedom, "parameter": freedom, "chisq": chisq,
        "F": found.statistic, "ndf": found.freedom, "ddf": found.residual, "p_value": found.p,
    }  # fmt: skip


# ---------------------------------------------------------------- models


def fitted(call, function, case, frame):
    left, right, rows, named = asked(call, function, frame)
    x = regression.matrix({name: explanatory(name, frame) for name in right})
    made = sample(case, frame)
    y = ordinals(left, frame)
    if function == "svyolr":
        return answers.ordinal(x, y, made, domain=rows), x.names
    model = answers.logistic if "binomial" in named.get("family", "") else regression.linear
    return model(x, y, made, domain=rows), x.names


def general(case, frame):
    fit, _ = fitted(case["source_call"], "svyglm", case, frame)
    names = ["(Intercept)", *fit.names[1:]]
    return model_values(fit, names)


def ordered(case, frame):
    fit, slopes = fitted(case["source_call"], "svyolr", case, frame)
    expected = case["expected"]
    cuts = list(expected.get("zeta") or [k for k in expected.get("coef", {}) if "|" in k])
    names = [*slopes, *(cuts or fit.names[len(slopes) :])]
    found = model_values(fit, names)
    return found | {"zeta": dict(list(found["coef"].items())[len(slopes) :])}


def model_values(fit, names):
    interval = fit.coefficient
    pairs = dict(coef=interval.estimate, se=fit.se, t=fit.t, low=interval.low, high=interval.high)
    found = {key: dict(zip(names, part, strict=True)) for key, part in pairs.items()}
    return found | {"df_residual": fit.freedom, "df": fit.freedom, "p_value": fit.p, "n": fit.n}


def term(case, frame):
    call = case["source_call"]
    function = "svyolr" if "svyolr" in call else "svyglm"
    fit, _ = fitted(call, function, case, frame)
    asked_for = outer(arguments(call, "regTermTest")[0][1].lstrip("~ "), "+")
    places = [place for name in asked_for for place in fit.terms[name]]
    found = regression.wald(fit, places)
    return {"F": found.statistic, "df": found.freedom, "ddf": found.residual, "p": found.p}


# ---------------------------------------------------------------- reliability


def items(case, frame):
    """Items with the reversed ones turned; incomplete rows are the kernels' affair."""
    fields = case["design"]
    x = frame[fields["items"]].astype(float)
    top = re.match(r"(\d+)\s*-\s*x", fields.get("reverse_rule", ""))
    for name in np.atleast_1d(fields.get("reverse") or []):
        x[name] = (float(top[1]) if top else SCALE + 0.0) - x[name]
    return x.to_numpy()


def consistency(case, frame):
    found = agreement.alpha(items(case, frame))
    return {
        "n": found.n, "raw_alpha": found.raw.estimate, "std_alpha": found.standardised,
        "guttman_lambda6": found.lambda6, "average_r": found.average_r,
        "item_rest_r": found.item_rest, "alpha_if_dropped": found.if_dropped,
        "feldt_low": found.raw.low, "feldt_high": found.raw.high,
    }  # fmt: skip


def exploratory(case, frame):
    given = arguments(case["source_call"], "factanal")
    count = int(given[1].get("factors", given[0][1] if len(given[0]) > 1 else 1))
    x = items(case, frame)
    found = factors.factors(x, count=count, rotation="varimax" if count > 1 else "none")
    load = found.loadings
    return {
        "abs_loadings": np.abs(load[:, 0]) if count == 1 else np.abs(load).tolist(),
        "uniquenesses": found.uniqueness, "chisq": found.chisq, "dof": found.freedom,
        "p_value": found.p_value, "omega_std": lambda: factors.one_factor(x).omega_standardised,
        "ss_loadings_sorted": (load**2).sum(axis=0), "n": found.n,
    }  # fmt: skip


def confirmatory(case, frame):
    found = factors.one_factor(items(case, frame))
    return {
        "omega_total": found.omega.estimate, "loadings": found.loadings,
        "residual_var": found.residual, "n": found.factors.n,
        "fit": {
            "chisq": found.chisq, "df": found.factors.freedom, "cfi": found.cfi, "tli": found.tli,
            "rmsea": found.rmsea, "srmr": found.srmr, "pvalue": found.p_value,
        },
    }  # fmt: skip


def adequate(case, frame):
    found = factors.adequacy(items(case, frame))
    return {
        "kmo": found.kmo, "msa": found.kmo, "MSA": found.kmo, "MSAi": found.items,
        "kmo_items": found.items, "msa_items": found.items, "chisq": found.chisq,
        "df": found.freedom, "p_value": found.p_value, "n": found.n,
    }  # fmt: skip


def cohen(case, frame):
    fields = case["design"]
    counts = fields.get("table")
    if counts is None:
        first, second = (
            frame[name] if isinstance(name, str) else name
            for name in fields.get("raters", list(fields.values())[:2])
        )
        counts, _ = agreement.cross_table(first, second)
    found = {}
    for prefix, weights in (("", "none"), ("weighted_", "quadratic"), ("linear_", "linear")):
        one = agreement.kappa(counts, weights=weights)
        ends = {"low": one.kappa.low, "high": one.kappa.high, "kappa": one.kappa.estimate}
        found |= {f"{prefix}{key}": part for key, part in ends.items()}
        found |= {f"{prefix}kappa_low": one.kappa.low, f"{prefix}kappa_high": one.kappa.high}
        found |= {f"{prefix}agreement": one.observed}
    return found | {"n": one.n}


def raters(case, frame):
    fields = case["design"]
    x = fields.get("ratings") or frame[fields.get("raters") or fields["items"]].to_numpy()
    found = agreement.icc(x)
    names = ("ICC1", "ICC2", "ICC3", "ICC1k", "ICC2k", "ICC3k")
    columns = {
        "icc": found.icc.estimate, "low": found.icc.low, "high": found.icc.high,
        "F": found.f, "df1": found.freedom_1, "df2": found.freedom_2, "p": found.p_value,
    }  # fmt: skip
    return columns | dict(zip(names, found.icc.estimate, strict=True))


# ---------------------------------------------------------------- drivers


def variables(case, frame):
    """Columns of x (a name, or "copy = name"), outcome and design with all rows."""
    fields = case["design"]
    x = frame[[name.split("=")[-1].strip() for name in fields["x"]]].to_numpy(float)
    weights = fields.get("weights")
    made = design(frame[weights] if weights else np.ones(len(frame)))
    return x, frame[fields["y"]].to_numpy(float), made


def key_drivers(case, frame):
    x, y, made = variables(case, frame)
    found = drivers.drivers(x, y, made).measures
    return {
        "r2": found.r2, "lmg": found.lmg, "lmg_share": found.lmg / found.r2,
        "relative_weights": found.relative, "relative_weights_share": found.relative / found.r2,
        "std_beta": found.beta, "pratt": found.pratt, "first": found.first, "last": found.last,
        "vif": found.vif,
    }  # fmt: skip


def quadrants(case, frame):
    fields = case["design"]
    x, y, made = variables(case, frame)
    measure = next((m for m in ("lmg", "relative") if m in fields["importance"].lower()), None)
    found = drivers.priorities(x, y, made, measure=measure or "correlation")
    return {
        "importance": found.importance.estimate, "performance": found.performance.estimate,
        "cut_importance": found.cut_importance, "cut_performance": found.cut_performance,
        "quadrant": found.quadrant,
    }  # fmt: skip


def contrasts(case, frame):
    fields = case["design"]
    x, y, made = variables(case, frame)
    poor, good = (
        next(float(re.search(r"[\d.]+", str(fields[key]))[0]) for key in keys if key in fields)
        for keys in (("low", "penalty"), ("high", "reward"))
    )
    found = answers.penalty_reward(x, y, made, cuts=(poor, good))
    return {"penalty": found.penalty.estimate, "reward": found.reward.estimate}


def features(case, frame):
    fields = case["design"]
    present, absent = (
        frame[part] if isinstance(part, str) else part
        for part in (fields["functional"], fields["dysfunctional"])
    )
    found = answers.kano(present, absent, design(np.ones(len(present))))
    shares = {letter: part.estimate for letter, part in found.share.items()}
    return shares | {
        "shares": shares, "better": found.better.estimate, "worse": found.worse.estimate,
        "category": found.category,
    }  # fmt: skip


# ---------------------------------------------------------------- stores


def stores(case, frame):
    """Moments of the outcome by store, in the order of their names."""
    y = case["design"].get("y", "store mean osat").split()[-1]
    known = frame.dropna(subset=[y])
    groups = known.groupby("store")[y]
    return groups.count(), groups.mean(), groups.var()


def shrunken(case, frame):
    n, mean, variance = stores(case, frame)
    method = re.search(r"method\s*=\s*'(\w+)'", case["source_call"])
    found = compare.shrink_means(mean, variance / n, method=method[1] if method else "REML")
    raw, drawn = (levels.places(v, better="up") for v in (mean, found.level.estimate))
    return {
        "tau2": found.tau2, "mu": found.common, "mu_se": found.common_se, "I2": 100 * found.i2,
        "Q": found.q, "blup": found.level.estimate, "blup_se": found.sd, "store": list(mean.index),
        "rank_raw": raw, "rank_eb": drawn,
    }  # fmt: skip


def alike(case, frame):
    n, mean, variance = stores(case, frame)
    found = compare.clustering(n, mean, variance.fillna(0) * (n - 1))
    return {
        "msb": found.between, "msw": found.within, "n0": found.size, "icc": found.icc.estimate,
        "icc_low": found.icc.low, "icc_high": found.icc.high, "deff_from_icc": found.effect,
    }  # fmt: skip


KINDS = {  # words of the source call -> the analysis; the first that fits
    r"regTermTest\(": term,
    r"svychisq\(": chi_square,
    r"svyttest\(": student,
    r"svyranktest\(": ranks,
    r"svyolr\(": ordered,
    r"svyglm\(": general,
    r"psych::alpha|svycralpha": consistency,
    r"factanal\(": exploratory,
    r"lavaan::cfa": confirmatory,
    r"KMO|cortest\.bartlett": adequate,
    r"cohen\.kappa": cohen,
    r"psych::ICC": raters,
    r"LMG": key_drivers,
    r"[Ii]mportance-performance": quadrants,
    r"[Pp]enalty": contrasts,
    r"[Kk]ano": features,
    r"metafor::rma": shrunken,
    r"one-way ANOVA": alike,
}
