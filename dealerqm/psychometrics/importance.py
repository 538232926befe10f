"""What drives satisfaction: how much of its variance each item explains, and how sure that is.

Importance is a function of one correlation matrix, so replicates are a stack of matrices and cost
little. Drivers are named in messages by their column, counted from 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dealerqm.errors import MethodError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
MOST = 20  # drivers; 2^20 subsets still fit
PIVOT = 1e-10  # share of a driver's variance below which others determine it
BATCH = 1 << 22  # numbers held at once by the subsets of replicates


class Importance(NamedTuple):
    """Measures of importance; arrays of shape (…, drivers) except ``r2`` of shape (…,).

    Attributes
    ----------
    r2 : ndarray
        Share of the outcome's variance that all drivers explain.
    lmg : ndarray
        Its split by the average gain over all orders of the drivers.
    relative : ndarray
        Its split by Johnson's relative weights.
    beta, pratt : ndarray
        Standardised coefficients, and these times the correlation; may be below 0.
    first, last : ndarray
        Gain of a driver alone, and on top of all others.
    vif : ndarray
        Variance inflation; infinite where other drivers determine this one.
    """

    r2: Array
    lmg: Array
    relative: Array
    beta: Array
    pratt: Array
    first: Array
    last: Array
    vif: Array

    @property
    def dependent(self) -> Flags:
        """Drivers that others determine exactly: their importance is split by convention."""
        result: Flags = ~np.isfinite(self.vif)
        return result


def importance(correlation: ArrayLike) -> Importance:
    """Split the explained variance over drivers.

    Parameters
    ----------
    correlation : array_like, shape (…, drivers + 1, drivers + 1)
        Correlations, the outcome last; leading dimensions are replicates.

    Returns
    -------
    Importance
        See there.

    Raises
    ------
    MethodError
        No driver, or more than 20.

    Notes
    -----
    LMG: R² of all 2^p subsets by one sweep per driver over all subsets at once, a driver that
    others determine adding nothing (generalised inverse). Johnson: (Λ²)(Λ⁻¹r)² with Λ the
    symmetric root of the drivers' correlations.

    Source: Lindeman, Merenda and Gold (1980), p. 119; Grömping (2007), The American Statistician
    61, 139; Johnson (2000), Multivariate Behavioral Research 35, 1; reference cases
    ``survey/drivers``.

    Examples
    --------
    >>> found = importance([[1, 0, 0.6], [0, 1, 0.5], [0.6, 0.5, 1]])
    >>> found.lmg.round(2), found.relative.round(2), round(float(found.r2), 2)
    (array([0.36, 0.25]), array([0.36, 0.25]), 0.61)
    """
    r = np.asarray(correlation, float)
    p = r.shape[-1] - 1
    if not 1 <= p <= MOST:
        raise MethodError(
            f"drivers: {p} given; allowed: 1 to {MOST}. Join items that measure the same thing."
        )
    shape = r.shape[:-2]
    stack = r.reshape(-1, p + 1, p + 1)
    lot = max(1, BATCH >> p)
    parts = [_split(stack[i : i + lot]) for i in range(0, len(stack), lot)]
    r2, lmg, last = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    relative, beta, vif = _linear(stack)
    simple = stack[:, :p, p]
    wide = (
        v.reshape(*shape, p) for v in (lmg, relative, beta, beta * simple, simple**2, last, vif)
    )
    return Importance(r2.reshape(shape), *wide)


def _split(stack: Array) -> tuple[Array, Array, Array]:
    """R², LMG and last gains of a batch of matrices."""
    p = stack.shape[-1] - 1
    r2 = _subsets(stack)
    size = np.bitwise_count(np.arange(2 ** (p - 1)))
    weight = 1 / (p * _binomial(p - 1)[size])
    lmg, last = np.empty((len(stack), p)), np.empty((len(stack), p))
    for j in range(p):
        halves = r2.reshape(len(stack), -1, 2, 2**j)
        gain = (halves[:, :, 1] - halves[:, :, 0]).reshape(len(stack), -1)
        lmg[:, j], last[:, j] = gain @ weight, gain[:, -1]
    return r2[:, -1], lmg, last


def _subsets(stack: Array) -> Array:
    """R² of every subset; bit j of the place tells whether driver j is in."""
    rest = stack[:, None]
    while rest.shape[-1] > 1:
        pivot, column, inner = rest[..., 0, 0], rest[..., 1:, 0], rest[..., 1:, 1:]
        scale = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=pivot > PIVOT)
        swept = column[..., :, None] * column[..., None, :]
        swept *= -scale[..., None, None]
        swept += inner
        rest = np.concatenate([inner, swept], axis=1)
    result: Array = 1 - rest[..., 0, 0]
    return result


def _binomial(n: int) -> Array:
    row = np.ones(n + 1)
    for i in range(1, n + 1):
        row[i] = row[i - 1] * (n - i + 1) / i
    return row


def _linear(stack: Array) -> tuple[Array, Array, Array]:
    """Relative weights, standardised coefficients and variance inflation."""
    p = stack.shape[-1] - 1
    values, vectors = np.linalg.eigh(stack[:, :p, :p])
    kept = values > PIVOT
    root = np.sqrt(np.where(kept, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=kept)
    turned = np.einsum("bji,bj->bi", vectors, stack[:, :p, p])
    half = np.einsum("bij,bj->bi", vectors, inverse * turned)
    symmetric = np.einsum("bik,bk,bjk->bij", vectors, root, vectors)
    relative = np.einsum("bij,bj->bi", symmetric**2, half**2)
    beta = np.einsum("bij,bj->bi", vectors, inverse**2 * turned)
    vif = np.einsum("bik,bk->bi", vectors**2, inverse**2)
    lost = np.einsum("bik,bk->bi", vectors**2, np.where(kept, 0.0, 1.0))
    return relative, beta, np.where(lost > PIVOT, np.inf, vif)
