"""The fit from footage to reconstruction: a turning egg is found, in the format's terms, the same every time."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from spheres import fitter_of

from vmr_backend.checkpoint import Checkpoint
from vmr_backend.fitting.result import Fit
from vmr_backend.fitting.stages import Course
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.job import BadInput
from vmr_backend.lasr.fit import costs_of, fit
from vmr_backend.metrics.mask_agreement import evaluate
from vmr_backend.priors import Priors, Rotations, Shape
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import Settings

NOTHING = Priors()


class Interrupted(Exception):
    """As when the user stops a run."""


def run(egg, settings, seed=0, folder=None, resume=False, until=None, news=None, known=NOTHING, kept=()) -> Fit:
    """A fit of the egg; `until` names a stage that is interrupted as it begins, `kept` those at whose beginning its
    folder is copied to where `left_at` says: as a run that is killed there leaves it."""

    def progress(stage, step, steps):
        if stage == until:
            raise Interrupted
        if stage in kept and not left_at(stage, folder).exists():
            shutil.copytree(folder, left_at(stage, folder))
        if news is not None:
            news.append((stage, step, steps))

    course = Course(seed, progress, folder=folder, resume=resume)
    return fit(fitter_of(egg.footage, settings), course, known)


def left_at(stage: str, folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-{stage}")


def same(a: Reconstruction, b: Reconstruction) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Reconstruction))


@pytest.fixture(scope="module")
def brief(quick) -> Settings:
    """All stages, for tests that ask nothing of how well the egg is found. Seven bones may be eight: a pair more."""
    return quick.with_values({"rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 3, "bones": 7})


@pytest.fixture(scope="module")
def turns(quick) -> Settings:
    """The camera, and hardly a bone, for tests of nothing but how the egg turns."""
    return quick.with_values({"coarse_iterations": 10, "fine_iterations": 0})


@pytest.fixture(scope="module")
def short_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("short")


@pytest.fixture(scope="module")
def short(turning_egg, brief, short_folder) -> Fit:
    return run(turning_egg, brief, folder=short_folder, kept=("coarse", "finest"))


@pytest.fixture(scope="module")
def news() -> list:
    """Progress as the run of `found` told it."""
    return []


@pytest.fixture(scope="module")
def found(turning_egg, quick, news) -> Fit:
    return run(turning_egg, quick, news=news)


@pytest.fixture(scope="module")
def result(found) -> Reconstruction:
    return found.reconstruction


def test_the_silhouettes_are_found(turning_egg, result):
    scores = evaluate(result, turning_egg.masks)
    assert scores.j.mean() > 0.85 and scores.j.min() > 0.75


def test_the_result_obeys_the_format(turning_egg, result):
    result.check("result")
    assert np.array_equal(result.frames, turning_egg.footage.numbers)
    assert tuple(result.image_size) == turning_egg.footage.image_size
    assert np.ptp(result.rest_vertices, 0).max() == pytest.approx(1, abs=1e-5)
    assert result.uv.min() >= 0 and result.uv.max() <= 1
    assert (result.in_camera()[..., 2] > 0).all()
    assert len(result.bone_parents) in (6, 7), "a pair may be one bone more than asked for"


def test_faces_look_outward(result):
    corners = result.rest_vertices[result.faces].astype(np.float64)
    assert np.linalg.det(corners).sum() > 0, "the volume within is positive"


def test_vertices_are_the_rest_shape_skinned_by_the_bones(result):
    transforms = result.bone_pose.astype(np.float64) @ np.linalg.inv(result.bone_rest.astype(np.float64))
    rest = np.concatenate([result.rest_vertices, np.ones((len(result.rest_vertices), 1))], 1)
    skinned = np.einsum("vb,tbij,vj->tvi", result.skin_weights, transforms, rest)[..., :3]
    assert np.abs(skinned - result.vertices).max() < 1e-4
    assert np.abs(result.vertices - result.rest_vertices).max() > 1e-4, "the bones do move"
    assert (result.skin_weights > 0).sum(1).max() <= 4


def test_bones_are_one_tree_of_joints_with_names(result):
    count = len(result.bone_parents)
    assert result.bone_parents[0] == -1 and (result.bone_parents[1:] >= 0).all()
    assert (result.bone_parents < np.arange(count)).all(), "parents before their children"
    assert len(set(result.bone_names)) == count and result.bone_names[0] == "root"
    assert result.bone_lengths.shape == (count,) and (result.bone_lengths > 0).all()
    assert (result.skin_weights.max(0) > 0).all(), "every bone holds something"
    tails = result.bone_rest[:, :3, 3] + result.bone_lengths[:, None] * result.bone_rest[:, :3, 1]
    reach = np.linalg.norm(tails[:, None] - result.rest_vertices, axis=2).min(1)
    assert reach.max() < 0.35, "bones end in the body or near it"


def test_bones_move_rigidly(result):
    turn = result.bone_pose[..., :3, :3].astype(np.float64)
    assert np.abs(turn @ turn.swapaxes(-1, -2) - np.eye(3)).max() < 1e-5
    assert np.allclose(np.linalg.det(turn), 1, atol=1e-5)


def test_the_camera_has_the_angle_of_view_asked_for(turning_egg, quick, result):
    width, height = turning_egg.footage.image_size
    half_angle = np.degrees(np.arctan(width / 2 / result.intrinsics[:, 0]))
    assert np.allclose(2 * half_angle, quick.field_of_view, atol=1e-4)
    assert np.array_equal(result.intrinsics[:, 0], result.intrinsics[:, 1])
    assert (result.intrinsics[:, 2:] == [width / 2, height / 2]).all()


@pytest.fixture(scope="module")
def zooming(quick):
    return quick.with_values({"fit_focal_length": True, "field_of_view": 60.0, "fine_iterations": 6})


@pytest.fixture(scope="module")
def zoomed_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("zoomed")


@pytest.fixture(scope="module")
def zoomed(turning_egg, zooming, zoomed_folder) -> Reconstruction:
    return run(turning_egg, zooming, folder=zoomed_folder, kept=("finest",)).reconstruction


def test_a_fitted_focal_length_is_one_for_the_clip_and_the_result_is_seen_with_it(turning_egg, zoomed):
    result = zoomed
    width, height = turning_egg.footage.image_size
    start = width / 2 / np.tan(np.radians(30))
    focal = result.intrinsics[:, :2]
    assert np.ptp(focal) == 0 and 0.01 < abs(np.log(focal[0, 0] / start)) < 1
    assert (result.intrinsics[:, 2:] == [width / 2, height / 2]).all()
    assert evaluate(result, turning_egg.masks).j.mean() > 0.85


def test_a_resumed_run_goes_on_with_the_focal_length_fitted_so_far(turning_egg, zooming, zoomed, zoomed_folder):
    resumed = run(turning_egg, zooming, folder=left_at("finest", zoomed_folder), resume=True)
    assert same(resumed.reconstruction, zoomed)


def test_every_stage_of_the_plan_is_told_from_start_to_end(quick, found, news):
    stages = list(costs_of(quick))
    assert list(dict.fromkeys(stage for stage, _, _ in news)) == stages == list(found.seconds)
    for stage in stages:
        steps = [step for name, step, _ in news if name == stage]
        (total,) = {total for name, _, total in news if name == stage}
        assert steps == sorted(steps) and steps[0] <= 1 and steps[-1] == total
    assert all(seconds > 0 for seconds in found.seconds.values())


def camera_found(egg, settings, folder, seed=0) -> dict[str, torch.Tensor]:
    """What a run has fitted as its bones are to come."""
    folder.mkdir()
    with pytest.raises(Interrupted):
        run(egg, settings, seed, folder, until="coarse")
    return Checkpoint.load(folder).tensors


def test_the_same_seed_gives_the_same_and_another_seed_another(turning_egg, brief, short, short_folder, tmp_path):
    """On one machine: another one's kernels, compiled for its own processor, round otherwise. From the camera on, the
    same result follows, as tests of resumed runs show."""
    found = Checkpoint.load(left_at("coarse", short_folder)).tensors
    torch.manual_seed(99)
    np.random.seed(99)
    again = camera_found(turning_egg, brief, tmp_path / "again")
    assert again.keys() == found.keys() and all(torch.equal(again[name], found[name]) for name in found)
    other = camera_found(turning_egg, brief, tmp_path / "other", seed=1)
    assert not torch.equal(other["body.mesh.latent"], found["body.mesh.latent"])


def turn_of(result: Reconstruction) -> Rotation:
    """From the first frame to the last, as the camera sees it."""
    first, last = result.camera_rotation[[0, -1]].astype(np.float64)
    return Rotation.from_matrix(last @ first.T)


def test_the_turn_is_found_in_its_sense_and_nearly_in_its_size(turning_egg, turns):
    longer = turns.with_values({"hypotheses": 4, "rigid_iterations": 60, "frames_per_iteration": 8})
    found, true = turn_of(run(turning_egg, longer).reconstruction), turn_of(turning_egg.truth)
    assert np.degrees(true.magnitude()) == pytest.approx(60, abs=1)
    assert np.degrees((found.inv() * true).magnitude()) < 15


def test_a_known_camera_is_the_one_of_the_result_and_never_fitted(turning_egg, turns):
    """The solve's object axes are others than the result's; the hint, off by 10 degrees, says which way it faces."""
    truth = turning_egg.truth.camera_rotation.astype(np.float64)
    by, off = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix(), Rotation.from_euler("z", 10, degrees=True).as_matrix()
    numbers = turning_egg.footage.numbers
    known = Priors(focal_length=364.0, principal_point=(81.0, 70.0), solve=Rotations(numbers, truth @ by),
                  hints=Rotations(numbers[4:5], truth[4:5] @ off))
    found = run(turning_egg, turns.with_values({"fit_focal_length": True}), known=known)
    result = found.reconstruction
    assert len(found.hypotheses) == 1, "nothing is left to try"
    assert np.array_equal(result.intrinsics, np.float32([[364, 364, 81, 70]]).repeat(len(numbers), 0))
    assert np.degrees((turn_of(result).inv() * turn_of(turning_egg.truth)).magnitude()) < 6
    error = Rotation.from_matrix(result.camera_rotation @ truth.transpose(0, 2, 1)).magnitude()
    assert np.degrees(error).max() < 15


def test_a_hint_says_which_of_two_ways_the_subject_turns_and_faces(turning_egg, turns):
    """Front and back of the egg look alike: seen from the other side, it is the hint that counts."""
    truth = turning_egg.truth.camera_rotation.astype(np.float64)
    numbers = turning_egg.footage.numbers
    about = Rotation.from_euler("z", 180, degrees=True).as_matrix()
    for turned in (np.eye(3), about):
        known = Priors(hints=Rotations(numbers[[0, -1]], (truth @ turned)[[0, -1]]))
        result = run(turning_egg, turns, known=known).reconstruction
        error = Rotation.from_matrix(result.camera_rotation @ (truth @ turned).transpose(0, 2, 1)).magnitude()
        assert np.degrees(error).max() < 20


@pytest.fixture
def stopped(short, short_folder, tmp_path):
    """Gives a copy of the folder of a run that ended as a stage began."""
    return lambda stage: shutil.copytree(left_at(stage, short_folder), tmp_path / "stopped")


@pytest.mark.parametrize("stage", ["coarse", "finest"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(turning_egg, brief, short, stopped, stage):
    news = []
    resumed = run(turning_egg, brief, folder=stopped(stage), resume=True, news=news)
    assert news[0][0] == stage, "what is done is not done again"
    assert same(resumed.reconstruction, short.reconstruction)
    assert resumed.hypotheses == short.hypotheses and resumed.seconds.keys() == short.seconds.keys()


def test_a_run_that_is_not_resumed_starts_over(turning_egg, brief, stopped):
    news = []
    with pytest.raises(Interrupted):
        run(turning_egg, brief, folder=stopped("finest"), until="coarse", news=news)
    assert {stage for stage, _, _ in news} == {"camera"}


@pytest.mark.parametrize("spoil", ["settings", "clip", "facts"])
def test_a_checkpoint_that_does_not_fit_is_told(turning_egg, brief, stopped, spoil):
    folder = stopped("finest")
    if spoil == "settings":
        brief = brief.with_values({"bones": 5})
    elif spoil == "clip":
        cut = {f.name: getattr(turning_egg.footage, f.name) for f in fields(turning_egg.footage)}
        cut = {name: value[:-1] if isinstance(value, (np.ndarray, list)) and len(value) else value
               for name, value in cut.items()}
        turning_egg = replace(turning_egg, footage=replace(turning_egg.footage, **cut))
    else:
        checkpoint = Checkpoint.load(folder)
        Checkpoint({"seconds": checkpoint.facts["seconds"]}, checkpoint.tensors).save(folder)
    with pytest.raises(BadInput, match="run again without resuming") as error:
        run(turning_egg, brief, folder=folder, resume=True)
    assert len(str(error.value).splitlines()) == 1 and str(folder) in str(error.value)


@pytest.mark.parametrize("values", [
    {"hypotheses": 1, "rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 1, "bones": 1,
     "frames_per_iteration": 2},
    {"rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 0, "bones": 128, "upright": False,
     "frames_per_iteration": 64},
    {"rigid_iterations": 13, "coarse_iterations": 10, "fine_iterations": 0, "subdivision": 4},
    {name: 0 for name in ("weight_mask", "weight_flow", "weight_colour", "weight_arap", "weight_motion")}
    | {"rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 0},
], ids=["least", "most bones", "finer mesh", "without weights"])
def test_settings_at_the_ends_of_their_ranges_give_a_result(turning_egg, quick, values):
    settings = quick.with_values(values)
    found = run(turning_egg, settings)
    found.reconstruction.check("result")
    assert len(found.reconstruction.rest_vertices) == 10 * 4**settings.subdivision + 2
    assert list(found.seconds) == list(costs_of(settings))
    assert len(found.hypotheses) == settings.hypotheses


def test_two_frames_are_enough(turning_egg, quick):
    footage = turning_egg.footage
    pair = replace(
        footage, **{name: getattr(footage, name)[:2] for name in
                    ("numbers", "images", "masks", "inside", "crop_centre", "crop_half", "frame_weight", "doubts",
                     "sharpness")},
        **{name: getattr(footage, name)[:1] for name in
           ("flow_forward", "flow_backward", "flow_forward_weight", "flow_backward_weight")})
    quick = quick.with_values({"rigid_iterations": 20, "coarse_iterations": 10, "fine_iterations": 0})
    run(replace(turning_egg, footage=pair), quick).reconstruction.check("result")


def test_a_shape_and_headings_known_beforehand_leave_one_hypothesis_that_is_near_from_the_start(turning_egg, turns):
    truth, footage = turning_egg.truth, turning_egg.footage
    middle = len(truth.frames) // 2
    pixels = truth.intrinsics[middle, 0] / truth.camera_translation[middle, 2] / footage.crop_half[middle]
    ball = icosphere(3)
    size = np.abs(truth.rest_vertices).max(0)
    headings = Rotations(truth.frames[::3], truth.camera_rotation[::3].astype(np.float64))
    known = Priors(float(truth.intrinsics[0, 0]), hints=headings, shape=Shape(ball.vertices * size * pixels, ball))
    begun = run(turning_egg, turns.with_values({"rigid_iterations": 10}), known=known)
    assert len(begun.hypotheses) == 1
    found = begun.reconstruction
    assert evaluate(found, turning_egg.masks).j.mean() > 0.85
    # Of nothing known, twenty iterations make a ball seen from anywhere, off by 0.58 across and 0.36 in height.
    error = Rotation.from_matrix(found.camera_rotation @ truth.camera_rotation.transpose(0, 2, 1)).magnitude()
    assert np.degrees(error).max() < 5
    np.testing.assert_allclose(np.ptp(found.rest_vertices, axis=0), np.ptp(truth.rest_vertices, axis=0), atol=0.15)
