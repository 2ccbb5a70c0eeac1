"""Settings that fit a small clip in a second."""

import pytest
import torch

from vmr_backend.settings import Settings


@pytest.fixture(scope="session")
def quick() -> Settings:
    """A second on two cores."""
    return Settings().with_values({
        "crop_size": 64, "hypotheses": 2, "rigid_iterations": 40, "coarse_iterations": 40, "fine_iterations": 20,
        "subdivision": 3, "bones": 6, "frames_per_iteration": 4})


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The meshes are tiny: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
