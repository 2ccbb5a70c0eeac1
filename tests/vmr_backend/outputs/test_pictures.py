"""The pictures of a run: meshes land where the footage shows them, and files open."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vmr_backend.job import BadInput
from vmr_backend.metrics.colour import colour_errors
from vmr_backend.outputs import overlay, preview
from vmr_backend.outputs.overlay import overlay_frame, write_overlay
from vmr_backend.outputs.picture import OUTLINE, draw, look_from, outline, paste
from vmr_backend.outputs.preview import contact_sheet, write_preview
from vmr_backend.texture.view import camera_points


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(preview, "CELL", 64)


def drawn(egg, index=0, **options):
    result = egg.result
    options = {"uv": result.uv, "texture": egg.texture, "shading": 0.0} | options
    return draw(camera_points(result, index), result.faces, result.intrinsics[index], (120, 100), **options)


def with_size(egg, width, height):
    """The egg's result for footage of another size, with the same picture stretched over it."""
    scale = np.tile(np.float32([width / 120, height / 100]), 2)
    return replace(egg.result, image_size=np.int32([width, height]), intrinsics=egg.result.intrinsics * scale)


@pytest.mark.parametrize("index", (0, 5))
def test_a_drawn_mesh_is_the_footage(egg, index):
    picture = paste(drawn(egg, index), np.full((100, 120, 3), (40, 200, 60), np.uint8))
    difference = np.abs(picture.astype(int) - egg.images[index]).mean(2)
    inner = cv2.erode(egg.masks[index].astype(np.uint8), np.ones((3, 3))) > 0
    outer = cv2.dilate(egg.masks[index].astype(np.uint8), np.ones((3, 3))) > 0
    assert difference[inner].mean() < 2 and difference[~outer].max() == 0


def test_edges_are_smooth(egg):
    alpha = drawn(egg).alpha
    assert np.isclose(alpha.sum(), egg.masks[0].sum(), rtol=0.01)
    assert ((alpha > 0) & (alpha < 1)).sum() > 50


def test_light_comes_from_above_on_both_sides_of_faces(egg):
    grey = drawn(egg, texture=None, shading=1.0)
    rows = np.flatnonzero(grey.alpha.max(1) == 1)
    column = grey.alpha.shape[1] // 2
    assert grey.colour[rows[3], column].mean() > 1.5 * grey.colour[rows[-3], column].mean()
    flipped = replace(egg, result=replace(egg.result, faces=egg.result.faces[:, ::-1], uv=egg.result.uv[:, ::-1]))
    inside_out = drawn(flipped, texture=None, shading=1.0)
    assert np.abs(inside_out.colour - grey.colour).max() < 1e-2


def test_the_outline_runs_along_the_border_of_the_mesh(egg):
    image = outline(drawn(egg), np.zeros((100, 120, 3), np.uint8), 1)
    marked = image[..., 2] > OUTLINE[2] // 2
    border = cv2.morphologyEx(egg.masks[0].astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5))) > 0
    assert marked.sum() > 100 and (border[marked]).all()


def test_a_mesh_out_of_the_picture_leaves_the_footage(egg):
    away = replace(egg.result, camera_translation=egg.result.camera_translation + np.float32([90, 0, 0]))
    assert draw(camera_points(away, 0), away.faces, away.intrinsics[0], (120, 100)) is None
    assert overlay_frame(away, egg.texture, egg.images[0], 0).any()
    assert contact_sheet(away, egg.texture, lambda i: egg.images[i]).any()


@pytest.mark.parametrize("size, expected", [((120, 100), (1152, 480)), ((121, 99), (1172, 480)),
                                            ((3840, 2160), (1920, 540)), ((1000, 300), (1600, 960))])
def test_the_overlay_is_of_a_size_that_players_take(egg, size, expected):
    result = with_size(egg, *size)
    image = np.zeros((*size[::-1], 3), np.uint8)
    height, width = overlay_frame(result, egg.texture, image, 0).shape[:2]
    assert (width, height) == expected and width % 2 == height % 2 == 0


def test_the_overlay_movie_has_all_frames(egg, tmp_path, capfd):
    steps = []
    write_overlay(egg.result, egg.texture, lambda i: egg.images[i], tmp_path / "overlay.mp4", 12.5,
                  lambda done, total: steps.append((done, total)))
    movie = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert movie.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    frames = []
    while (read := movie.read())[0]:
        frames.append(read[1][..., ::-1])
    assert len(frames) == len(steps) == 12 and steps[-1] == (12, 12)
    expected = overlay_frame(egg.result, egg.texture, egg.images[7], 7)
    assert np.abs(frames[7].astype(int) - expected).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]
    assert capfd.readouterr().err == "", "FFmpeg keeps quiet"


def test_a_movie_that_cannot_be_written_is_bad_input(egg, tmp_path):
    with pytest.raises(BadInput, match="cannot be written as a movie"):
        write_overlay(egg.result, egg.texture, lambda i: egg.images[i], tmp_path / "none" / "overlay.mp4")


def test_the_contact_sheet_shows_footage_and_mesh(egg, tmp_path):
    write_preview(egg.result, egg.texture, lambda i: egg.images[i], tmp_path / "preview.png", "An egg")
    sheet = cv2.imread(str(tmp_path / "preview.png"))[..., ::-1]
    assert sheet.shape[1] == 2 * preview.MARGIN + 8 * preview.CELL + 7 * preview.GAP
    first, centre = preview.MARGIN + 34 + preview.CAPTION + preview.CELL // 2, preview.MARGIN + preview.CELL // 2
    rows = [first + row * (preview.CAPTION + preview.CELL + preview.GAP) for row in range(4)]
    footage, over, rest, side = (sheet[row, centre].astype(int) for row in rows)
    assert np.abs(footage - over).max() < 70
    assert np.ptp(rest) < 15 < np.ptp(side), "the rest mesh is grey, the mesh from the side textured"
    assert (footage.astype(int) != preview.BOARD).any()


def test_a_clip_of_two_frames_has_a_contact_sheet_too(egg):
    names = ("frames", "vertices", "camera_rotation", "camera_translation", "intrinsics")
    two = replace(egg.result, **{name: getattr(egg.result, name)[:2] for name in names})
    assert contact_sheet(two, egg.texture, lambda i: egg.images[i]).shape == \
        contact_sheet(egg.result, egg.texture, lambda i: egg.images[i]).shape


def test_the_side_view_is_what_a_camera_beside_sees(egg):
    """Frame 0 looks at the egg's tip, frame 3 at its side; elevation is the same, so turning by 90 degrees agrees."""
    from_side = preview._alone(preview._turned(camera_points(egg.result, 0)), egg.result, egg.texture, 60.0,
                               egg.result.intrinsics[0])
    there = (from_side != preview.BOARD).any(2)
    width, height = np.ptp(np.flatnonzero(there.any(0))), np.ptp(np.flatnonzero(there.any(1)))
    assert width / height == pytest.approx(0.5 / 0.4, rel=0.08)


def test_look_from_names_sides_as_blender_does():
    front, side = look_from(0, 0), look_from(90, 0)
    assert np.allclose(front, [[1, 0, 0], [0, 0, -1], [0, 1, 0]]), "from -y: x to the right, z up"
    assert np.allclose(side[2], [-1, 0, 0]), "from +x"
    assert np.allclose(look_from(38, 30) @ look_from(38, 30).T, np.eye(3)) and np.isclose(np.linalg.det(side), 1)


def test_colour_errors_are_small_for_the_true_texture(egg):
    def mask(i):
        return egg.masks[i] if i else np.zeros_like(egg.masks[0])

    errors = colour_errors(egg.result, egg.texture, lambda i: egg.images[i], mask)
    assert list(errors) == list(range(1, 12)) and max(errors.values()) < 2
    off = colour_errors(egg.result, egg.texture, lambda i: egg.images[i] ^ 64, lambda i: egg.masks[i])
    assert min(off.values()) > 55


def test_codecs_are_tried_in_turn(egg, tmp_path, monkeypatch):
    monkeypatch.setattr(overlay, "CODECS", ("????", "mp4v"))
    write_overlay(egg.result, egg.texture, lambda i: egg.images[i], tmp_path / "overlay.mp4")
    assert cv2.VideoCapture(str(tmp_path / "overlay.mp4")).read()[0]
