"""A rigged animal in an empty file."""

import pytest
from rigged_animal import rigged_animal


@pytest.fixture
def goat(empty_file):
    return rigged_animal()
