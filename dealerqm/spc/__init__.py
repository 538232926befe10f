"""Control charts: limits, rules, run lengths and verdicts, and the charts of the plan's KPIs."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from dealerqm.limits.attributes import (
    c_chart,
    mr_chart,
    np_chart,
    p_chart,
    p_prime,
    u_chart,
    u_prime,
    xmr,
)
from dealerqm.limits.base import Limits, given
from dealerqm.limits.constants import chart_constants, factors, sigma_within, subgroups
from dealerqm.limits.funnel import funnel_ratio, funnel_share
from dealerqm.limits.measurements import (
    g_chart,
    i_prime,
    r_chart,
    residual_chart,
    s_chart,
    t_chart,
    xbar,
)
from dealerqm.limits.sequential import (
    cusum,
    cusum_bernoulli,
    cusum_poisson,
    ewma,
    mewma,
    t2_chart,
    t2_limit,
)
from dealerqm.rules.design import false_alarm_chance
from dealerqm.rules.runs import best_box, count_runs, cut_box, run_chart, run_limits
from dealerqm.rules.sets import RULES, SETS, evaluate, members, signals
from dealerqm.rules.verdicts import Spread, capability, duration_spread, mdc, process_spread
from dealerqm.spc.chart import ChartSignals, ControlCharts, control_charts, draw
from dealerqm.spc.choice import Diagnosis, diagnosis
from dealerqm.spc.named import How, control_chart
from dealerqm.spc.phases import NO_NOTES, Exclusion, Notes, Rebase, Remark
from dealerqm.spc.stack import Cells, Stack, collect, stack, until

# every chart: name -> function that returns Limits
CHARTS: Mapping[str, Callable[..., Limits]] = MappingProxyType(
    {
        "xmr": xmr,
        "mr": mr_chart,
        "xbar_r": partial(xbar, estimator="mean_r_over_d2"),
        "xbar_s": partial(xbar, estimator="mean_s_over_c4"),
        "r": r_chart,
        "s": s_chart,
        "p": p_chart,
        "np": np_chart,
        "c": c_chart,
        "u": u_chart,
        "p_prime": p_prime,
        "u_prime": u_prime,
        "i_prime": i_prime,
        "g": g_chart,
        "t": t_chart,
        "run": run_chart,
        "residual_xmr": residual_chart,
        "ewma": ewma,
        "cusum": cusum,
        "cusum_poisson": cusum_poisson,
        "cusum_bernoulli": cusum_bernoulli,
        "t2": t2_chart,
        "mewma": mewma,
        "funnel": funnel_share,
        "funnel_ratio": funnel_ratio,
    }
)

__all__ = [
    "CHARTS",
    "NO_NOTES",
    "RULES",
    "SETS",
    "Cells",
    "ChartSignals",
    "ControlCharts",
    "Diagnosis",
    "Exclusion",
    "How",
    "Limits",
    "Notes",
    "Rebase",
    "Remark",
    "Spread",
    "Stack",
    "best_box",
    "c_chart",
    "capability",
    "chart_constants",
    "collect",
    "control_chart",
    "control_charts",
    "count_runs",
    "cusum",
    "cusum_bernoulli",
    "cusum_poisson",
    "cut_box",
    "diagnosis",
    "draw",
    "duration_spread",
    "evaluate",
    "ewma",
    "factors",
    "false_alarm_chance",
    "funnel_ratio",
    "funnel_share",
    "g_chart",
    "given",
    "i_prime",
    "mdc",
    "members",
    "mewma",
    "mr_chart",
    "np_chart",
    "p_chart",
    "p_prime",
    "process_spread",
    "r_chart",
    "residual_chart",
    "run_chart",
    "run_limits",
    "s_chart",
    "sigma_within",
    "signals",
    "stack",
    "subgroups",
    "t2_chart",
    "t2_limit",
    "t_chart",
    "u_chart",
    "u_prime",
    "until",
    "xbar",
    "xmr",
]
