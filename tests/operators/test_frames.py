"""Frames as Images and masks of Blender's own: what is rendered is what Blender shows, frame for frame."""

import contextlib
import json
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_clips import (
    SIZE,
    compositing_of,
    make_images,
    make_movie,
    pixels_of,
    place_of_level,
    shown_place,
    turned_by_90,
    with_frame_durations,
)

LARGE = (96, 64)

pytestmark = pytest.mark.slow


@pytest.fixture
def activity(extension):
    return extension.module("properties").frames_activity


def frames(source="CLIP", **arguments):
    assert bpy.ops.vmr.frames_as_images(source=source, **arguments) == {"FINISHED"}
    return bpy.context.scene.vmr.clip


def images_of(clip):
    return sorted(Path(clip.filepath).parent.glob("*.png"))


def places(clip):
    """Which of the frames of `make_images` or `make_movie` each image shows, at its middle; None for black."""
    found = []
    for path in images_of(clip):
        pixels = pixels_of(path)
        found.append(place_of_level(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 0]))
    return found


def numbers(clip):
    return [int(path.stem) for path in images_of(clip)]


def strips_of(scene):
    editor = scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def in_sequencer(scene, strip):
    scene.render.resolution_x, scene.render.resolution_y = LARGE
    scene.sequence_editor.active_strip = strip
    return strip


def test_a_movie_of_variable_rate_becomes_what_is_shown(extension, tmp_path):
    path = make_movie(tmp_path / "phone.mp4", count=8)
    path.write_bytes(with_frame_durations(path.read_bytes(), [(4, 1), (4, 3)]))
    clip = bpy.data.movieclips.load(str(path))
    clip.frame_start = 11
    shown = [shown_place(clip, frame, tmp_path) for frame in range(11, 11 + clip.frame_duration)]
    bpy.context.scene.vmr.clip = clip
    bpy.ops.vmr.mark_box(box=(10, 8, 30, 20))
    clip.display_aspect = 16, 11
    images = frames()
    assert places(images) == shown and numbers(images) == list(range(len(shown)))
    assert Path(images.filepath).parent == tmp_path / "phone frames 2" and images.frame_start == 11
    assert images.vmr.subjects[0].marks[0].box[:] == (10, 8, 30, 20), "what was marked went along"
    assert images.display_aspect[:] == (16, 11), "so did the shape of its pixels"
    source = extension.module("scene.clip").clip_source(images)
    assert (source.first, source.last) == (0, len(shown) - 1)


def test_a_turned_movie_becomes_what_is_shown(extension, tmp_path):
    path = make_movie(tmp_path / "phone.mp4", count=3)
    path.write_bytes(turned_by_90(path.read_bytes()))
    clip = bpy.data.movieclips.load(str(path))
    images = frames()
    assert tuple(images.size) == tuple(clip.size) and places(images) == [0, 1, 2]


def test_alpha_of_a_clip_is_kept(extension, tmp_path):
    for number in range(1, 4):
        image = bpy.data.images.new("cut out", *SIZE, alpha=True)
        pixels = np.ones((SIZE[1], SIZE[0], 4), np.float32)
        pixels[:, :SIZE[0] // 2, 3] = 0
        image.pixels.foreach_set(pixels.ravel())
        image.filepath_raw, image.file_format = str(tmp_path / f"cut_{number}.png"), "PNG"
        image.save()
    bpy.data.movieclips.load(str(tmp_path / "cut_1.png"))
    alpha = pixels_of(images_of(frames())[1])[..., 3]
    assert (alpha[:, :SIZE[0] // 2] == 0).all() and (alpha[:, SIZE[0] // 2:] == 1).all()


@pytest.mark.parametrize("offset", [0, 2])
def test_a_sequence_keeps_its_numbers(extension, tmp_path, offset):
    make_images(tmp_path / "walk", range(100, 112))
    clip = bpy.data.movieclips.load(str(tmp_path / "walk" / "f_0105.png"))
    clip.frame_start, clip.frame_offset = 30, offset
    images = frames()
    assert numbers(images) == list(range(105 + offset, 112)) and places(images) == list(range(5 + offset, 12))
    scene_frame = extension.module("scene.clip").scene_frame
    for number in (105 + offset, 111):
        assert scene_frame(images, number) == scene_frame(clip, number)


def test_light_of_exr_images_becomes_colours_of_the_screen(extension, tmp_path):
    for number in range(1, 4):
        image = bpy.data.images.new("light", *SIZE, float_buffer=True)
        image.pixels.foreach_set(np.tile(np.float32([0.2140411, 0.0, 1.0, 1]), SIZE[0] * SIZE[1]))
        image.filepath_raw, image.file_format = str(tmp_path / f"light_{number}.exr"), "OPEN_EXR"
        image.save()
    clip = bpy.data.movieclips.load(str(tmp_path / "light_1.exr"))
    with pytest.raises(Exception, match=r"\.exr; needs Frames of This Clip"):
        extension.module("scene.clip").clip_source(clip)
    images = frames()
    assert numbers(images) == [1, 2, 3]
    light = pixels_of(tmp_path / "light_1.exr")[5, 5, :3]
    colours = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.allclose(pixels_of(images_of(images)[0])[5, 5, :3], colours, atol=0.01) and 0.4 < colours[0] < 0.8


def test_colours_in_another_space_are_not_taken_as_they_are(extension, tmp_path):
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "walk", range(3))))
    clip.colorspace_settings.name = "Linear Rec.709"
    with pytest.raises(Exception, match="found the colour space Linear Rec.709"):
        extension.module("scene.clip").clip_source(clip)
    dark = pixels_of(tmp_path / "walk" / "f_0002.png")[5, 5, 0]
    bright = pixels_of(images_of(frames())[2])[5, 5, 0]
    assert bright == pytest.approx(1.055 * dark ** (1 / 2.4) - 0.055, abs=0.01)


def test_a_strip_is_trimmed_moved_and_scaled_as_it_is_shown(extension, tmp_path):
    scene = bpy.context.scene
    movie = strips_of(scene).new_movie("walk", str(make_movie(tmp_path / "walk.mp4", count=8)), channel=2,
                                       frame_start=20)
    movie.frame_offset_start, movie.frame_offset_end = 2, 1
    movie.transform.scale_x = movie.transform.scale_y = 0.5
    movie.transform.offset_x = 10
    other = strips_of(scene).new_image("above", str(make_images(tmp_path / "other", [0])), channel=5, frame_start=1)
    other.frame_final_duration = 60
    in_sequencer(scene, movie)
    images = frames("STRIP")
    assert tuple(images.size) == LARGE and numbers(images) == list(range(22, 27)) and images.frame_start == 22
    pixels = pixels_of(images_of(images)[0])[..., 0]
    columns = np.flatnonzero(pixels[32] > 0.04)
    middle = (columns[0] + columns[-1] + 1) / 2
    assert place_of_level(pixels[32, round(middle)]) == 2
    assert middle == pytest.approx(LARGE[0] / 2 + 10, abs=1) and len(columns) == pytest.approx(SIZE[0] / 2, abs=2)
    assert [strip.mute for strip in strips_of(scene)] == [False, False], "the user's sequence stays as it was"


def test_a_strip_is_as_fast_as_its_speed_effect_makes_it(extension, tmp_path):
    scene = bpy.context.scene
    strips = strips_of(scene)
    walk = strips.new_image("walk", str(make_images(tmp_path / "walk", range(12))), channel=1, frame_start=1)
    for path in sorted((tmp_path / "walk").iterdir())[1:]:
        walk.elements.append(path.name)
    length = {"length": 12} if bpy.app.version >= (5, 0) else {"frame_end": 13}
    on = {"input1" if bpy.app.version >= (4, 5) else "seq1": walk}
    speed = strips.new_effect("speed", "SPEED", 2, frame_start=1, **length, **on)
    speed.speed_control, speed.speed_factor = "MULTIPLY", 2.0
    in_sequencer(scene, walk)
    found = places(frames("STRIP"))[:6]
    # Blender 5.2 rounds some frames down, in what it shows as well.
    assert found[0] == 0 and found[-1] == 10 and np.abs(np.subtract(found, range(0, 12, 2))).max() <= 2


def test_the_alpha_of_the_compositor_comes_along(extension, tmp_path):
    scene = bpy.context.scene
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "walk", range(4))))
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.frame_start, scene.frame_end = 1, 3
    key(scene, clip)
    images = frames("COMPOSITING", folder=str(tmp_path / "keyed"))
    assert numbers(images) == [1, 2, 3]
    pixels = pixels_of(images_of(images)[0])
    assert pixels[5, 5, 3] == pytest.approx(0.25, abs=0.01)


def key(scene, clip):
    """Compositing nodes that show a clip with an alpha of 0.25."""
    tree, output = compositing_of(scene)
    source, alpha = tree.nodes.new("CompositorNodeMovieClip"), tree.nodes.new("CompositorNodeSetAlpha")
    source.clip = clip
    alpha.inputs["Alpha"].default_value = 0.25
    tree.links.new(source.outputs["Image"], alpha.inputs["Image"])
    tree.links.new(alpha.outputs["Image"], output)


def rectangle(mask, left, bottom, right, top):
    """A layer with a spline around a part of the frame, in the mask's own units."""
    layer = mask.layers.new()
    spline = layer.splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, place in zip(spline.points, [(left, bottom), (right, bottom), (right, top), (left, top)], strict=True):
        point.handle_left_type = point.handle_right_type = "VECTOR"
        point.co = point.handle_left = point.handle_right = place
    return spline


@pytest.fixture
def drawn(extension, footage):
    """A clip of frames 3 to 7, shown from scene frame 21 on, with a subject and a mask in the middle of the frame."""
    footage.frame_start = 21
    assert bpy.ops.vmr.add_subject(name="Fox") == {"FINISHED"}
    footage.vmr.subjects[0].mask = bpy.data.masks.new("outline")
    rectangle(footage.vmr.subjects[0].mask, 0.25, 0.4, 0.5, 0.6)
    return footage


def white(path):
    """Left, right, top and bottom of what is white, px; the bottom right ones lie beyond it."""
    pixels = pixels_of(path)[::-1, :, 0] > 0.5
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return columns[0], columns[-1] + 1, rows[0], rows[-1] + 1


def test_a_mask_datablock_gives_the_masks_of_all_frames(drawn):
    assert bpy.ops.vmr.use_mask() == {"FINISHED"}
    folder = Path(drawn.vmr.subjects[0].inputs.masks)
    images = sorted(folder.glob("*.png"))
    assert [path.name for path in images] == [f"{number:06d}.png" for number in range(3, 8)]
    # A mask's units are the longer side of the frame, of 64 x 48 px, around its middle.
    assert {white(path) for path in images} == {(16, 32, 18, 30)}
    subject = drawn.vmr.subjects[0]
    assert (subject.found, subject.stale, len(subject.doubts)) == (5, False, 0)


@contextlib.contextmanager
def in_mask_editor(clip, mask):
    """A Movie Clip Editor in which a mask is drawn: the shapes of splines have no other way to be keyed."""
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    space = area.spaces.active
    space.clip, space.mode, space.mask = clip, "MASK", mask
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        yield


def test_splines_move_and_are_feathered(drawn):
    mask = drawn.vmr.subjects[0].mask
    spline = mask.layers[0].splines[0]
    for frame, shift in ((21, 0.0), (25, 0.25)):
        bpy.context.scene.frame_set(frame)
        for point, x in zip(spline.points, (0.25, 0.5, 0.5, 0.25), strict=True):
            point.co[0] = point.handle_left[0] = point.handle_right[0] = x + shift
            point.select = True  # only of chosen points the shape is keyed
        with in_mask_editor(drawn, mask):
            assert bpy.ops.mask.shape_key_insert() == {"FINISHED"}
    assert bpy.ops.vmr.use_mask() == {"FINISHED"}
    images = sorted(Path(drawn.vmr.subjects[0].inputs.masks).glob("*.png"))
    assert white(images[0])[:2] == (16, 32) and white(images[-1])[:2] == (32, 48)
    assert 16 < white(images[2])[0] < 32


def test_a_mask_marks_a_frame_for_the_others(drawn, backend, tmp_path):
    bpy.context.scene.frame_set(23)
    assert bpy.ops.vmr.use_mask(this_frame=True) == {"FINISHED"}
    (mark,) = drawn.vmr.subjects[0].marks
    assert mark.frame == 5 and white(Path(mark.mask)) == (16, 32, 18, 30)
    assert bpy.ops.vmr.find_masks() == {"FINISHED"}
    (request,) = tmp_path.glob("walk masks/Fox/segment.json")
    assert json.loads(request.read_text())["marks"][0]["mask"] == mark.mask
    assert bpy.ops.vmr.mark_box(box=(18, 16, 12, 16)) == {"FINISHED"}
    assert tuple(mark.box) == (18, 16, 12, 16) and not mark.mask, "a box comes in place of the mask"


def test_what_cannot_be_shown_is_said_in_one_line(extension, tmp_path, footage):
    scene = bpy.context.scene
    with pytest.raises(RuntimeError, match="found no active strip"):
        bpy.ops.vmr.frames_as_images(source="STRIP")
    with pytest.raises(RuntimeError, match="found no compositing nodes"):
        bpy.ops.vmr.frames_as_images(source="COMPOSITING")
    lost = make_movie(tmp_path / "lost.mp4", count=3)
    in_sequencer(scene, strips_of(scene).new_movie("lost", str(lost), channel=1, frame_start=1))
    lost.unlink()
    with pytest.raises(RuntimeError, match=r"lost\.mp4: file of the strip lost not found"):
        bpy.ops.vmr.frames_as_images(source="STRIP")
    mine = tmp_path / "mine"
    make_images(mine, range(2))
    with pytest.raises(RuntimeError, match="mine: found files that are not rendered frames"):
        bpy.ops.vmr.frames_as_images(source="CLIP", folder=str(mine))
    assert len(list(mine.iterdir())) == 2
    bpy.ops.vmr.add_subject(name="Fox")
    footage.vmr.subjects[0].mask = bpy.data.masks.new("empty")
    with pytest.raises(RuntimeError, match="mask empty: found no spline"):
        bpy.ops.vmr.use_mask()
    assert len(bpy.data.movieclips) == 1


def test_frames_are_rendered_anew_and_a_cancelled_rendering_leaves_the_old_ones(extension, activity, tmp_path):
    first = make_images(tmp_path / "walk", range(3))
    clip = bpy.data.movieclips.load(str(first))
    images = frames()
    before = {path.name: path.stat().st_mtime_ns for path in images_of(images)}
    bpy.context.scene.vmr.clip = clip
    frames_module = extension.module("operators.frames")
    shown = extension.module("scene.shown_frames").shown_by_clip(clip)
    child = frames_module.rendering(Path(images.filepath).parent, shown, clip)
    time.sleep(0.3)
    child.cancel()
    while child.running:
        time.sleep(0.05)
    assert child.error == "" and not (child.folder / "copy.blend").exists()
    assert {path.name: path.stat().st_mtime_ns for path in images_of(images)} == before
    assert frames() == images, "the same clip shows them, as they are now"
