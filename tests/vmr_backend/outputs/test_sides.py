"""The picture from five sides: each cell shows its side, and only insides are red."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vmr_backend.job import BadInput
from vmr_backend.outputs import sides
from vmr_backend.outputs.picture import draw
from vmr_backend.outputs.sides import sides_sheet, write_sides
from vmr_backend.texture.view import camera_points

CELL = 80


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(sides, "CELL", CELL)


def cells(sheet, rows=1):
    """(rows, 5, CELL, CELL, 3)"""
    left, top, step = sides.MARGIN, sides.MARGIN + sides.CAPTION, CELL + sides.GAP
    return np.array([[sheet[top + y * step:, left + x * step:][:CELL, :CELL] for x in range(5)] for y in range(rows)])


def extent(cell):
    """Width and height in pixels of what stands before the board."""
    there = np.abs(cell.astype(int) - sides.BOARD).max(2) > 20
    return np.ptp(np.flatnonzero(there.any(0))) + 1, np.ptp(np.flatnonzero(there.any(1))) + 1


def red(image):
    return (image[..., 0] > 2 * image[..., 1].astype(int) + 20).sum()


def test_each_side_shows_its_extents(egg):
    """The egg measures 0.7, 1.0 and 0.8 along x, y and z."""
    _, x, front, back, above = cells(sides_sheet(egg.result, [0]))[0]
    long, wide, high = (sides.FILLED * CELL * size for size in (1.0, 0.7, 0.8))
    for cell, expected in ((x, (long, high)), (front, (wide, high)), (back, (wide, high)), (above, (wide, long))):
        assert extent(cell) == pytest.approx(expected, abs=2.5)


def test_the_first_column_is_what_the_camera_sees(egg):
    """Turned by a right angle, the camera sees the egg's tip, then its side; both rows at one scale."""
    sheet = cells(sides_sheet(egg.result, [0, 3]), rows=2)[:, :, :-20]     # without the frames' numbers
    ratio = extent(sheet[1, 0])[0] / extent(sheet[0, 0])[0]
    true = [np.ptp(np.flatnonzero(egg.masks[place].any(0))) for place in (0, 3)]
    assert ratio == pytest.approx(true[1] / true[0], rel=0.05)


def test_insides_are_red_and_nothing_else_is(egg):
    assert red(sides_sheet(egg.result, [0])) == 0
    inside_out = replace(egg.result, faces=egg.result.faces[:, ::-1].copy())
    drawn = draw(camera_points(inside_out, 0), inside_out.faces, inside_out.intrinsics[0], (120, 100), mark_inside=True)
    assert red(drawn.colour) == pytest.approx((drawn.alpha > 0).sum(), rel=0.02)
    opened = replace(egg.result, faces=egg.result.faces[egg.result.rest_vertices[egg.result.faces].mean(1)[:, 1] > 0])
    _, _, front, back, _ = cells(sides_sheet(replace(opened, uv=opened.uv[:len(opened.faces)]), [0]))[0]
    assert red(front) > 500 and red(back) == 0, "half an egg shows its inside from the open side alone"


def test_the_picture_is_a_file(egg, tmp_path):
    write_sides(egg.result, [0, 5], tmp_path / "sides.png", "egg")
    assert np.array_equal(cv2.imread(str(tmp_path / "sides.png"))[..., ::-1], sides_sheet(egg.result, [0, 5], "egg"))
    with pytest.raises(BadInput, match="cannot be written"):
        write_sides(egg.result, [0], tmp_path / "none" / "sides.png")
