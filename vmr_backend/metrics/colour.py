"""How well the textured mesh shows the footage again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from ..texture.view import camera_points, see, textured, window_of


def colour_errors(result: Reconstruction, texture: np.ndarray, frames: Callable[[int], np.ndarray],
                  masks: Callable[[int], np.ndarray]) -> dict[int, float]:
    """Mean absolute difference of colour, of 255, where mesh and mask overlap, by number of the clip's frame.

    texture   (H, W, 3) uint8 RGB, row 0 at v = 1
    frames    called with the index of a frame in the result, gives (H, W, 3) uint8 RGB of the full frame
    masks     likewise (H, W) bool
    Frames without overlap are left out.
    """
    size = (int(result.image_size[0]), int(result.image_size[1]))

    def error(frame: tuple[int, np.ndarray, np.ndarray]) -> float | None:
        index, image, mask = frame
        points, intrinsics = camera_points(result, index), result.intrinsics[index]
        window = window_of(points, intrinsics, size)
        if window is None:
            return None
        view = see(points, intrinsics, result.faces, window)
        both = view.drawn & window.cut(mask)
        if not both.any():
            return None
        return float(np.abs(textured(view, result.uv, texture)[both].astype(int) - window.cut(image)[both]).mean())

    errors = in_parallel(error, ((i, frames(i), masks(i)) for i in range(len(result.frames))))
    return {int(number): found for number, found in zip(result.frames, errors, strict=True) if found is not None}
