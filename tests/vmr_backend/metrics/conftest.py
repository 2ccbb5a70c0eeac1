"""The scorer that judges results, independent of this project, where it is at hand."""

import importlib.util
from pathlib import Path

import pytest

SCORER = Path(__file__).parents[4] / "shared" / "tools" / "score.py"


@pytest.fixture(scope="session")
def scorer():
    if not SCORER.exists():
        pytest.skip(f"{SCORER} is absent")
    spec = importlib.util.spec_from_file_location("score", SCORER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
