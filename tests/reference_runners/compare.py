"""Compare what was computed with what a case expects."""

import numpy as np

ROUNDING = 1e-13  # of the largest value of a list: what the order of a sum may change


def faults(got, expected, rtol, where=""):
    """List the differences: numbers within rtol, everything else exactly."""
    if isinstance(expected, dict):
        return [text for key in expected for text in _entry(got, expected, key, rtol, where)]
    if isinstance(expected, list):
        return _listed(got, expected, rtol, where)
    if isinstance(got, np.ndarray) and got.ndim:
        return _line(got, expected, rtol, where)
    return _single(got, expected, rtol, where, abs(expected) if _number(expected) else 0)


def _entry(got, expected, key, rtol, where):
    here = f"{where}.{key}" if where else key
    if not isinstance(got, dict) or key not in got:
        return [f"{here}: the package does not express it"]
    value = got[key]() if callable(got[key]) else got[key]
    return faults(value, expected[key], rtol, here)


def _listed(got, expected, rtol, where):
    got = list(got) if got is not None else []
    if len(got) != len(expected):
        return [f"{where}: {len(got)} entries {got[:8]}, expected {len(expected)} {expected[:8]}"]
    if any(isinstance(entry, list | dict) for entry in expected):
        pairs = enumerate(zip(got, expected, strict=True))
        return [t for i, (g, e) in pairs for t in faults(g, e, rtol, f"{where}[{i}]")]
    scale = max((abs(e) for e in expected if _number(e)), default=0)
    pairs = enumerate(zip(got, expected, strict=True))
    return [t for i, (g, e) in pairs for t in _single(g, e, rtol, f"{where}[{i}]", scale)]


def _line(got, expected, rtol, where):
    """A line that does not move is one number in a case."""
    known = got[np.isfinite(got)]
    if not known.size:
        return [f"{where}: nothing known, expected {expected}"]
    ends = {known.min(), known.max()}
    return [t for end in ends for t in _single(end, expected, rtol, where, abs(expected))]


def _single(got, expected, rtol, where, scale):
    if not _number(expected):
        got = got.item() if isinstance(got, np.generic) else got
        return [] if got == expected else [f"{where}: {got!r}, expected {expected!r}"]
    if got is None or isinstance(got, str | bool | np.bool_):
        return [f"{where}: {got!r}, expected {expected!r}"]
    close = abs(got - expected) <= rtol * abs(expected) + ROUNDING * scale
    return [] if close else [f"{where}: {float(got)!r}, expected {expected!r} (rtol {rtol:g})"]


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)
