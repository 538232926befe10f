"""Files that are written whole or not at all, and the lock between writers."""

from __future__ import annotations

import errno
import getpass
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dealerqm.errors import SnapshotError

LOCK_SECONDS = 5.0
_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("No space left", "File too large", "quota")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def write_bytes(place: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk.

    Parameters
    ----------
    place : Path
        The file.
    content : bytes
        What it shall hold.
    """
    with place.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(place: Path) -> None:
    """Wait until a file or folder is on the disk.

    Parameters
    ----------
    place : Path
        File or folder.
    """
    if os.name == "nt" and place.is_dir():
        return  # Windows cannot flush a folder
    handle = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(draft: Path, final: Path) -> None:
    """Put a finished folder in its place in one step; an older one there is removed after.

    Parameters
    ----------
    draft, final : Path
        Folders in the same parent.
    """
    sync(draft)
    old = final.with_name(f".old-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    draft.rename(final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def explain(error: Exception, folder: Path) -> str:
    """Word a failure to write: full disk, no right to write, or what the system said.

    Parameters
    ----------
    error : Exception
        What was caught.
    folder : Path
        Where was written.

    Returns
    -------
    str
        One sentence: where, what, what to do.
    """
    folder = folder.resolve()
    place = f"{folder.parent.name}/{folder.name}"
    code = getattr(error, "errno", None)
    if code in _FULL or any(word in str(error) for word in _FULL_WORDS):
        return f"{place}: the disk is full; nothing was changed. Free some space and run again."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{place}: cannot be written ({getattr(error, 'strerror', '')}); nothing was changed. "
            "Give yourself the right to write there or name another project folder."
        )
    said = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return f"{place}: cannot be written ({said}); nothing was changed."


@contextmanager
def lock(project: Path, purpose: str) -> Iterator[None]:
    """Hold the project's lock, so that two writers never meet.

    Parameters
    ----------
    project : Path
        Project folder.
    purpose : str
        What is being done, for the message that others get.

    Returns
    -------
    context manager
        Holds the lock while its block runs.

    Raises
    ------
    SnapshotError
        If another process holds it for more than five seconds, or the folder cannot be written.
    """
    folder = project / "snapshots"
    holder = folder / ".lock-holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock", timeout=LOCK_SECONDS).acquire()
    except Timeout:
        raise SnapshotError(
            f"{project.resolve().name}: in use by {_holder(holder)}; try again when it is done."
        ) from None
    except OSError as error:
        raise SnapshotError(explain(error, folder)) from None
    with held:
        try:
            holder.write_text(f"{_user()}, process {os.getpid()}, {purpose}", encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def _holder(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8")
    except OSError:
        return "another process"
