"""The only door out: whole report folders, checked, written at once or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dealerqm.errors import PublishError
from dealerqm.publish.files import Sheet, json_bytes, workbook_bytes
from dealerqm.publish.pages import check_page, mask_page

Content = str | Mapping[str, Sheet] | Mapping[str, Any] | list[Any]
MANIFEST = "manifest.json"
PATIENCE_S = 5
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.[a-z]{2,5}")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def publish(
    target: Path, files: Mapping[str, Content], *, k: int, stamp: Mapping[str, Any] | None = None,
    log: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Write a report folder in place of an earlier one.

    Parameters
    ----------
    target : Path
        The folder, such as ``reports/2026Q3``.
    files : mapping of str to content
        ``.html`` with text, ``.xlsx`` with sheets, ``.json`` with data.
    k : int
        Nothing is said about fewer than k people.
    stamp : mapping or None
        What the manifest says of the inputs.
    log : callable
        Given the manifest once the folder is in place.

    Returns
    -------
    dict
        The manifest: the stamp, k, and size and SHA-256 of every file.

    Raises
    ------
    PublishError
        If a file must not leave, or the folder cannot be written; the earlier report is intact.
    """
    if not _FOLDER.fullmatch(target.name):
        raise PublishError(
            f"report folder {target.name!r}: expected letters, digits, '-', '_' and '.' only."
        )
    ready = {name: _bytes(name, content, k) for name, content in sorted(files.items())}
    manifest: dict[str, Any] = dict(stamp or {}) | {
        "k": k,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in ready.items()
        },
    }
    ready[MANIFEST] = json_bytes(manifest, k=1)
    try:
        _write(target, ready)
    except OSError as error:
        raise PublishError(
            f"{target.parent.name}/{target.name}: cannot be written: {error.strerror or error}. "
            "The report before it is unchanged. Check free space, write permission and whether "
            "another program holds a file of the folder open, then run again."
        ) from error
    log(manifest)
    return manifest


def _bytes(name: str, content: Content, k: int) -> bytes:
    if not _NAME.fullmatch(name) or name == MANIFEST:
        raise PublishError(f"report file {name!r}: expected a plain name such as index.html.")
    kind = name.rpartition(".")[2]
    if kind == "html" and isinstance(content, str):
        page = mask_page(content)
        check_page(name, page)
        return page.encode()
    if kind == "xlsx" and isinstance(content, Mapping):
        return workbook_bytes(content, k)
    if kind == "json" and not isinstance(content, str):
        return json_bytes(content, k)
    raise PublishError(
        f"report file {name!r}: found {type(content).__name__}; allowed are .html with text, "
        ".xlsx with sheets and .json with data."
    )


def _write(target: Path, ready: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock", timeout=PATIENCE_S)
    try:
        with lock:
            _replace(target, ready)
    except Timeout:
        raise PublishError(
            f"{target.parent.name}/{target.name}: another run is writing this report; "
            "wait until it is done and run again."
        ) from None


def _replace(target: Path, ready: Mapping[str, bytes]) -> None:
    """Build the folder beside the old one, make it durable, then change places."""
    new, old = (target.with_name(f".{target.name}.{end}") for end in ("new", "old"))
    _recover(target, new, old)
    try:
        new.mkdir()
        for name, data in ready.items():
            with (new / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(new)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        _sync(target.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _recover(target: Path, new: Path, old: Path) -> None:
    """Put right what a run left that was stopped half-way."""
    if old.exists() and not target.exists():
        old.rename(target)
    for rest in (new, old):
        if rest.exists():
            shutil.rmtree(rest)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there; the rename itself is durable
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
