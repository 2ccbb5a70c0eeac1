"""The mesh from five sides at chosen frames, grey, insides red: what the camera's view alone does not show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput, write_whole
from ..reconstruction import Reconstruction
from ..texture.view import camera_points, project
from .picture import draw, label, look_from, paste
from .preview import BOARD, CAPTION, DISTANCE, GAP, MARGIN, PAPER

SIDES = {"from +x": (90.0, 0.0), "from -y": (0.0, 0.0), "from +y": (180.0, 0.0), "from above": (0.0, 89.9)}
"""Azimuth and elevation in degrees. No words like front: nothing tells a method which end of an animal is its head."""

CELL = 300
"""Side of each square picture, in pixels."""

FILLED = 0.9
"""How much of a cell's side the largest mesh takes."""


def spread_over(result: Reconstruction, count: int = 4) -> list[int]:
    """Places in the result, first and last among them, evenly apart."""
    return [int(place) for place in np.unique(np.linspace(0, len(result.frames) - 1, count).round())]


def write_sides(result: Reconstruction, places: Sequence[int], path: Path, title: str = "") -> None:
    """Writes a PNG with a row for each of the chosen places in the result."""
    sheet = sides_sheet(result, places, title)
    try:
        write_whole(path, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}); name another file") from None


def sides_sheet(result: Reconstruction, places: Sequence[int], title: str = "") -> np.ndarray:
    """(h, w, 3) uint8 RGB: the camera's view, then SIDES; each mesh is as large as in the other rows."""
    names = ["the clip's camera", *SIDES]
    step = CELL + GAP
    top = MARGIN + CAPTION
    sheet = np.full((top + len(places) * step + MARGIN - GAP, 2 * MARGIN + len(names) * step - GAP, 3), PAPER, np.uint8)
    for column, name in enumerate(names):
        label(sheet, f"{title}  {name}" if title and not column else name, MARGIN + column * step, MARGIN + 12, 10)
    camera_scale = FILLED * CELL / max(np.ptp(_projected(result, place), axis=0).max() for place in places)
    extent = max(np.ptp(result.vertices[place], axis=0).max() for place in places)
    for row, place in enumerate(places):
        cells = [_through_the_camera(result, place, camera_scale)]
        cells += [_from_side(result, place, extent, *side) for side in SIDES.values()]
        label(cells[0], str(result.frames[place]), 8, CELL - 9, 9)
        for column, cell in enumerate(cells):
            x, y = MARGIN + column * step, top + row * step
            sheet[y:y + CELL, x:x + CELL] = cell
    return sheet


def _projected(result: Reconstruction, place: int) -> np.ndarray:
    return project(camera_points(result, place), result.intrinsics[place])


def _through_the_camera(result: Reconstruction, place: int, scale: float) -> np.ndarray:
    """The mesh (CELL, CELL, 3) as the clip's camera sees it, in the middle, `scale` times as large as in the frame."""
    points_px = _projected(result, place)
    middle = (points_px.min(0) + points_px.max(0)) / 2
    focal, centre = result.intrinsics[place, :2], result.intrinsics[place, 2:]
    return _cell(result, camera_points(result, place), np.r_[focal * scale, (centre - middle) * scale + CELL / 2])


def _from_side(result: Reconstruction, place: int, extent: float, azimuth: float, elevation: float) -> np.ndarray:
    """The mesh (CELL, CELL, 3) from one side, in the middle; `extent` in object units fills the cell."""
    vertices = result.vertices[place]
    points = (vertices - (vertices.min(0) + vertices.max(0)) / 2) / extent @ look_from(azimuth, elevation).T
    focal = FILLED * CELL * DISTANCE
    return _cell(result, points + [0, 0, DISTANCE], np.array([focal, focal, CELL / 2, CELL / 2]))


def _cell(result: Reconstruction, points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    mesh = draw(points.astype(np.float32), result.faces, intrinsics.astype(np.float32), (CELL, CELL), samples=3,
                mark_inside=True)
    return paste(mesh, np.full((CELL, CELL, 3), BOARD, np.uint8))
