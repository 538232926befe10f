"""Every error dealerqm raises on purpose, and the one way to word it.

A message says where, what was found, what is allowed, and what to do next, so that the reader of
one line can act on it. The command line turns an error into its ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DealerqmError(Exception):
    """Base of all errors that dealerqm raises on purpose; ``exit_code`` 1 means bad data."""

    exit_code = 1


class ParameterError(DealerqmError):
    """A call with a wrong parameter: unknown name, impossible quarter, unknown store."""

    exit_code = 2


class PlanError(DealerqmError):
    """A quality plan that cannot be used."""


class TableError(DealerqmError):
    """A table contract that is broken, or a table that does not fit its contract."""


class IngestError(DealerqmError):
    """Exports that cannot be read at all: no file, empty folder, locked workbook."""


class PrivacyError(DealerqmError):
    """A missing, weak or misplaced key."""


class SnapshotError(DealerqmError):
    """A snapshot that is missing, or whose files do not match its manifest."""


class RegisterError(DealerqmError):
    """A register log that is broken, or an entry that it cannot take."""


class PublishError(DealerqmError):
    """A report that must not, or could not, be written."""


class MethodError(DealerqmError):
    """A statistical method asked for something the data cannot give."""


def nearest(word: object, words: Iterable[object], n: int = 3) -> list[str]:
    """Return the known words closest to a misspelt one.

    Parameters
    ----------
    word : object
        What was written; a number or list where a word was expected is spelt as text.
    words : iterable
        What is known.
    n : int
        At most so many words come back.

    Returns
    -------
    list of str
        Best match first; empty when nothing is close.

    Examples
    --------
    >>> nearest("quater", ["quarter", "month", "week"])
    ['quarter']
    """
    return difflib.get_close_matches(str(word), [str(w) for w in words], n=n, cutoff=0.5)


def unknown(where: str, word: object, words: Iterable[object]) -> str:
    """Word the message for an unknown name.

    Parameters
    ----------
    where : str
        File and key, or the parameter's name.
    word : object
        What was written.
    words : iterable
        What is allowed.

    Returns
    -------
    str
        One line: where, what was found, the nearest known words, and all of them when few.

    Examples
    --------
    >>> unknown("plan.toml [kpi.csat] stat", "shear", ["share", "rate"])
    "plan.toml [kpi.csat] stat: 'shear' is not known. Nearest: share. Allowed: rate, share."
    """
    known = sorted(str(w) for w in words if str(w))
    close = nearest(word, known)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    shown = ", ".join(known[:40]) + (" …" if len(known) > 40 else "")  # noqa: PLR2004
    return f"{where}: {word!r} is not known.{hint} Allowed: {shown}."
