"""Snapshots on disk: written whole or not at all, verified on opening, queried by DuckDB."""

from dealerqm.store.files import digest, explain, lock
from dealerqm.store.snapshot import (
    Snapshot,
    connect,
    manifests,
    open_snapshot,
    relation,
    write,
)

__all__ = [
    "Snapshot",
    "connect",
    "digest",
    "explain",
    "lock",
    "manifests",
    "open_snapshot",
    "relation",
    "write",
]
