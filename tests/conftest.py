"""The same examples in every run, no time limit per example, nothing left on disk."""

import gc
import os
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from dealerqm import ingest, plan, privacy, store
from dealerqm.review import start

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"

settings.register_profile("dealerqm", deadline=None, derandomize=True, database=None)
settings.load_profile("dealerqm")


def run_folder(tmp_path_factory):
    """The folder of this test run: one for all workers, which have theirs inside it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def sample_project(tmp_path_factory):
    """A project folder with the committed sample: the first worker imports it, others find it."""
    project = run_folder(tmp_path_factory) / "group"
    with FileLock(project.with_suffix(".lock")):
        ingest.ingest(SAMPLES / "raw", project, plan.load(), key=privacy.demo_key(SAMPLES))
    return project


@pytest.fixture(scope="session")
def snapshot(sample_project):
    """The snapshot of the committed sample."""
    return store.open_snapshot(sample_project)


@pytest.fixture(scope="session")
def reviewed(sample_project):
    """The review of the sample's newest quarter."""
    return start(project=str(sample_project))


def pytest_collection_modifyitems(items):
    """Begin with the files that hold slow tests, so that no worker ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Keep what imports made out of the collection of garbage: it stays, and there is much."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Let it go at the end."""
    gc.unfreeze()
