"""Settings that fit a small clip in a second."""

import pytest

from vmr_backend.settings import Settings


@pytest.fixture(scope="session")
def quick() -> Settings:
    """A second on two cores."""
    return Settings().with_values({
        "crop_size": 64, "hypotheses": 2, "rigid_iterations": 40, "coarse_iterations": 40, "fine_iterations": 20,
        "subdivision": 3, "bones": 6, "frames_per_iteration": 4})
