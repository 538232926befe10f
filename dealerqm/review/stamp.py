"""What makes a review repeatable: the digests of data, plan, code and packages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from dealerqm import __version__, store
from dealerqm.period import Period
from dealerqm.plan import Plan
from dealerqm.spc import Notes

_CODE = (".py", ".toml", ".jinja", ".css", ".js")  # texts that decide the bytes of a report


def stamp(
    snapshot: store.Snapshot, plan: Plan, period: Period, regions: Mapping[str, str], notes: Notes
) -> dict[str, Any]:
    """Return what a reader needs to repeat a review.

    Parameters
    ----------
    snapshot : Snapshot
        The data.
    plan : Plan
        The plan.
    period : Period
        The reviewed period.
    regions : mapping of str to str
        The reviewed stores.
    notes : Notes
        What people decided about charts.

    Returns
    -------
    dict
        Period, stores, snapshot, date, digests, versions; no clock, no path.
    """
    return {
        "period": period.key,
        "stores": ", ".join(regions),
        "snapshot": snapshot.id,
        "as_of": snapshot.as_of.isoformat(),
        "plan": plan.digest,
        "notes": hashlib.sha256(repr(notes).encode()).hexdigest()[:16] if any(notes) else "none",
        "plan_version": plan.settings["plan"]["version"],
        "dealerqm": __version__,
        "code": code_digest(),
        "lock": lock_digest(),
        "demonstration_key": bool(snapshot.manifest.get("demonstration_key", False)),
    }


def code_digest() -> str:
    """Return the SHA-256 of the package's own files.

    Returns
    -------
    str
        First 16 hexadecimal digits.

    Examples
    --------
    >>> len(code_digest())
    16
    """
    root = Path(str(resources.files("dealerqm")))
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in _CODE):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:16]


def lock_digest() -> str:
    """Return the SHA-256 of the dependency lock beside the package, or ``not found``.

    Returns
    -------
    str
        First 16 hexadecimal digits.
    """
    lock = Path(str(resources.files("dealerqm"))).parent / "requirements.lock"
    if not lock.is_file():
        return "not found"
    return hashlib.sha256(lock.read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]
