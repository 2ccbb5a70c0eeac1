"""A model adapted to a clip: what is shown while it is, and that an interrupted run goes on as if it had not been."""

import numpy as np
import pytest
from spheres import fitter_of
from tiny_models import loaded

from vmr_backend.checkpoint import Checkpoint
from vmr_backend.fitting.stages import Course
from vmr_backend.job import BadInput
from vmr_backend.priors import NOTHING, Priors, Rotations
from vmr_backend.settings import Settings
from vmr_backend.vmr.clip import adapt_clip, initial_priors, predicted_landmarks

QUICK = Settings().with_values({"window": 6, "stride": 4, "iterations": 3, "frames_per_iteration": 3, "visits": 4})


class Interrupted(Exception):
    pass


def adapted(egg, folder=None, resume=False, until=None, settings=QUICK, shown=None, begun=None):
    def progress(stage, step, steps):
        if begun is not None:
            begun.append(stage)
        if (stage, step) == until:
            raise Interrupted

    def show(make):
        if shown is not None:
            shown.append(make())

    return adapt_clip(fitter_of(egg.footage, settings), loaded(), Course(3, progress, show, folder, resume), NOTHING)


@pytest.fixture(scope="module")
def shown():
    """What the run of `whole` showed on its way."""
    return []


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(turning_egg, whole_folder, shown):
    return adapted(turning_egg, whole_folder, shown=shown)


@pytest.fixture(scope="module")
def stopped_folder(turning_egg, tmp_path_factory):
    """Left by a run that was stopped as it adapted."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        adapted(turning_egg, folder, until=("adaptation", 5))
    return folder


@pytest.mark.parametrize("until", [("adaptation", 2), ("adaptation", 5), ("subject", 4)], ids=lambda until: str(until))
def test_a_resumed_run_ends_as_an_uninterrupted_one(turning_egg, whole, tmp_path, until):
    with pytest.raises(Interrupted):
        adapted(turning_egg, tmp_path, until=until)
    resumed = adapted(turning_egg, tmp_path, resume=True)
    for name in ("vertices", "camera_rotation", "camera_translation"):
        found, expected = (getattr(run.reconstruction, name) for run in (resumed, whole))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert resumed.seconds.keys() == {"prediction", "adaptation", "subject"}


def test_a_run_that_was_stopped_after_its_last_stage_does_not_fit_again(turning_egg, whole, whole_folder):
    begun = []
    resumed = adapted(turning_egg, whole_folder, resume=True, begun=begun)
    assert not begun
    for name in ("vertices", "camera_rotation", "camera_translation", "intrinsics"):
        found, expected = (getattr(run.reconstruction, name) for run in (resumed, whole))
        np.testing.assert_array_equal(found, expected)
    assert resumed.seconds.keys() == {"prediction", "adaptation", "subject"}


@pytest.mark.parametrize("change", ["settings", "model", "torn"])
def test_a_checkpoint_of_another_run_is_refused_in_one_line(turning_egg, stopped_folder, tmp_path, change):
    found = Checkpoint.load(stopped_folder)
    facts, tensors = dict(found.facts), dict(found.tensors)
    if change == "settings":
        facts["settings"] = facts["settings"] | {"stride": 5}
    elif change == "model":
        facts["model"] = {"iou": 0.6}
    else:
        del tensors["told.weight"]
    Checkpoint(facts, tensors).save(tmp_path)
    with pytest.raises(BadInput, match="without resuming"):
        adapted(turning_egg, tmp_path, resume=True)


def test_what_is_found_so_far_can_be_shown_at_every_stage(whole, shown):
    result = whole.reconstruction
    assert len(shown) > 3, "after the initial prediction, each window, and steps of the closing pass"
    for one in shown:
        one.check("shown")
        assert np.array_equal(one.frames, result.frames) and np.array_equal(one.faces, result.faces)
    np.testing.assert_allclose(shown[-1].vertices, result.vertices, atol=1e-6)


def test_keypoints_have_names_and_the_vertices_they_are_made_of(whole):
    result = whole.reconstruction
    assert result.keypoint_names.tolist() == ["left end", "right end"]
    np.testing.assert_array_equal(result.keypoint_weights @ result.vertices[2], result.vertices[2, [0, 7]])


def test_initial_priors_are_a_shape_as_large_as_the_crops_show_it_and_headings(turning_egg):
    fitter = fitter_of(turning_egg.footage, QUICK)
    found = initial_priors(fitter, loaded(), NOTHING, lambda *_: None)
    assert len(found.hints.frames) == 9 and set(found.hints.frames) <= set(turning_egg.footage.numbers)
    np.testing.assert_allclose(found.hints.matrices @ found.hints.matrices.transpose(0, 2, 1),
                               np.broadcast_to(np.eye(3), (9, 3, 3)), atol=1e-5)
    own = Rotations(turning_egg.footage.numbers[4:5], np.eye(3)[None])
    with_own = initial_priors(fitter, loaded(), Priors(hints=own), lambda *_: None)
    index = with_own.hints.frames.tolist().index(own.frames[0])
    assert len(with_own.hints.frames) > 8 and np.array_equal(with_own.hints.matrices[index], np.eye(3))
    assert np.array_equal(found.shape.sphere.faces, loaded().model.shape.sphere.faces)
    assert 0.5 < np.ptp(found.shape.vertices, axis=0).max() < 3, "crops are two units across"


def test_landmarks_are_keypoints_where_the_prediction_shows_them(turning_egg):
    """The same as of a run that does nothing but predict, in its full frames."""
    footage = turning_egg.footage
    found = predicted_landmarks(fitter_of(footage, QUICK), loaded(), NOTHING, lambda *_: None).landmarks
    assert found.names == ("left end", "right end")
    settings = QUICK.with_values({"iterations": 0, "visits": 1})
    stopped = []
    adapt_clip(fitter_of(footage, settings), loaded(), Course(3, lambda *_: None, lambda make: stopped.append(make())),
               NOTHING)
    shown = stopped[0].projected()[:, [0, 7]]
    pixels = footage.crop_centre[:, None] + footage.crop_half[:, None, None] * found.points
    np.testing.assert_allclose(pixels, shown, atol=0.5)
    turning = np.diff(found.headings)
    assert found.headings.shape == footage.numbers.shape and np.abs(turning).max() < np.pi
