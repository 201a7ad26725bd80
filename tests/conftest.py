"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MVDECOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _real_data(name: str) -> Path:
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f"real data not found: {root} (set MVDECOR_DATA to the folder that holds it)")
    return root


@pytest.fixture(scope="session")
def partnet_root() -> Path:
    """Root of real PartNet shapes (`data_v0/`, `stats/`, `splits_local.json`)."""
    return _real_data("partnet")


@pytest.fixture(scope="session")
def people_root() -> Path:
    """Root of real textured people with face labels (`person_NNN/`, `split.json`)."""
    return _real_data("people")
