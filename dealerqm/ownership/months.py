"""Days moved by calendar months, which clamp at month ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.datetime64]
Ints = NDArray[np.int64]


def shift_months(days: Days, months: int | Ints) -> Days:
    """Move days by calendar months; a day that the month lacks becomes its last.

    Parameters
    ----------
    days : ndarray of datetime64[D]
        Days; NaT stays NaT.
    months : int or ndarray of int
        Months forward, backward when negative.

    Returns
    -------
    ndarray of datetime64[D]
        The days moved.

    Examples
    --------
    >>> shift_months(np.array(["2025-09-30", "2024-02-29"], "M8[D]"), np.array([-18, 12]))
    array(['2024-03-30', '2025-02-28'], dtype='datetime64[D]')
    """
    days = np.asarray(days, "M8[D]")
    month = days.astype("M8[M]")
    into = days - month.astype("M8[D]")
    there = month + np.asarray(months).astype("m8[M]")
    first = there.astype("M8[D]")
    last = (there + 1).astype("M8[D]") - first - np.timedelta64(1, "D")
    return np.asarray(first + np.minimum(into, last))


def months_over(days: Days, months: int) -> Days:
    """Return the first day from which a day lies more than so many calendar months back.

    Parameters
    ----------
    days : ndarray of datetime64[D]
        Days; NaT stays NaT.
    months : int
        Calendar months, 0 or more.

    Returns
    -------
    ndarray of datetime64[D]
        The first day d with ``shift_months(d, -months)`` after the day.

    Notes
    -----
    Usually the day after ``shift_months(day, months)``; where that day, moved back, clamps onto
    the day itself, the first of the next month.

    Examples
    --------
    >>> months_over(np.array(["2024-03-30", "2023-02-28"], "M8[D]"), 12)
    array(['2025-03-31', '2024-03-01'], dtype='datetime64[D]')
    """
    days = np.asarray(days, "M8[D]")
    after = shift_months(days, months) + np.timedelta64(1, "D")
    inside = shift_months(after, -months) <= days
    following = (after.astype("M8[M]") + 1).astype("M8[D]")
    return np.where(inside, following, after)
