"""How far a result can be trusted: a doubt for each frame and a verdict in words, from measured quantities only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..metrics.coverage import never_seen
from ..metrics.flow import flow_residuals
from ..metrics.mask_agreement import MaskScores
from ..metrics.motion import motion
from ..metrics.rivals import ScoredHypothesis, rival_gap
from ..metrics.viewpoints import flipped, turn
from ..reconstruction import Reconstruction
from ..video.footage import Footage

DOUBTFUL = 0.5
"""Doubt from which a frame is called doubtful. Each evidence below gives this much at its limit, and grows evenly."""

POOR_FIT = 0.1
"""Limit of how far J of a frame lies below the clip's median: twice what the frames of sound results scatter."""

UNTRUSTED_FIT = 0.75
"""J at which a frame is doubtful whatever the others are, and mean J below which the whole result is."""

FAIR_FIT = 0.85
"""Mean J below which a result is to be used with care; sound ones reach 0.92 and more, thin subjects 0.87."""

STRAY = 0.04
"""Limit of the flow residual. True meshes stay below 0.03 in every frame, sound results below 0.02 in nearly all; where
a surface slides over its subject it reaches 0.1."""

OFF_COLOUR = 25.0
"""Limit of how far the colour error of a frame (of 255) lies above the clip's median: more than light does."""

FEW_DOUBTFUL, MANY_DOUBTFUL = 0.1, 1 / 3
"""Share of doubtful frames above which a result is to be used with care, and share of frames that the footage
contradicts above which it is not to be trusted: fewer can be cut out or set right by hand."""

MOSTLY_UNCHECKED = 0.5
"""Share of frames without reliable flow above which nobody can say that the surface moves as the subject does."""

SMALL_TURN = 40.0
"""Degrees of turn below which the far side is a guess: of an upright body, turned by an angle of a, a camera sees
(180 + a) / 360 all round: at 40 less than 62 %, so neither the far side nor how thick the body is."""

STILL = 0.005
"""Share of the subject's size below which nothing moves: a turn by a degree moves twice as much, noise not at all."""

LARGE_UNSEEN = 1 / 3
"""Share of the surface never seen, above which a small turn matters: some subjects show all of themselves by moving."""

NEAR_RIVAL = 0.03
"""Gap to the nearest rival of the camera below which the choice is uncertain. On the four clips whose camera was found
right it was 0.07 and more, on the two where it was wrong 0.012 and less."""


@dataclass(frozen=True)
class Measures:
    """What was measured of a result of T frames."""

    frames: np.ndarray
    """(T,) int32, numbers of the clip's frames."""
    j: np.ndarray
    """(T,) region similarity with the masks, 0 to 1; NaN where not known, also below."""
    flow_residual: np.ndarray
    """(T,) of the subject's size (metrics/flow.py)."""
    colour_error: np.ndarray
    """(T,) of 255."""
    flipped: np.ndarray
    """(T,) bool, the camera has jumped (metrics/viewpoints.py)."""
    footage: Sequence[Sequence[str]]
    """For each frame, what is doubtful in the footage itself."""
    turn: float
    """Degrees by which subject and camera turn to each other."""
    motion: float
    """How far the footage moves the subject, as a share of its size (metrics/motion.py)."""
    never_seen: float
    """Share of the surface that no frame shows."""
    rival_gap: float | None
    """Relative distance of the nearest rival of the camera; None where not known."""


@dataclass(frozen=True)
class Doubt:
    """How doubtful a frame is, and why."""

    doubt: float
    """0 to 1."""
    reasons: list[str]
    """In plain words; empty below DOUBTFUL."""


@dataclass(frozen=True)
class Verdict:
    """Whether the result as a whole can be trusted."""

    trust: str
    """good, careful or poor."""
    sentence: str
    """Why, and what can be done about it."""


@dataclass(frozen=True)
class Trust:
    """What the report says of a result's quality."""

    measures: Measures
    doubts: list[Doubt]
    """One for each frame."""
    verdict: Verdict

    @property
    def doubtful_frames(self) -> list[int]:
        """Numbers of the clip's frames."""
        return [int(n) for n, d in zip(self.measures.frames, self.doubts, strict=True) if d.doubt >= DOUBTFUL]


@dataclass(frozen=True)
class _Evidence:
    """One kind of evidence against frames."""

    values: np.ndarray
    """(T,) 1 at its limit, NaN where not known."""
    brief: str
    """What is wrong, of many frames."""
    detail: Callable[[int], str]
    """What is wrong with the t-th frame."""


@dataclass(frozen=True)
class _Cause:
    """Something that speaks against the whole result."""

    trust: str
    """careful or poor."""
    text: str
    advice: str


def measure(result: Reconstruction, footage: Footage, scores: MaskScores, colour_error: Mapping[int, float],
            hypotheses: Sequence[ScoredHypothesis]) -> Measures:
    """What there is to say of a result with its coverage.

    footage       what it was made of
    scores        of its silhouettes against the masks
    colour_error  of 255, by number of the clip's frame
    hypotheses    the cameras that were tried, the chosen one first
    """
    if result.coverage is None:
        raise ValueError("the result has no coverage")
    jumped = flipped(result)
    j = dict(zip(scores.frames.tolist(), scores.j, strict=True))
    return Measures(
        frames=result.frames, j=_by_frame(result, j), flow_residual=flow_residuals(result, footage),
        colour_error=_by_frame(result, colour_error), flipped=jumped, footage=footage.doubts,
        turn=turn(result, ~jumped), motion=motion(footage),
        never_seen=never_seen(result, result.coverage), rival_gap=rival_gap(hypotheses))


def judge(found: Measures) -> Trust:
    """Doubts and verdict that follow from what was measured."""
    of_frames = doubts(found)
    return Trust(found, of_frames, verdict(found, of_frames))


def doubts(found: Measures) -> list[Doubt]:
    """The doubt of each frame: the largest of what its evidences give."""
    evidences = _evidences(found)
    result = []
    for t, known in enumerate(found.footage):
        values = [float(np.clip(np.nan_to_num(evidence.values[t]) * DOUBTFUL, 0, 1)) for evidence in evidences]
        reasons = [e.detail(t) for value, e in zip(values, evidences, strict=True) if value >= DOUBTFUL]
        result.append(Doubt(max([*values, DOUBTFUL if known else 0.0]), [*known, *reasons]))
    return result


def verdict(found: Measures, of_frames: Sequence[Doubt]) -> Verdict:
    """What speaks against the whole result, the gravest first, and what can be done; or that nothing does."""
    causes = _fit_causes(found) + _frame_causes(found, of_frames)
    of_camera = _camera_causes(found)
    if len(of_camera) > 1:
        # Each alone leaves a result that is right from the camera's side. Together not even that side is known.
        of_camera = [replace(cause, trust="poor") for cause in of_camera]
    causes = sorted(causes + of_camera, key=lambda cause: cause.trust != "poor")
    if not causes:
        return _good(found, sum(doubt.doubt >= DOUBTFUL for doubt in of_frames))
    trust = causes[0].trust
    if found.motion < STILL:
        # Whatever else is wrong, other footage is what helps.
        causes.sort(key=lambda cause: cause is not of_camera[0])
    opening = {"careful": "Use this result with care", "poor": "Do not trust this result"}[trust]
    texts = "; and ".join(cause.text for cause in causes)
    return Verdict(trust, f"{opening}: {texts}. {causes[0].advice}.")


def _good(found: Measures, doubtful: int) -> Verdict:
    """That nothing speaks against a result, and what is not known even so."""
    text = ("This result can be trusted where the clip shows the subject: the mesh fits the masks and moves with the "
            f"footage while it turns by {found.turn:.0f} degrees")
    if found.never_seen > 0.005:
        text += f"; {found.never_seen:.0%} of the surface is never seen and is a guess"
    if doubtful:
        text += f"; look at {doubtful} doubtful frame{'s' * (doubtful > 1)}"
    return Verdict("good", text + ".")


def _evidences(found: Measures) -> list[_Evidence]:
    j, colour = _median(found.j), _median(found.colour_error)
    return [
        _Evidence(np.fmax((j - found.j) / POOR_FIT, (1 - found.j) / (1 - UNTRUSTED_FIT)),
                  "the mesh does not fit their masks",
                  lambda t: f"the mesh fits its mask poorly (J {found.j[t]:.2f}, the clip's median is {j:.2f})"),
        _Evidence(found.flow_residual / STRAY, "the surface does not move with the footage",
                  lambda t: "the surface does not move with the footage (it strays by "
                            f"{found.flow_residual[t]:.0%} of the subject's size)"),
        _Evidence((found.colour_error - colour) / OFF_COLOUR, "the texture does not match the footage",
                  lambda t: f"the texture does not match the footage (off by {found.colour_error[t]:.0f} of 255, the "
                            f"clip's median is {colour:.0f})"),
        _Evidence(found.flipped / DOUBTFUL, "the camera jumps", lambda t: "the camera jumps to another side"),
    ]


def _fit_causes(found: Measures) -> list[_Cause]:
    mean = float(np.nanmean(found.j)) if np.isfinite(found.j).any() else 1.0
    if mean >= FAIR_FIT:
        return []
    return [_Cause("poor" if mean < UNTRUSTED_FIT else "careful", f"the mesh covers the masks poorly (J {mean:.2f})",
                   "Look at the overlay, and check that the masks show the whole subject and nothing else")]


def _frame_causes(found: Measures, of_frames: Sequence[Doubt]) -> list[_Cause]:
    doubtful = np.array([doubt.doubt >= DOUBTFUL for doubt in of_frames])
    causes = []
    if found.flipped.any():
        numbers = found.frames[found.flipped]
        which = f"frame {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} frames from {numbers[0]} on"
        causes.append(_Cause("careful", f"the camera jumps to another side of the subject in {which}",
                             "Reconstruct without these frames, or with another seed"))
    unchecked = np.isnan(found.flow_residual)
    if unchecked.mean() > MOSTLY_UNCHECKED:
        causes.append(_Cause(
            "careful", f"the motion of the surface could not be checked in {unchecked.sum()} of {len(unchecked)} "
            "frames, where the subject moves too fast or shows too little detail for optical flow",
            "Look at the overlay whether the texture stays in its place"))
    if doubtful.mean() > FEW_DOUBTFUL:
        text = f"{doubtful.sum()} of {len(doubtful)} frames are doubtful{_mostly(found, doubtful)}"
        # Where the footage alone is in doubt, the result may be right all the same.
        contradicted = np.any([np.nan_to_num(evidence.values) >= 1 for evidence in _evidences(found)], axis=0)
        if contradicted.mean() > MANY_DOUBTFUL:
            advice = "Try another seed, or a part of the clip that shows the subject sharp and whole"
            causes.append(_Cause("poor", text, advice))
        else:
            causes.append(_Cause("careful", text, "Look at these frames before you use them"))
    return causes


def _mostly(found: Measures, doubtful: np.ndarray) -> str:
    """What is wrong with the most of the doubtful frames (T,) bool, if anything is with half of them."""
    counts = {e.brief: int((np.nan_to_num(e.values) >= 1).sum()) for e in _evidences(found)}
    counts["the footage shows the subject badly"] = sum(bool(known) for known in found.footage)
    brief = max(counts, key=lambda name: counts[name])
    return f", mostly because {brief}" if counts[brief] >= doubtful.sum() / 2 else ""


def _camera_causes(found: Measures) -> list[_Cause]:
    if found.motion < STILL:
        # How far the camera turned, and which of its rivals is near, was decided by nothing.
        return [_Cause(
            "careful", "nothing moves in these frames, and one view shows the subject from one side only: its far side "
            "and how thick it is are guesses", "Choose frames in which the subject or the camera turns, or film it "
            "from more sides")]
    causes = []
    if found.turn < SMALL_TURN and found.never_seen > LARGE_UNSEEN:
        causes.append(_Cause(
            "careful", f"the subject turns by only {found.turn:.0f} degrees before the camera, too little to know its "
            "far side and how thick it is", "Look at it only from near the camera, or film the subject from more "
            "sides"))
    if found.rival_gap is not None and found.rival_gap < NEAR_RIVAL:
        causes.append(_Cause(
            "careful", "seen from another side or turning the other way it would fit nearly as well, so front and back "
            "may be confused", "Look at the mesh from above: if it faces the wrong way, add a facing hint, or try "
            "another seed"))
    return causes


def _by_frame(result: Reconstruction, values: Mapping[int, float]) -> np.ndarray:
    return np.array([values.get(int(number), np.nan) for number in result.frames])


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan
