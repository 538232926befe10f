"""Cases of control charts: ``{cases: [{name, chart, input, params, expected, rtol}]}``."""

import itertools
import json
import re

import numpy as np
from scipy import stats

from dealerqm import spc
from dealerqm.limits import attributes as limits
from dealerqm.limits import base
from dealerqm.limits.constants import NODES
from dealerqm.rules import arl
from dealerqm.rules.design import Zone, zone_arl
from reference_runners import compare

R_NODES = 12  # the resolution of R's ptukey, by which R found the constants of a case
SPC_NODES = 20  # the default resolution of R's spc for MEWMA charts
SHIFTS = (0.0, 0.5, 1.0, 2.0)


def load(folder):
    for path in sorted(folder.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            yield f"{path.stem}:{case['name']}", case


def faults(case, folder):
    runner = CHARTS.get(case["chart"].removesuffix("_exact"))
    if runner is None:
        return [f"chart {case['chart']}: the package does not express it"]
    got = runner(case, case["input"], case.get("params") or {})
    found = compare.faults(got, case["expected"], case["rtol"])
    for other in case.get("also", []):
        found += compare.faults(got, other["values"], other["rtol"], other["source"])
    return found


# ---------------------------------------------------------------- fields of a case


def numbers(values):
    return np.array([np.nan if value is None else value for value in values], float)


def column(matrix):
    return np.asarray(matrix)[:, 0]


def indices(mask):
    return np.flatnonzero(mask).tolist()


def beyond(chart):
    above, below = chart.beyond
    return indices(column(above | below))


def options(case, given, params, size):
    """What all charts share: baseline, excluded points, width and kind of limits."""
    used = np.ones(size, bool)
    first = params.get("baseline", given.get("baseline"))
    if isinstance(first, int):
        used[first:] = False
    elif first is not None:
        used[:] = False
        used[first] = True
    used[given.get("exclude") or []] = False
    chosen = {"baseline": used}
    if "alpha" in params:
        chosen["sigma"] = float(stats.norm.isf(params["alpha"] / 2))
    elif "k" in params or "L" in params:
        chosen["sigma"] = float(params.get("k", params.get("L")))
    if case["chart"].endswith("_exact") or params.get("limits") == "probability":
        chosen["limits"] = "probability"
    return chosen


def lines(chart):
    return {
        "center": column(chart.centre), "lcl": column(chart.lower), "ucl": column(chart.upper),
        "sigma": chart.sigma_z[0], "beyond_3sigma": lambda: beyond(chart),
    }  # fmt: skip


def phases(size, starts):
    edges = [*sorted({0, *starts}), size]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


# ---------------------------------------------------------------- charts of values


def estimator(params, default):
    """The package's name of a σ estimator; R's names are UWAVE, MVLUE and RMSDF."""
    name = params.get("sigma_method", default).lower().replace("-", "_")
    letter = "r" if "_r" in name or default.startswith("mean_r") else "s"
    for part, known in {
        "mvlue": f"mvlue_{letter}", "rmsdf": "pooled_sd_over_c4", "pooled": "pooled_sd_over_c4",
        "uwave": {"r": "mean_r_over_d2", "s": "mean_s_over_c4"}[letter],
        "median": "median_mr", "mean_mr": "average_mr",
    }.items():  # fmt: skip
        if part in name:
            return known
    return name


def xmr(case, given, params):
    x = numbers(given["x"])
    chosen = options(case, given, params, x.size)
    missing = {params.get("missing"), params.get("excluded")}
    chosen["missing"] = "bridge" if "bridge" in missing else "gap"
    method = estimator(params, "average_mr")
    by_r = "qtukey" in case["source"]
    found = []
    for part in phases(x.size, params.get("phase_starts", [])):
        here = chosen | {"baseline": chosen["baseline"][part]}
        screen = "once" if params.get("screen") else "none"
        name = method + "_r" * (by_r and method == "median_mr")
        found.append((
            spc.xmr(x[part], estimator=name, screen=screen, **here),
            spc.mr_chart(x[part], **here),
        ))  # fmt: skip
    got = [_xmr_lines(chart, ranges) for chart, ranges in found]
    got[0]["d4_const"] = limits.D4_R if by_r else limits.D4
    if len(got) == 1:
        return got[0]
    joined = {key: [part[key][0] for part in got] for key in ("center", "lcl", "ucl")}
    return joined | {"phases": got, "sigma": [part["sigma"] for part in got]}


def _xmr_lines(chart, ranges):
    return lines(chart) | {
        "median_mr": base.median(ranges.value)[0],
        "mr_center": column(ranges.centre), "mr_lcl": column(ranges.lower),
        "mr_ucl": column(ranges.upper), "mr_beyond": beyond(ranges),
    }  # fmt: skip


def residual_xmr(case, given, params):
    chart = spc.residual_chart(numbers(given["x"]))
    extra = chart.extra
    return lines(chart) | {
        "phi": extra["phi"][0], "mean": extra["mean"][0], "innov_sd": extra["sd"][0],
        "n_beyond_residual": len(beyond(chart)),
    }  # fmt: skip


def subgroup_chart(case, given, params):
    first, new = given["subgroups"], given.get("new_subgroups", [])
    groups = spc.subgroups([numbers(group) for group in first + new])
    chosen = options(case, given, params, len(first + new))
    chosen["baseline"][len(first) :] = False
    default = "mean_r_over_d2" if case["chart"] == "xbar_r" else "mean_s_over_c4"
    by_r = {"nodes": R_NODES if case["source"].startswith("R ") else NODES}
    method = estimator(params, default)
    means = spc.xbar(groups, estimator=method, **chosen, **by_r)
    spread = {"s": spc.s_chart(groups, estimator=method, **chosen)}
    spread["r"] = spc.r_chart(groups, estimator=method, **chosen, **by_r)
    got = lines(means)
    for name, chart in spread.items():
        found = lines(chart)
        got |= {f"{name}_{key}": found[key] for key in ("center", "lcl", "ucl")}
        got[f"{name}_beyond"] = found["beyond_3sigma"]
    got["new_beyond"] = [place - len(first) for place in beyond(means) if place >= len(first)]
    return got


def i_prime(case, given, params):
    x, n = numbers(given["x"]), numbers(given["n"])
    return lines(spc.i_prime(x, n, **options(case, given, params, x.size)))


def rare(case, given, params):
    x = numbers(given["x"])
    chosen = options(case, given, params, x.size)
    if case["chart"].startswith("g"):
        chart, middle = (spc.g_chart(x, centre=c, **chosen) for c in ("mean", "median"))
        both = {"center_mean": column(chart.centre), "center_median": column(middle.centre)}
        return lines(chart) | both | {"sigma": chart.sd[0, 0]}
    power = params.get("power", 1 / 3.6)
    chart = spc.t_chart(x, power=power, **chosen)
    near = lines(spc.xmr(x**power, **{k: v for k, v in chosen.items() if k != "limits"}))
    return lines(chart) | {f"transformed_{key}": near[key] for key in ("center", "lcl", "ucl")}


# ---------------------------------------------------------------- charts of counts


def counts(case, given, params):
    name = case["chart"].removesuffix("_exact")
    k = numbers(given["d"])
    n = () if name == "c" else (numbers(given["n"]),)
    chosen = options(case, given, params, k.size)
    chart = spc.CHARTS[name](k, *n, **chosen)
    missing = np.isnan(column(chart.value))
    got = lines(chart) | {"sigma_z": chart.sigma_z[0], "undefined": indices(missing)}
    got |= {"lcl_ok": got["lcl"][~missing], "ucl_ok": got["ucl"][~missing]}
    if name.endswith("_prime"):
        plain = spc.CHARTS[name.removesuffix("_prime")](k, *n, **chosen)
        got["n_beyond_unadjusted"] = len(beyond(plain))
    return got


def funnels(case, given, params):
    ratio = case["chart"] == "funnel_oe"
    chart = spc.funnel_ratio if ratio else spc.funnel_share
    pair = ("observed", "expected") if ratio else ("d", "n")
    data = [numbers(given[name]) for name in pair]
    chosen = {"winsor": params.get("winsor", 0.1)}

    def at(level, adjust="none"):
        return chart(*data, level=level, adjust=adjust, **chosen)

    plain, wide = at(0.998), at(0.998, "tau2")
    got = {"target": column(plain.centre), "tau2": plain.extra["tau2"][0]}
    for key in case["expected"]:
        drawn = {"naive": plain, "overdispersed": wide}.get(key.rsplit("_", 1)[-1])
        if level := re.fullmatch(r"(lo|hi)(\d+)", key):
            found = at(float(f"0.{level[2]}"))
            got[key] = column(found.lower if level[1] == "lo" else found.upper)
        elif key.startswith("phi_winsor"):
            got[key] = plain.extra["phi"][0]
        elif drawn and key.startswith("z_"):
            got[key] = column(drawn.z)
        elif drawn and (level := re.match(r"n_beyond(\d+)_", key)):
            adjust = "none" if drawn is plain else "tau2"
            got[key] = len(beyond(at(float(f"0.{level[1]}"), adjust)))
        elif drawn and (level := re.match(r"bh_fdr(\d+)_", key)):
            got[key] = indices(column(drawn.extra["q"]) <= float(f"0.{level[1]}"))
    return got


# ---------------------------------------------------------------- memory, several variables


def shewhart(given, params):
    """The chart that EWMA and CUSUM smooth: of known parameters, or of its baseline."""
    x = numbers(given["x"])
    chart = spc.xmr(x, baseline=np.arange(x.size) < params.get("baseline", x.size))
    target, sigma = params.get("target", chart.centre[0, 0]), params.get("sigma", chart.sigma_z[0])
    return spc.given(x, centre=target, sd=sigma), {"target": target, "sigma": sigma}


def ewma(case, given, params):
    chart, known = shewhart(given, params)
    exact = params.get("limits", "time_varying") in ("time_varying", "exact")
    found = spc.ewma(
        chart, weight=params["lambda"], width=params["L"],
        limits="exact" if exact else "asymptotic",
    )  # fmt: skip
    return lines(found) | known | {"z": column(found.value), "signals": beyond(found)}


def cusum(case, given, params):
    chart, known = shewhart(given, params)
    start = params.get("head_start", 0.0)
    found = spc.cusum(chart, k=params["k"], h=params["h"], start=start)
    above, below = (column(found.extra[side]) for side in ("above", "below"))
    return known | {
        "c_plus": above, "c_minus": below,
        "signals_plus": indices(above > params["h"]),
        "signals_minus": indices(below > params["h"]),
    }  # fmt: skip


def t2(case, given, params):
    x = np.array([numbers(row) for row in given["X"]])
    chart = spc.t2_chart(x)
    value, (m, p) = column(chart.value), x.shape
    got = {"t2": value, "mean": chart.extra["mean"][0], "cov": chart.extra["cov"][0]}
    got |= {"argmax": int(np.nanargmax(value))}
    for key in case["expected"]:
        if found := re.fullmatch(r"ucl_phase(\d)_(?:beta|f)_(\d+)", key):
            alpha = float(f"0.{found[2]}")
            got[key] = spc.t2_limit(m, p, alpha=alpha, phase=int(found[1]))
    level = params.get("alpha", 0.0027)  # qcc takes (1 - alpha)^p for the confidence of a point
    got["ucl_qcc"] = spc.t2_limit(m, p, alpha=1 - (1 - level) ** p, phase=1)
    return got


def capability(case, given, params):
    process = spc.process_spread(
        spc.subgroups([numbers(group) for group in given["subgroups"]]),
        estimator=estimator(params, "mean_s_over_c4"),
    )
    names = {"lower": "lsl", "upper": "usl", "target": "target"}
    known = {key: given[name] for key, name in names.items() if given.get(name) is not None}
    way = "qcc" if "qcc" in case["source"] else "boyles"
    found = spc.capability(process, cpm_freedom=way, **known)
    got = {name.capitalize(): value.estimate[0] for name, value in found._asdict().items()}
    got |= {"sigma_within": process.within[0], "sigma_overall": process.overall[0]}
    for key in case["expected"]:
        if level := re.fullmatch(r"ci(\d+)", key):
            confidence = float(f"0.{level[1]}")
            ends = spc.capability(process, cpm_freedom=way, confidence=confidence, **known)
            got[key] = {
                name.capitalize(): [value.low[0], value.high[0]]
                for name, value in ends._asdict().items()
            }
    return got


# ---------------------------------------------------------------- rules and runs


def rules(case, given, params):
    z = numbers(given["z"])
    chart = spc.given(z, centre=params.get("center", 0), sd=params.get("sigma", 1))
    return {
        "nelson": _fired(chart, "nelson_", "r"),
        "nelson_variants": _fired(chart, "nelson_", "r"),
        "western_electric": _fired(chart, "western_electric_", "w"),
        "mdc": _fired(chart, "mdc_", ""),
        "anhoej": _fired(chart, "anhoej_", ""),
    }


def _fired(chart, prefix, short):
    names = [name for name in spc.RULES if name.startswith(prefix)]
    found = spc.evaluate(chart, rules=names)
    either = column(found.up | found.down)
    return {
        short + name.removeprefix(prefix): indices(either >> np.uint32(bit) & 1)
        for bit, name in enumerate(names)
    }


def run(case, given, params):
    x = numbers(given["x"])
    chart = spc.run_chart(x, baseline=options(case, given, params, x.size)["baseline"])
    found = spc.count_runs(chart.value - chart.centre)
    n, longest, crossings = (
        int(count[0]) for count in (found.n_useful, found.longest, found.crossings)
    )

    def outside(box):  # tabulated, and so judged, for 10 to 100 useful points only
        return box(n).signal(crossings, longest) if 10 <= n <= 100 else bool(found.signal[0])

    return {
        "center": column(chart.centre), "n_useful": n, "longest_run": longest,
        "longest_run_max": found.longest_limit[0], "n_crossings": crossings,
        "n_crossings_min": found.crossings_limit[0], "signal": bool(found.signal[0]),
        "signal_other": {
            "bestbox": lambda: outside(spc.best_box), "cutbox": lambda: outside(spc.cut_box),
        },
    }  # fmt: skip


def run_thresholds(case, given, params):
    longest, crossings = spc.run_limits(given["n"])
    return {"longest_run_max": longest, "n_crossings_min": crossings}


CAUSES = {
    "common": "Common Cause", "above_limit": "Above UCL", "below_limit": "Below LCL",
    "rising": "7 Point Trend (Increasing)", "falling": "7 Point Trend (Decreasing)",
    "two_above": "2 in 3 Above CL", "two_below": "2 in 3 Below CL",
    "run_above": "7 Points Above CL", "run_below": "7 Points Below CL",
}  # fmt: skip


def mdc(case, given, params):
    better = {"increase": "up", "decrease": "down", "neutral": "none"}[params["improvement"]]
    goal, rebase = params.get("target"), params.get("rebase")
    starts = [] if rebase is None else np.atleast_1d(rebase).tolist()
    found = spc.mdc(
        numbers(given["x"]), better=better, goal=np.nan if goal is None else goal, starts=starts,
        fix_after=params.get("fix_after"),
        screen="once" if params.get("screen_outliers", True) else "none",
    )  # fmt: skip
    types = column(found.point_type).tolist()
    return lines(found.chart) | {
        "special_cause": [CAUSES[cause] for cause in column(found.cause)],
        "point_type": types, "last_point_variation": types[-1],
        "assurance": str(found.assurance[0]) or None,
    }  # fmt: skip


# ---------------------------------------------------------------- constants and run lengths


def constants(case, given, params):
    by_r = "ptukey" in case["source"]
    found = spc.chart_constants(given["n"], nodes=R_NODES if by_r else NODES)
    factors = spc.factors(given["n"], nodes=R_NODES if by_r else NODES)
    return {"d2": found.d2, "d3": found.d3, "c4": found.c4, "d4_median_range": found.d4} | factors


ZONES = {"1": (1, 1, 3.0), "2": (2, 3, 2.0), "3": (4, 5, 1.0), "4": (8, 8, 0.0), "9": (9, 9, 0.0)}


def run_length(case, given, params):
    if "phi" in given:
        return {"arl0": arl.ar1_arl(given["phi"], width=params.get("k", 3.0))}
    if "mean" in given:
        return {"arl0": arl.count_arl(given["mean"], width=params.get("k", 3.0))}
    shift = given["shift"]
    if "rules" in params:
        return {"value": zone_arl([Zone(*ZONES[digit]) for digit in params["rules"]], shift)}
    if params.get("chart") == "shewhart":
        return {"value": arl.shewhart_arl(shift, width=params.get("k", 3.0))}
    k = params.get("k") or float(re.search(r"cusum\.arl\(([\d.]+)", case["source"])[1])
    got = {}
    for key in case["expected"]:
        if found := re.fullmatch(r"h([\d.]+)(_fir)?", key):
            h = float(found[1])
            got[key] = arl.cusum_arl(shift, k=k, h=h, head_start=h / 2 if found[2] else 0.0)
    return got


def ewma_design(case, given, params):
    width = arl.ewma_width(given["arl0"], weight=given["lambda"])
    shifts = given.get("shift", SHIFTS)
    return {"L": width, "arl": arl.ewma_arl(shifts, weight=given["lambda"], width=width)}


def cusum_design(case, given, params):
    h = arl.cusum_h(given["arl0"], k=given["k"])
    return {"h": h, "arl": arl.cusum_arl(given.get("shift", SHIFTS), k=given["k"], h=h)}


def mewma_design(case, given, params):
    chart = {"variables": given["p"], "weight": given["lambda"]}
    got = {"h": arl.mewma_h(given["arl0"], **chart)}
    nodes = SPC_NODES if case["source"].startswith("spc ") else arl.MEWMA_NODES
    for key in case["expected"]:
        if distance := re.fullmatch(r"arl_delta([\d.]+)", key):
            got[key] = arl.mewma_arl(float(distance[1]), h=got["h"], nodes=nodes, **chart)
    return got


CHARTS = {
    "xmr": xmr, "residual_xmr": residual_xmr, "xbar_r": subgroup_chart, "xbar_s": subgroup_chart,
    "i_prime": i_prime, "g": rare, "t": rare, "p": counts, "np": counts, "c": counts, "u": counts,
    "p_prime": counts, "u_prime": counts, "funnel_p": funnels, "funnel_oe": funnels,
    "ewma": ewma, "cusum": cusum, "t2_single": t2, "capability": capability, "rules": rules,
    "run": run, "run_thresholds": run_thresholds, "mdc": mdc, "constants": constants,
    "arl": run_length, "ewma_design": ewma_design, "cusum_design": cusum_design,
    "mewma_design": mewma_design,
}  # fmt: skip
