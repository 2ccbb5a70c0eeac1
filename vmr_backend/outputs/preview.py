"""The contact sheet: footage, the mesh over it, the rest mesh from four sides, and the mesh from beside the camera."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from ..job import write_whole
from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from ..texture.view import camera_points, project
from .picture import Picture, dimmed, draw, label, look_from, outline, paste

Images = Callable[[int], np.ndarray]

COLUMNS = 8
CELL = 236
"""Side of each square picture, in pixels."""
GAP, MARGIN, CAPTION = 6, 22, 30
PAPER, BOARD = (19, 21, 25), (34, 37, 43)
"""Colours of the sheet and behind meshes that stand alone."""

SIDES = ((0.0, 4.0), (90.0, 4.0), (180.0, 4.0), (38.0, 30.0))
"""Azimuth and elevation, degrees, from which the rest mesh is shown: along its length, from the side, obliquely."""

DISTANCE = 6.0
"""Of the camera from a mesh that stands alone, in the mesh's extents: little perspective."""


def write_preview(result: Reconstruction, texture: np.ndarray, frames: Images, path: Path, title: str = "") -> None:
    """Writes a PNG.

    texture   (H, W, 3) uint8 RGB, row 0 at v = 1
    frames    called with the place of a frame in the result, gives (H, W, 3) uint8 RGB of the full frame
    """
    sheet = contact_sheet(result, texture, frames, title)
    write_whole(path, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())


def contact_sheet(result: Reconstruction, texture: np.ndarray, frames: Images, title: str = "") -> np.ndarray:
    """(h, w, 3) uint8 RGB."""
    chosen = np.unique(np.linspace(0, len(result.frames) - 1, COLUMNS).round().astype(int))
    half = _crop_half(result, chosen)

    def cells(frame: tuple[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = frame[0]
        crop, intrinsics = _crop(result, index, half, frame[1])
        points = camera_points(result, index)
        mesh = draw(points, result.faces, intrinsics, (CELL, CELL), uv=result.uv, texture=texture, shading=0.35,
                    samples=3)
        footage = outline(mesh, crop, 1)
        label(footage, str(result.frames[index]), 8, CELL - 9, 9)
        return footage, paste(mesh, dimmed(crop)), _alone(_turned(points), result, texture, half, intrinsics)

    footage, over, beside = zip(*in_parallel(cells, ((i, frames(i)) for i in chosen.tolist())), strict=True)
    rest = list(in_parallel(lambda look: _rest(result, look[0], *look[1]), product((None, texture), SIDES)))
    return _sheet([("Footage with the outline of the mesh", footage), ("Textured mesh over the same footage", over),
                   ("Rest mesh from four sides, grey, then textured", rest),
                   ("The same frames seen from the side, 90 degrees from the camera", beside)], title)


def _crop_half(result: Reconstruction, chosen: np.ndarray) -> float:
    """Half the side, in pixels of the full frame, of a square that holds the mesh in each of the chosen frames."""
    boxes = [project(camera_points(result, int(i)), result.intrinsics[i]) for i in chosen]
    largest = max(np.ptp(box, axis=0).max() for box in boxes)
    return float(np.clip(0.58 * largest, 4, max(result.image_size)))


def _crop(result: Reconstruction, index: int, half: float, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The footage (CELL, CELL, 3) round the mesh, and the intrinsics (4,) of that picture."""
    points_px = project(camera_points(result, index), result.intrinsics[index])
    corner = (points_px.min(0) + points_px.max(0)) / 2 - half
    scale = CELL / (2 * half)
    # Pixel centres lie at +0.5 in both pictures.
    shift = 0.5 * scale - 0.5 - corner * scale
    transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    smooth = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    if scale < 1:       # warpAffine does not average what it shrinks
        image = cv2.GaussianBlur(image, (0, 0), 0.5 / scale)
        smooth = cv2.INTER_LINEAR
    crop = cv2.warpAffine(image, transform, (CELL, CELL), flags=smooth, borderValue=BOARD)
    focal, centre = result.intrinsics[index, :2] * scale, (result.intrinsics[index, 2:] - corner) * scale
    return crop, np.concatenate([focal, centre]).astype(np.float32)


def _turned(points: np.ndarray) -> np.ndarray:
    """Points (V, 3) in camera space turned by 90 degrees about the vertical through their middle."""
    middle = (points.min(0) + points.max(0)) / 2
    return (points - middle) @ np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32) + middle


def _alone(points: np.ndarray, result: Reconstruction, texture: np.ndarray, half: float,
           intrinsics: np.ndarray) -> np.ndarray:
    """The mesh (CELL, CELL, 3) over an empty board, centred, as large as in the crop of its frame."""
    middle = (points.min(0) + points.max(0)) / 2
    focal = intrinsics[:2] / middle[2] * DISTANCE
    points = points - middle + np.array([0, 0, DISTANCE], np.float32)
    return _over_board(points, result, texture, np.array([*focal, CELL / 2, CELL / 2], np.float32))


def _rest(result: Reconstruction, texture: np.ndarray | None, azimuth: float, elevation: float) -> np.ndarray:
    """The rest mesh (CELL, CELL, 3) from one side."""
    rest = result.rest_vertices - (result.rest_vertices.min(0) + result.rest_vertices.max(0)) / 2
    extent = np.ptp(rest, axis=0).max()
    points = rest / extent @ look_from(azimuth, elevation).T.astype(np.float32)
    focal = 0.86 * CELL * DISTANCE
    points = (points + [0, 0, DISTANCE]).astype(np.float32)
    return _over_board(points, result, texture, np.array([focal, focal, CELL / 2, CELL / 2], np.float32))


def _over_board(points: np.ndarray, result: Reconstruction, texture: np.ndarray | None,
                intrinsics: np.ndarray) -> np.ndarray:
    shading = 1.0 if texture is None else 0.5
    mesh: Picture | None = draw(points, result.faces, intrinsics, (CELL, CELL), uv=result.uv, texture=texture,
                                shading=shading, samples=3)
    return paste(mesh, np.full((CELL, CELL, 3), BOARD, np.uint8))


def _sheet(rows: list[tuple[str, list[np.ndarray]]], title: str) -> np.ndarray:
    """Rows of cells under their captions on one sheet."""
    top = MARGIN + (34 if title else 0)
    step = CAPTION + CELL + GAP
    width = 2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP
    sheet = np.full((top + len(rows) * step + MARGIN - GAP, width, 3), PAPER, np.uint8)
    if title:
        label(sheet, title, MARGIN, MARGIN + 18, 15, (240, 242, 245))
    for number, (caption, cells) in enumerate(rows):
        y = top + number * step
        label(sheet, caption, MARGIN, y + 18, 10)
        for column, cell in enumerate(cells):
            x = MARGIN + column * (CELL + GAP)
            sheet[y + CAPTION:y + CAPTION + CELL, x:x + CELL] = cell
    return sheet
