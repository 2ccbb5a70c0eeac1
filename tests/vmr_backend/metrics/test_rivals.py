"""The gap between the chosen camera and the nearest other reading of the clip."""

import math
from dataclasses import dataclass

import pytest

from vmr_backend.metrics.rivals import rival_gap


@dataclass
class Tried:
    found_heading: float
    found_turn: float
    scores: list[float]
    roll: float = 0.0
    """Angles in degrees here, for reading."""

    def __post_init__(self):
        self.found_heading, self.found_turn, self.roll = (
            math.radians(angle) for angle in (self.found_heading, self.found_turn, self.roll))


CHOSEN = Tried(90, 40, [0.6, 0.5, 0.4])


def test_another_turn_is_a_rival():
    assert rival_gap([CHOSEN, Tried(90, -40, [0.6, 0.5, 0.42])]) == pytest.approx(0.05)
    assert rival_gap([CHOSEN, Tried(90, 75, [0.6, 0.5, 0.42])]) == pytest.approx(0.05)
    assert rival_gap([CHOSEN, Tried(90, 50, [0.6, 0.5, 0.42])]) is None


def test_another_roll_is_a_rival():
    assert rival_gap([CHOSEN, Tried(90, 40, [0.6, 0.5, 0.42], roll=90)]) == pytest.approx(0.05)
    assert rival_gap([CHOSEN, Tried(90, 40, [0.6, 0.5, 0.42], roll=20)]) is None


def test_another_heading_is_a_rival_half_a_circle_apart_is_not():
    assert rival_gap([CHOSEN, Tried(0, 40, [0.6, 0.5, 0.44])]) == pytest.approx(0.1)
    assert rival_gap([CHOSEN, Tried(-90, 40, [0.6, 0.5, 0.44])]) is None
    assert rival_gap([CHOSEN, Tried(445, 40, [0.6, 0.5, 0.44])]) is None
    assert rival_gap([Tried(5, 0, [0.4]), Tried(170, 0, [0.44])]) is None
    assert rival_gap([CHOSEN, Tried(50, 40, [0.6, 0.5, 0.401]), Tried(130, 40, [0.6, 0.5, 0.401])]) is None


def test_the_nearest_counts_among_those_that_lasted():
    early, late = Tried(0, -40, [0.6]), [Tried(90, -40, [0.6, 0.5, 0.44]), Tried(0, 40, [0.6, 0.5, 0.42])]
    assert rival_gap([CHOSEN, *late, early]) == pytest.approx(0.05)
    # Where all rivals left early, the last round that the chosen one shared with them is what there is.
    assert rival_gap([CHOSEN, early, Tried(0, 40, [0.7, 0.55])]) == pytest.approx(0.1)


def test_a_rival_that_scored_better_leaves_no_gap():
    assert rival_gap([CHOSEN, Tried(90, -40, [0.6, 0.5, 0.39])]) == 0


def test_without_rivals_there_is_no_gap_to_speak_of():
    assert rival_gap([]) is None and rival_gap([CHOSEN]) is None
