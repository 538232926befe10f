"""Rows of a sample that an analysis uses, and tests of what was estimated from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dealerqm.errors import MethodError
from dealerqm.sampling.design import Design
from dealerqm.sampling.variance import Scores, covariance, support
from dealerqm.stats.intervals import Interval

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]
SINGULAR = 1e-9  # smallest eigenvalue of correlations of estimates that can be told apart


class Subset(NamedTuple):
    """Rows of a sample that an analysis uses; the others add zeros.

    Attributes
    ----------
    design : Design
        The whole sample.
    use : ndarray of bool, shape (rows,)
        Rows in the domain that have all values.
    """

    design: Design
    use: Rows

    @classmethod
    def of(cls, design: Design, domain: ArrayLike | None, *values: ArrayLike) -> Subset:
        """Take the rows of the domain (None: all) where no value is NaN."""
        use = np.ones(design.rows, bool) if domain is None else np.asarray(domain, bool)
        arrays = [np.asarray(part, float) for part in values]
        for part in (use, *arrays):
            if len(part) != design.rows:
                raise MethodError(f"rows: {len(part)} values for a design of {design.rows} rows.")
        for part in arrays:
            use = use & np.isfinite(part.reshape(design.rows, -1)).all(axis=1)
        if not (design.weights[use] > 0).any():
            raise MethodError("rows: none in the domain has all values and a weight above 0.")
        return cls(design, use)

    @property
    def weights(self) -> Array:
        """Weights of the rows used."""
        return self.design.weights[self.use]

    @property
    def n(self) -> float:
        """Respondents with weight."""
        return float(self.design.ones[self.use & (self.design.weights > 0)].sum())

    @property
    def freedom(self) -> float:
        """PSUs less strata that have rows with weight."""
        psus, strata = support(self.design, np.where(self.use, 0, -1), 1)
        return float(psus[0] - strata[0])

    def spread(self, influence: Array) -> Array:
        """Turn influence values, shape (rows used, estimates), into a covariance."""
        whole = np.zeros((self.design.rows, influence.shape[1]))
        whole[self.use] = influence
        return covariance(self.design, Scores.of(whole))

    def errors(self, influence: Array) -> Array:
        """Turn influence values into standard errors; all NaN where one value is not finite."""
        if not np.isfinite(influence).all():
            return np.full(influence.shape[1], np.nan)
        result: Array = np.sqrt(np.maximum(np.diag(self.spread(influence)), 0.0))
        return result

    def t(self, confidence: float) -> float:
        """Return the two-sided point of Student's t; NaN below one degree of freedom."""
        left = self.freedom
        return float(special.stdtrit(left, 0.5 + confidence / 2)) if left >= 1 else np.nan


class Outcome(NamedTuple):
    """Outcome of a test.

    Attributes
    ----------
    statistic : float
        t where ``effect`` is known, else F or χ².
    freedom, residual : float
        Degrees of freedom: of the hypothesis, and of its error (infinite for χ²).
    p : float
        Two-sided for t.
    effect : Interval
        Mean, difference of two means or of mean rank scores; NaN for several comparisons.
    """

    statistic: float
    freedom: float
    residual: float
    p: float
    effect: Interval = Interval(*(np.asarray(np.nan),) * 3)


def joint(estimate: Array, variance: Array, residual: float) -> Outcome:
    """Test several estimates at once against 0.

    Parameters
    ----------
    estimate, variance : ndarray, shapes (q,) and (q, q)
        Under the design.
    residual : float
        Degrees of freedom of the covariance.

    Returns
    -------
    Outcome
        F.

    Raises
    ------
    MethodError
        A singular covariance, or no degree of freedom.

    Examples
    --------
    >>> joint(np.array([3.0, 4.0]), np.eye(2), 10.0).statistic
    12.5
    """
    scale = np.sqrt(np.maximum(np.diag(variance), 0.0))
    known = residual >= 1 and (scale > 0).all()
    if not known or np.linalg.eigvalsh(variance / np.outer(scale, scale))[0] < SINGULAR:
        raise MethodError(
            f"test: {residual:g} degrees of freedom cannot tell {estimate.size} comparisons apart "
            "(too few PSUs, or a level without spread); join levels, or compare fewer."
        )
    q = float(estimate.size)
    f = float(estimate @ np.linalg.solve(variance, estimate)) / q
    return Outcome(f, q, float(residual), float(special.fdtrc(q, residual, f)))
