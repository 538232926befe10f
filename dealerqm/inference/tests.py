"""Tests of tables, means and ranks with the errors of the sampling design.

A row with a missing value, or outside the domain, adds zeros and keeps its place in the design.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError, unknown
from dealerqm.inference.sample import Outcome, Subset, joint
from dealerqm.sampling.design import Design, codes
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
FORMS = ("F", "chisq", "wald", "adjusted wald")
SCORES = ("wilcoxon", "van der waerden", "median")


# ---------------------------------------------------------------- tables


def association(
    rows: ArrayLike, columns: ArrayLike, design: Design, *, form: str = "F",
    domain: ArrayLike | None = None,
) -> Outcome:  # fmt: skip
    """Test whether two answers are independent.

    Parameters
    ----------
    rows, columns : array_like, shape (rows,)
        Two classifications, words or numbers; None or NaN is missing.
    design : Design
        The sample.
    form : str
        ``F``: Rao-Scott second order; ``chisq``: Rao-Scott first order, the statistic Pearson's χ²
        as it stands; ``wald`` and ``adjusted wald``: of the totals of cells less
        those of independence.
    domain : array_like of bool, shape (rows,), or None
        Rows that the test is about; None is all.

    Returns
    -------
    Outcome
        See there.

    Raises
    ------
    MethodError
        A classification with one level, an unknown form, or PSUs too few for the cells.

    Notes
    -----
    With Δ = (C'D⁻¹C/n)⁻¹ C'D⁻¹VD⁻¹C, C the interactions cleared of the margins, D the cell shares
    and V their covariance: F = χ²/tr Δ on d = (tr Δ)²/tr Δ² and d·(PSUs - strata); chisq refers
    χ²/(tr Δ/q) to q = (r-1)(c-1). Cells without rows count as cells.

    Source: Rao and Scott (1984), Annals of Statistics 12, 46; Thomas and Rao (1987), JASP 82, 630;
    R ``survey::svychisq``; reference cases ``survey/tests_models``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> a, b = ["x"] * 30 + ["y"] * 30, ["u"] * 20 + ["v"] * 10 + ["u"] * 10 + ["v"] * 20
    >>> found = association(a, b, design([1] * 60), form="chisq")
    >>> round(found.statistic, 4), found.freedom  # 4 · 5²/15
    (6.6667, 1.0)
    """
    if form not in FORMS:
        raise MethodError(unknown("form", form, FORMS))
    sample, (r, c) = _levels((rows, columns), design, domain)
    shape = (int(r.max()) + 1, int(c.max()) + 1)
    if min(shape) < 2:  # noqa: PLR2004
        raise MethodError(
            f"table: {shape[0]} by {shape[1]} levels with weight; allowed: two or more of each. "
            "There is nothing to compare."
        )
    hits, w, nu = np.eye(shape[0] * shape[1])[r * shape[1] + c], sample.weights, sample.freedom
    if "wald" in form:
        total = (w @ hits).reshape(shape)
        return _cell_wald(total, sample.spread(hits), nu, adjusted=form == "adjusted wald")
    p: Array = np.asarray(w @ hits / w.sum())
    variance, table = sample.spread((hits - p) / w.sum()), p.reshape(shape)
    expected: Array = np.outer(table.sum(axis=1), table.sum(axis=0))
    chisq = sample.n * float(((table - expected) ** 2 / expected).sum())
    delta = _design_effects(p, variance * sample.n, shape)
    trace, q = float(np.trace(delta)), float(len(delta))
    if form == "chisq":
        return Outcome(chisq, q, np.inf, float(special.chdtrc(q, chisq * q / trace)))
    d = trace**2 / float(np.trace(delta @ delta))
    return Outcome(chisq / trace, d, d * nu, float(special.fdtrc(d, d * nu, chisq / trace)))


def _design_effects(p: Array, variance: Array, shape: tuple[int, int]) -> Array:
    """Design effects of the interactions, from cell shares and n times their covariance."""
    inverse = np.divide(1.0, p, out=np.zeros_like(p), where=p > 0)
    parts = [np.hstack([np.ones((k, 1)), np.eye(k)[:, 1:]]) for k in shape]
    both = np.kron(*parts)
    main = [i * shape[1] + j for i in range(shape[0]) for j in range(shape[1]) if i * j == 0]
    margins, crossed = both[:, main], np.delete(both, main, axis=1)
    clear = np.asarray(crossed - margins @ np.linalg.lstsq(margins, crossed, rcond=None)[0])
    weighed = clear * inverse[:, None]
    simple = clear.T @ weighed
    if np.linalg.matrix_rank(simple) < len(simple):
        raise MethodError(
            f"table: {int((p == 0).sum())} of {p.size} cells are empty, so that not every "
            "difference can be told; join levels."
        )
    return np.asarray(np.linalg.solve(simple, weighed.T @ variance @ weighed), float)


def _cell_wald(total: Array, variance: Array, nu: float, *, adjusted: bool) -> Outcome:
    """Wald test that totals of cells, but the first row and column, are products of margins."""
    across, down, whole = total.sum(axis=1), total.sum(axis=0), total.sum()
    product = np.outer(across, down) / whole
    slope = np.eye(total.size) + np.outer(product, np.ones(total.size)) / whole
    slope -= np.kron(np.eye(across.size), np.outer(down, np.ones(down.size))) / whole
    slope -= np.kron(np.outer(across, np.ones(across.size)), np.eye(down.size)) / whole
    inner = slope.reshape(*total.shape, -1)[1:, 1:].reshape(-1, total.size)
    found = joint((total - product)[1:, 1:].ravel(), inner @ variance @ inner.T, nu)
    if not adjusted:
        return found
    left = nu - found.freedom + 1
    f = found.statistic * left / nu
    return Outcome(f, found.freedom, left, float(special.fdtrc(found.freedom, left, f)))


# ---------------------------------------------------------------- means and ranks


def t_test(
    y: ArrayLike, design: Design, *, group: ArrayLike | None = None,
    domain: ArrayLike | None = None, residual: float | None = None,
) -> Outcome:  # fmt: skip
    """Test a mean, or the difference of two means.

    Parameters
    ----------
    y : array_like, shape (rows,)
        Values; for a paired test the differences.
    design : Design
        The sample.
    group : array_like, shape (rows,), or None
        Two groups, the second in sorted order minus the first; None tests the mean itself.
    domain : array_like of bool, shape (rows,), or None
        Rows that the test is about.
    residual : float or None
        Degrees of freedom; None is PSUs less strata, less 1 for two groups. (R's one-sample test
        takes 1 off as well.)

    Returns
    -------
    Outcome
        t, with the 95 % interval of the mean or difference.

    Raises
    ------
    MethodError
        Not two groups, or no degree of freedom.

    Notes
    -----
    Linearised variances; groups that share PSUs lend each other their covariance.

    Source: R ``survey::svyttest``; reference cases ``survey/tests_models``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = t_test([1, 3, 5, 7], design([1] * 4), group=["a", "a", "b", "b"])
    >>> round(found.statistic, 4), found.residual, float(found.effect.estimate)  # 4/√(4/3)
    (3.4641, 2.0, 4.0)
    """
    labels = np.zeros(design.rows) if group is None else group
    sample, (place,) = _levels((labels,), design, domain, y)
    groups = int(place.max()) + 1
    if group is not None and groups != 2:  # noqa: PLR2004
        raise MethodError(f"group: {groups} groups with weight; allowed: 2. Use regression.linear.")
    level, variance = _group_means(np.asarray(y, float)[sample.use], place, sample)
    left = sample.freedom - (groups - 1) if residual is None else residual
    contrast = np.array([-1.0, 1.0] if groups > 1 else [1.0])
    return _student(float(contrast @ level), float(contrast @ variance @ contrast), left)


def rank_test(
    y: ArrayLike, group: ArrayLike, design: Design, *, scores: str = "wilcoxon",
    domain: ArrayLike | None = None, ties: str = "middle",
) -> Outcome:  # fmt: skip
    """Compare groups by ranks in the population.

    Parameters
    ----------
    y, group : array_like, shape (rows,)
        Values, and the groups compared.
    design : Design
        The sample.
    scores : str
        ``wilcoxon`` (Kruskal-Wallis for more groups): the rank's share; ``van der waerden``: its
        normal quantile; ``median``: whether it is above the middle.
    domain : array_like of bool, shape (rows,), or None
        Rows that the test is about.
    ties : str
        Rank of equal values: ``middle`` of the weight they share, or their ``average`` in the
        order of the rows, which is R's and the same where their weights are equal.

    Returns
    -------
    Outcome
        Two groups: t and the difference in mean score; more: F.

    Raises
    ------
    MethodError
        An unknown choice, one group, or PSUs too few for the groups.

    Notes
    -----
    Scores of the estimated population ranks, compared like means on PSUs - strata - (groups - 1).

    Source: Lumley and Scott (2013), Biometrika 100, 831; R ``survey::svyranktest``; reference cases
    ``survey/tests_models``.

    Examples
    --------
    >>> from dealerqm.sampling.design import design
    >>> found = rank_test([1, 2, 3, 4], ["a", "a", "b", "b"], design([1] * 4))
    >>> float(found.effect.estimate), round(found.statistic, 4)  # ranks 1/8, 3/8 and 5/8, 7/8
    (0.5, 3.4641)
    """
    for name, word, words in (("scores", scores, SCORES), ("ties", ties, ("middle", "average"))):
        if word not in words:
            raise MethodError(unknown(name, word, words))
    sample, (place,) = _levels((group,), design, domain, y)
    groups = int(place.max()) + 1
    if groups < 2:  # noqa: PLR2004
        raise MethodError("group: one group with weight; allowed: two or more.")
    score = _rank_shares(np.asarray(y, float)[sample.use], sample.weights, ties)
    if scores == "median":
        score = (score > 1 / 2).astype(float)
    elif scores == "van der waerden":
        score = special.ndtri(score)
    level, variance = _group_means(score, place, sample)
    left = sample.freedom - (groups - 1)
    contrast = np.hstack([-np.ones((groups - 1, 1)), np.eye(groups - 1)])
    gap, between = contrast @ level, contrast @ variance @ contrast.T
    if groups == 2:  # noqa: PLR2004
        return _student(float(gap[0]), float(between[0, 0]), left)
    return joint(gap, between, left)


def _rank_shares(y: Array, w: Array, ties: str) -> Array:
    """Rank of each value in the population over the population's size."""
    order = np.argsort(y, kind="stable")
    tie = np.unique(y, return_inverse=True)[1]
    if ties == "average":
        before = np.cumsum(w[order]) - w[order] / 2
        middle = np.bincount(tie[order], before) / np.bincount(tie)
    else:
        held = np.bincount(tie, w)
        middle = np.cumsum(held) - held / 2
    result: Array = middle[tie] / w.sum()
    return result


def _group_means(y: Array, place: Codes, sample: Subset) -> tuple[Array, Array]:
    """Means of groups and their covariance."""
    hits = np.eye(int(place.max()) + 1)[place]
    held = sample.weights @ hits
    level = (sample.weights * y) @ hits / held
    return level, sample.spread((y[:, None] - level) * hits / held)


def _student(effect: float, variance: float, left: float) -> Outcome:
    if left < 1 or variance <= 0:
        raise MethodError(
            f"test: {left:g} degrees of freedom and a variance of {variance:g}; allowed: both "
            "above 0. There are too few PSUs, or all values of a group are the same."
        )
    se = float(np.sqrt(variance))
    t = effect / se
    half = float(special.stdtrit(left, 0.975)) * se
    ends = Interval(*(np.asarray(v) for v in (effect, effect - half, effect + half)))
    return Outcome(t, 1.0, left, 2 * float(special.stdtr(left, -abs(t))), ends)


def _levels(
    labels: tuple[ArrayLike, ...], design: Design, domain: ArrayLike | None, *values: ArrayLike
) -> tuple[Subset, tuple[Codes, ...]]:
    """Rows used that have weight, and codes 0, 1, … of the levels among them."""
    parts = [pd.Series(np.asarray(part)) for part in labels]
    gone = [np.where(part.isna(), np.nan, 0.0) for part in parts]
    found = Subset.of(design, domain, *values, *gone)
    found = found._replace(use=found.use & (design.weights > 0))
    return found, tuple(codes(part[found.use].to_numpy())[0] for part in parts)
