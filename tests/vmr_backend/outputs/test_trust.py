"""Doubts and verdict follow from what is measured: worse never makes better, and every cause is named."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from turning_eggs import speckled, write

from vmr_backend.metrics.coverage import coverage
from vmr_backend.metrics.mask_agreement import evaluate
from vmr_backend.outputs.trust import DOUBTFUL, Measures, doubts, judge, measure
from vmr_backend.video.footage import load_footage

FRAMES = 20


def sound(**changes) -> Measures:
    """What is measured of a sound result, but for `changes`."""
    random = np.random.default_rng(0)
    values = {
        "frames": np.arange(100, 100 + FRAMES, dtype=np.int32), "j": 0.95 + 0.02 * random.random(FRAMES),
        "flow_residual": 0.006 + 0.004 * random.random(FRAMES), "colour_error": 12 + 4 * random.random(FRAMES),
        "flipped": np.zeros(FRAMES, bool), "footage": [[] for _ in range(FRAMES)], "turn": 100.0, "motion": 0.6,
        "never_seen": 0.2, "rival_gap": 0.08}
    return Measures(**(values | changes))


def with_one(name, value, place=7, **changes) -> Measures:
    found = sound(**changes)
    values = getattr(found, name).copy()
    values[place] = value
    return replace(found, **{name: values})


def test_a_sound_result_is_trusted_and_none_of_its_frames_doubted():
    trust = judge(sound())
    assert trust.verdict.trust == "good"
    assert "turns by 100 degrees" in trust.verdict.sentence and "20% of the surface is never seen" in \
        trust.verdict.sentence
    assert all(doubt.doubt < 0.3 and not doubt.reasons for doubt in trust.doubts)


@pytest.mark.parametrize("name, limit, gone, text", [
    ("j", 0.84, 0.6, "fits its mask poorly"), ("flow_residual", 0.045, 0.2, "does not move with the footage"),
    ("colour_error", 42.0, 90.0, "does not match the footage"),
])
def test_one_bad_frame_is_found_and_the_more_doubtful_the_worse(name, limit, gone, text):
    bad, worse = doubts(with_one(name, limit)), doubts(with_one(name, gone))
    assert DOUBTFUL <= bad[7].doubt < 0.7 and worse[7].doubt == 1
    assert len(bad[7].reasons) == 1 and text in bad[7].reasons[0]
    assert all(not doubt.reasons for t, doubt in enumerate(bad) if t != 7)
    trust = judge(with_one(name, limit))
    assert trust.verdict.trust == "good" and "look at 1 doubtful frame." in trust.verdict.sentence


def test_what_is_not_known_of_a_frame_does_not_speak_against_it():
    nothing = np.full(FRAMES, np.nan)
    for unknown in ({"colour_error": nothing, "rival_gap": None}, {"j": nothing}, {"flow_residual": nothing}):
        trust = judge(sound(**unknown))
        assert all(doubt.doubt < 0.3 and not doubt.reasons for doubt in trust.doubts)
        assert trust.verdict.trust == ("careful" if "flow_residual" in unknown else "good")


def test_doubts_of_the_footage_come_first_and_make_a_frame_doubtful():
    footage = [[] for _ in range(FRAMES)]
    footage[3] = ["cut off by the left border"]
    found = doubts(with_one("j", 0.5, place=3, footage=footage))
    assert found[3].reasons[0] == "cut off by the left border" and len(found[3].reasons) == 2
    assert doubts(sound(footage=footage))[3].doubt == DOUBTFUL


def test_a_flipped_frame_is_named():
    trust = judge(with_one("flipped", True, place=4))
    assert trust.doubts[4].doubt == 1 and "camera jumps" in trust.doubts[4].reasons[0]
    assert trust.verdict.trust == "careful" and "in frame 104" in trust.verdict.sentence
    several = sound(flipped=np.isin(np.arange(FRAMES), [4, 5]))
    assert "in 2 frames from 104 on" in judge(several).verdict.sentence


def many(share, name="flow_residual", value=0.07):
    values = getattr(sound(), name).copy()
    values[:round(share * FRAMES)] = value
    return sound(**{name: values})


@pytest.mark.parametrize("found, trust, text", [
    (sound(j=np.full(FRAMES, 0.6)), "poor", "covers the masks poorly (J 0.60)"),
    (sound(j=np.full(FRAMES, 0.8)), "careful", "covers the masks poorly (J 0.80)"),
    (many(0.1), "good", "look at 2 doubtful frames"),
    (many(0.2), "careful", "4 of 20 frames are doubtful, mostly because the surface does not move with the footage"),
    (many(0.5), "poor", "10 of 20 frames are doubtful"),
    (many(0.45, value=np.nan), "good", "turns by 100 degrees"),
    (many(0.6, value=np.nan), "careful", "could not be checked in 12 of 20 frames"),
    (many(0.2, "j", 0.7), "careful", "mostly because the mesh does not fit their masks"),
    (sound(footage=[["cut off by the left border"]] * 12 + [[]] * 8), "careful",
     "12 of 20 frames are doubtful, mostly because the footage shows the subject badly"),
    (sound(turn=16.0, never_seen=0.47), "careful", "turns by only 16 degrees"),
    (sound(turn=16.0, never_seen=0.1), "good", "turns by 16 degrees"),
    (sound(rival_gap=0.004), "careful", "front and back may be confused"),
    (sound(turn=16.0, never_seen=0.47, rival_gap=0.004), "poor", "front and back may be confused"),
])
def test_the_verdict_names_its_cause_and_what_to_do(found, trust, text):
    verdict = judge(found).verdict
    assert verdict.trust == trust and text in verdict.sentence
    opening = {"good": "This result can be trusted", "careful": "Use this result with care",
               "poor": "Do not trust this result"}[trust]
    assert verdict.sentence.startswith(opening) and verdict.sentence.endswith(".") and "\n" not in verdict.sentence
    assert trust == "good" or verdict.sentence.count(". ") == 1, "what is wrong, then what to do"


def test_where_nothing_moves_the_verdict_says_so_and_nothing_of_turns_that_noise_decided():
    still = {"turn": 13.0, "never_seen": 0.5, "rival_gap": 0.004}
    verdict = judge(sound(motion=0.0, **still)).verdict
    assert verdict.trust == "careful"
    assert verdict.sentence.startswith("Use this result with care: nothing moves in these frames, and one view shows ")
    assert "13 degrees" not in verdict.sentence and "seed" not in verdict.sentence
    assert "Choose frames in which the subject or the camera turns" in verdict.sentence
    assert "nothing moves" not in judge(sound(motion=0.02, **still)).verdict.sentence, "a little is something"


def test_where_nothing_moves_other_frames_are_the_advice_whatever_else_is_wrong():
    verdict = judge(replace(many(0.5), motion=0.0)).verdict
    assert verdict.trust == "poor" and "10 of 20 frames are doubtful" in verdict.sentence
    assert verdict.sentence.startswith("Do not trust this result: nothing moves in these frames")
    assert "seed" not in verdict.sentence


def test_the_gravest_cause_comes_first_and_gives_the_advice():
    verdict = judge(replace(many(0.5), turn=10.0, never_seen=0.5)).verdict
    assert verdict.trust == "poor"
    assert verdict.sentence.index("10 of 20 frames") < verdict.sentence.index("turns by only 10")
    assert "try another seed" in verdict.sentence.lower()


@pytest.fixture(scope="module")
def turning(egg_seen_from, filmed, tmp_path_factory):
    """An egg that turns by 4 degrees a frame: its film, and the footage that is read from it."""
    marked = np.random.default_rng(0).integers(40, 220, (16, 32, 3), np.uint8)
    film = filmed(egg_seen_from(np.arange(10) * 4.0), cv2.resize(marked, (128, 64), interpolation=cv2.INTER_CUBIC))
    folder = tmp_path_factory.mktemp("egg")
    for name, images in (("frames", film.images), ("masks", [mask * np.uint8(255) for mask in film.masks])):
        (folder / name).mkdir()
        for t, image in enumerate(images):
            cv2.imwrite(str(folder / name / f"{t:02d}.png"), image[..., ::-1] if image.ndim == 3 else image)
    return film, load_footage(folder / "frames", folder / "masks", crop_size=96)


def measured(film, footage, result, colour_error):
    covered = replace(result, coverage=coverage(result))
    return measure(covered, footage, evaluate(result, dict(enumerate(film.masks))), colour_error, [])


def test_the_true_surface_of_a_film_is_found_to_fit_it(turning):
    film, footage = turning
    found = measured(film, footage, film.result, {0: 5.0, 3: 7.0})
    assert (found.j == 1).all() and not found.flipped.any() and found.rival_gap is None
    assert found.turn == pytest.approx(36, abs=1) and found.motion > 0.1 and 0.3 < found.never_seen < 0.5
    assert np.flatnonzero(np.isfinite(found.colour_error)).tolist() == [0, 3]
    assert found.flow_residual.max() < 0.01
    assert "turns by only" in judge(found).verdict.sentence


def test_one_that_turns_the_wrong_way_is_told_by_the_flow_alone(turning, egg_seen_from):
    film, footage = turning
    found = measured(film, footage, egg_seen_from(-np.arange(10) * 4.0), {})
    assert found.j.mean() > 0.9, "its outline is nearly the same"
    assert found.flow_residual.min() > 0.04
    assert judge(found).verdict.trust == "poor"


def test_of_one_picture_shown_again_and_again_no_turn_is_told(filmed, egg_seen_from, tmp_path):
    film = filmed(egg_seen_from([0.0] * 6), speckled())
    footage = load_footage(write(tmp_path / "frames", [image[..., ::-1] for image in film.images]),
                           write(tmp_path / "masks", [mask * np.uint8(255) for mask in film.masks]), crop_size=64)
    found = measured(film, footage, egg_seen_from(np.linspace(0, 13, 6)), {})
    assert found.turn == pytest.approx(13, abs=1) and found.motion == 0
    sentence = judge(found).verdict.sentence
    assert "nothing moves in these frames" in sentence and "13 degrees" not in sentence


def test_without_coverage_there_is_nothing_to_judge(turning):
    film, footage = turning
    with pytest.raises(ValueError, match="no coverage"):
        measure(film.result, footage, evaluate(film.result, dict(enumerate(film.masks))), {}, [])
