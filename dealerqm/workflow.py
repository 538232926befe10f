"""A review from order to report folder: parameters, review, notebooks, report."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dealerqm import cases, report, runner
from dealerqm.errors import ParameterError, unknown
from dealerqm.review import Parameters, ledger, open_register, prepare, run

# Kernels at a time: each needs a core and about 300 MB. They have processes of their own, because
# running a notebook changes the working folder and leaves an event loop behind.
WORKERS = 2
AUTHOR = "dealerqm review"  # who opens alert cases


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asks for.

    Attributes
    ----------
    project : Path
        Project folder; its ``notebooks`` are run.
    period, stores, language : str
        As in ``review.Parameters``.
    only : str or None
        Names of notebooks joined by commas; None means all.
    settings : mapping
        Further notebook parameters.
    """

    project: Path
    period: str = "latest"
    stores: str = "all"
    language: str = "zh"
    only: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def review(order: Order) -> tuple[Path, dict[str, str]]:
    """Check the order, run the review and its notebooks, publish the report, open alert cases.

    Parameters
    ----------
    order : Order
        What is asked for.

    Returns
    -------
    (Path, dict of str to str)
        Report folder, and the notebooks that failed with the reason.

    Raises
    ------
    ParameterError
        Before anything is written, if a parameter cannot be used.
    """
    paths = _chosen(order)
    runner.check_parameters(order.settings, paths)
    asked = Parameters(order.period, order.stores, order.language, str(order.project))
    snapshot, plan, period, regions = prepare(asked)
    values = {
        "project": ".", "period": period.key, "stores": order.stores, "language": order.language,
        **order.settings,
    }  # fmt: skip
    steps = len(paths) + 2
    with (
        tqdm(total=steps, desc="review", disable=None, leave=False, unit="step") as bar,
        ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool,
    ):
        running = {
            path.stem: pool.submit(runner.attempt, path, values, folder=order.project.resolve())
            for path in paths
        }
        register = open_register(order.project, snapshot, plan)
        done = run(snapshot, plan, period, regions, ledger(register))
        bar.update()
        pages: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for name, page in running.items():
            bar.set_description(name)
            notebook, reason = page.result()
            pages[name] = reason or notebook
            if reason:
                failed[name] = reason
            bar.update()
        bar.set_description("report")
        folder = report.write(done, order.project / "reports" / period.key, notebooks=pages)
        cases.open_cases(register, done.cases, snapshot.as_of, AUTHOR)
        bar.update()
    return folder, failed


def _chosen(order: Order) -> list[Path]:
    found = {path.stem: path for path in runner.notebooks(runner.home(order.project))}
    if order.only is None:
        return list(found.values())
    chosen = []
    for name in (part.strip() for part in order.only.split(",")):
        match = [stem for stem in found if stem == name or stem.startswith(f"{name}_")]
        if not match:
            raise ParameterError(unknown("--only", name, found))
        chosen += [found[stem] for stem in match]
    return chosen
