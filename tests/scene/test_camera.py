"""The camera in the scene sees the result where the footage shows it."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_clips import pixels_of
from blender_view import seen_pixels
from wobbling_ball import drawn_mask, wobbling_ball


def zooming(result):
    """The same result with a lens that grows and a centre that wanders; the pixels keep their shape."""
    time = np.arange(len(result.frames), dtype=np.float32)[:, None]
    grown = result.intrinsics * (1 + 0.04 * time * np.float32([1, 1, 0, 0]))
    return replace(result, intrinsics=(grown + time * np.float32([0, 0, 2, -3])).astype(np.float32))


@pytest.mark.parametrize(
    "result",
    [
        wobbling_ball(range(105, 110)),
        wobbling_ball(range(105, 110), size=(120, 160), centre=(50, 95)),
        wobbling_ball([105, 109, 111], focal=(300, 220)),
        wobbling_ball([105, 109, 111], focal=(220, 300), size=(90, 140), centre=(55, 60)),
        zooming(wobbling_ball(range(105, 110))),
        zooming(wobbling_ball(range(105, 110), focal=(300, 240))),
    ],
    ids=["landscape", "portrait", "tall pixels", "wide pixels", "zoom", "zoom with tall pixels"],
)
def test_it_projects_as_the_result_does(add, result):
    added = add(result)
    for t, frame in enumerate(added.frames):
        assert np.abs(seen_pixels(added.camera, frame, result.vertices[t]) - result.projected()[t]).max() < 0.1


def test_a_steady_lens_is_fixed_and_a_zoom_is_keyed(add):
    assert add().camera.data.animation_data is None
    assert add(zooming(wobbling_ball(range(105, 110)))).camera.data.animation_data.action is not None


def test_between_two_frames_it_turns_the_short_way(add):
    """A camera that circles the ball twice passes every sign change that quaternions have."""
    result = wobbling_ball(range(105, 155))
    added = add(result)
    for t in range(len(added.frames) - 1):
        middle = seen_pixels(added.camera, added.frames[t] + 0.5, result.rest_vertices[:40])
        here, there = (seen_pixels(added.camera, added.frames[t + side], result.rest_vertices[:40]) for side in (0, 1))
        assert np.abs(middle - (here + there) / 2).max() < 2


def test_distant_and_near_subjects_are_within_its_clipping_range(add):
    far = wobbling_ball(range(105, 108), focal=(3e6, 3e6))
    far = replace(far, camera_translation=far.camera_translation * np.float32(1e4))
    for result in (far, wobbling_ball(range(105, 108))):
        camera = add(result).camera.data
        depth = result.in_camera()[..., 2]
        assert camera.clip_start < depth.min() and camera.clip_end > depth.max()


def test_the_clip_stands_behind_the_scene(add):
    added = add()
    (background,) = added.camera.data.background_images
    assert added.camera.data.show_background_images
    assert (background.source, background.clip) == ("MOVIE_CLIP", added.clip)


@pytest.mark.parametrize("size", [(160, 120), (90, 140)])
def test_a_render_covers_the_pixels_of_the_results_silhouette(add, tmp_path, size):
    added = add(wobbling_ball(range(105, 110), size=size, centre=(size[0] * 0.45, size[1] * 0.55)))
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.render.film_transparent = "CYCLES", 8, True
    scene.render.filepath = str(tmp_path / "mask.png")
    for t in (0, 3):
        scene.frame_set(added.frames[t])
        bpy.ops.render.render(write_still=True)
        rendered = pixels_of(tmp_path / "mask.png")[::-1, :, 3] > 0.5
        drawn = drawn_mask(added.result, t)
        assert drawn.sum() > 1000
        assert (rendered & drawn).sum() / (rendered | drawn).sum() > 0.97
