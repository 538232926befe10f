"""The same examples in every run, no time limit per example, nothing left on disk."""

from pathlib import Path

import pytest
from hypothesis import settings

from dealerqm import ingest, plan, privacy, store
from dealerqm.review import start

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"

settings.register_profile("dealerqm", deadline=None, derandomize=True, database=None)
settings.load_profile("dealerqm")


@pytest.fixture(scope="session")
def sample_project(tmp_path_factory):
    """A project folder with the committed sample imported once per test run."""
    project = tmp_path_factory.mktemp("group")
    key = privacy.demo_key(SAMPLES)
    ingest.ingest(SAMPLES / "raw", project, plan.load(), key=key)
    return project


@pytest.fixture(scope="session")
def snapshot(sample_project):
    """The snapshot of the committed sample."""
    return store.open_snapshot(sample_project)


@pytest.fixture(scope="session")
def reviewed(sample_project):
    """The review of the sample's newest quarter."""
    return start(project=str(sample_project))
