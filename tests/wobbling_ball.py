"""A small reconstruction with a known answer: a ball that wobbles and turns, filmed by a camera that circles it."""

import bpy
import numpy as np
from video_mesh_reconstruction.vmr_backend.reconstruction import TEXTURE_NAME, Reconstruction

COLUMNS, ROWS = 24, 12


def wobbling_ball(numbers=range(5), size=(160, 120), centre=(70.0, 66.0), focal=(300.0, 300.0)) -> Reconstruction:
    """One frame for each of `numbers`; what happens depends on the number, not on the place in the list."""
    numbers = np.array(list(numbers), np.int32)
    rest, faces, uv = ball()
    phase = (numbers - numbers[0])[:, None] * 0.5
    turned = rest[None] @ np.stack([_about_z(p) for p in 0.3 * phase[:, 0]])
    wobble = 1 + 0.2 * np.sin(6 * rest[None, :, 2] + phase) * np.cos(2 * phase + 3 * rest[None, :, 0])
    poses = [_look_from(0.6 + 0.25 * p, 0.3 + 0.1 * np.sin(p), 3.0 + 0.2 * np.sin(2 * p)) for p in phase[:, 0]]
    return Reconstruction(
        numbers, (turned * wobble[..., None]).astype(np.float32), rest, faces, uv,
        np.stack([r for r, _ in poses]).astype(np.float32), np.stack([t for _, t in poses]).astype(np.float32),
        np.tile(np.float32([*focal, *centre]), (len(numbers), 1)), np.array(size, np.int32))


def ball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) of a ball of radius 0.5, faces (F, 3), uv (F, 3, 2) with a seam."""
    row, column = np.mgrid[1:ROWS, 0:COLUMNS]
    down, along = np.pi * row / ROWS, 2 * np.pi * column / COLUMNS
    rings = np.stack([np.sin(down) * np.cos(along), np.sin(down) * np.sin(along), np.cos(down)], -1).reshape(-1, 3)
    vertices = 0.5 * np.concatenate([rings, [[0, 0, 1], [0, 0, -1]]])
    north, south = len(rings), len(rings) + 1

    def corner(i, j):
        return north if i == 0 else south if i == ROWS else (i - 1) * COLUMNS + j % COLUMNS

    faces, uv = [], []
    for i in range(ROWS):
        for j in range(COLUMNS):
            a, b, c, d = (i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)
            triangles = [t for t, is_real in (((a, b, c), i < ROWS - 1), ((a, c, d), i > 0)) if is_real]
            faces += [[corner(*p) for p in triangle] for triangle in triangles]
            uv += [[(p[1] / COLUMNS, 1 - p[0] / ROWS) for p in triangle] for triangle in triangles]
    return vertices.astype(np.float32), np.array(faces, np.int32), np.array(uv, np.float32)


def save_texture(folder, width=64) -> np.ndarray:
    """Write texture.png; its colours (width / 2, width, 3) float32, bottom row first: red along u, green along v."""
    v, u = np.mgrid[0 : width // 2, 0:width] / np.array([width / 2, width])[:, None, None]
    colours = np.stack([u, v, np.full_like(u, 0.25), np.ones_like(u)], -1).astype(np.float32)
    image = bpy.data.images.new("texture", width, width // 2)
    image.pixels.foreach_set(colours.ravel())
    image.filepath_raw, image.file_format = str(folder / TEXTURE_NAME), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return colours[..., :3]


def drawn_mask(result: Reconstruction, index: int) -> np.ndarray:
    """(H, W) bool: the pixels whose centre lies in a projected face at the `index`-th frame."""
    width, height = result.image_size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    mask = np.zeros((height, width), bool)
    for a, b, c in result.projected()[index][result.faces].astype(np.float64):
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        mask |= np.all([s >= 0 for s in sides], 0) | np.all([s <= 0 for s in sides], 0)
    return mask


def _about_z(angle) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def _look_from(azimuth, elevation, distance) -> tuple[np.ndarray, np.ndarray]:
    """Object-to-camera rotation (3, 3) and translation (3,) of a camera that looks at the origin."""
    ahead = -np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead]), np.array([0, 0, distance])
