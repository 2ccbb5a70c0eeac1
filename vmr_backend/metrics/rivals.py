"""How nearly another reading of the camera fits the clip as well as the chosen one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

OTHER_HEADING, OTHER_TURN, OTHER_ROLL = math.radians(45), math.radians(30), math.radians(30)
"""Cameras that the search left closer than this, in heading, turn and roll, are the same reading of the clip: where
they began does not count, those of most starts come together."""


class ScoredHypothesis(Protocol):
    """A camera path that was tried, as far as it is compared here; radians."""

    found_heading: float
    found_turn: float
    roll: float
    scores: list[float]


def rival_gap(hypotheses: Sequence[ScoredHypothesis]) -> float | None:
    """By how much the nearest rival scores worse than the chosen hypothesis, the first, as a fraction of its score.

    A rival ended with another turn, roll or heading (of the mirror plane: half a circle), and was compared with the
    chosen one for as long as any. 0: it fits just as well, so that front and back, or the sense in which the subject
    turns, are anybody's guess. None where there was no rival.
    """
    if not hypotheses:
        return None
    chosen = hypotheses[0]
    rivals = [h for h in hypotheses[1:] if h.scores and _is_other(h, chosen)]
    rounds = min(max((len(h.scores) for h in rivals), default=0), len(chosen.scores))
    if not rounds or chosen.scores[rounds - 1] <= 0:
        return None
    best = min(h.scores[rounds - 1] for h in rivals if len(h.scores) >= rounds)
    return max(best / chosen.scores[rounds - 1] - 1, 0.0)


def _is_other(a: ScoredHypothesis, b: ScoredHypothesis) -> bool:
    apart = abs(a.found_heading - b.found_heading) % math.pi
    return (min(apart, math.pi - apart) > OTHER_HEADING or abs(a.found_turn - b.found_turn) > OTHER_TURN
            or abs(a.roll - b.roll) > OTHER_ROLL)
