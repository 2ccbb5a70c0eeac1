"""Baking: an egg filmed in known colours gives these colours back, and plausible ones where no frame sees it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from odd_meshes import box_uv

from vmr_backend.geometry.sphere import U_MARGIN
from vmr_backend.texture import selection
from vmr_backend.texture.bake import MAX_ROWS, _robust_mean, bake_texture
from vmr_backend.texture.layout import lay_out
from vmr_backend.texture.selection import weighted_median
from vmr_backend.texture.view import look_up_uv

SIZE = 96


def baked(egg, images=None, masks=None, size=SIZE, **changes):
    images, masks = images or egg.images, masks or egg.masks
    result = replace(egg.result, **changes) if changes else egg.result
    return bake_texture(result, lambda i: images[i], lambda i: masks[i], size)


def error_of(texture, egg):
    """Mean difference from the truth at each texel, and which texels lie on the surface."""
    rows, columns = texture.coverage.shape
    true = cv2.resize(egg.texture, (columns, rows), interpolation=cv2.INTER_LINEAR)
    on_surface = np.zeros(rows * columns, bool)
    on_surface[lay_out(egg.result.uv, rows, columns).texel] = True
    return np.abs(texture.image.astype(float) - true).mean(2), on_surface.reshape(rows, columns)


def test_what_the_frames_show_comes_back(egg):
    texture = baked(egg)
    error, on_surface = error_of(texture, egg)
    seen = texture.coverage > 0
    assert texture.image.shape == (SIZE, 2 * SIZE, 3) and texture.image.dtype == np.uint8
    assert error[seen & on_surface].mean() < 1
    assert np.quantile(error[seen & on_surface], 0.99) < 4
    assert 0.75 < texture.seen < 0.95, "neither pole is seen at more than a grazing angle"


def test_a_map_of_six_islands_shows_the_same(egg_from_one_side):
    result = egg_from_one_side.result
    uv = box_uv(result.rest_vertices, result.faces).astype(np.float32)
    texture = baked(egg_from_one_side, uv=uv)
    layout = lay_out(uv, SIZE, 2 * SIZE)
    x, y, z = layout.interpolate(result.rest_vertices / [0.35, 0.5, 0.4], result.faces, slice(None)).T
    u, v = np.arctan2(x, -y) / (2 * np.pi) + 0.5, np.arcsin(z.clip(-1, 1)) / np.pi + 0.5
    true = look_up_uv(egg_from_one_side.texture, np.stack([(u + U_MARGIN) / (1 + 2 * U_MARGIN), v], 1))
    error = np.abs(texture.image.reshape(-1, 3)[layout.texel].astype(float) - true).mean(1)
    seen = texture.coverage.ravel()[layout.texel] > 0
    assert 0.3 < seen.mean() < 0.6 and error[seen].mean() < 1.5
    assert np.median(error[~seen & (x < -0.3)]) < 4, "mirrored, from islands to islands"


def test_fine_detail_is_not_blurred_by_many_frames(egg, filmed):
    detailed = egg.texture.copy()
    detailed[20:44, ::4] = 255 - detailed[20:44, ::4]
    texture = baked(filmed(egg.result, detailed))
    middle = texture.image[SIZE * 28 // 64:SIZE * 36 // 64, SIZE // 2:3 * SIZE // 2].astype(float)
    true = cv2.resize(detailed, (2 * SIZE, SIZE))[SIZE * 28 // 64:SIZE * 36 // 64, SIZE // 2:3 * SIZE // 2]
    assert middle.std(1).mean() > 0.6 * true.astype(float).std(1).mean()


def test_the_unseen_side_mirrors_the_seen_one(egg_from_one_side):
    texture = baked(egg_from_one_side)
    error, _ = error_of(texture, egg_from_one_side)
    mirrored = (texture.coverage[:, ::-1] > 0) & (texture.coverage == 0)
    assert mirrored.sum() > 0.2 * mirrored.size
    assert np.median(error[mirrored]) < 4


def test_no_texel_is_black_or_of_the_background(egg_from_one_side):
    image = baked(egg_from_one_side).image.astype(int)
    assert image.sum(2).min() > 0.7 * egg_from_one_side.texture.astype(int).sum(2).min()
    assert np.abs(image - [40, 200, 60]).sum(2).min() > 30


def test_without_symmetry_the_unseen_is_filled_from_around(egg_from_one_side):
    shifted = egg_from_one_side.result.rest_vertices + np.float32([3, 0, 0])
    texture = baked(egg_from_one_side, rest_vertices=shifted)
    image = texture.image.astype(float)
    assert image.sum(2).min() > 100
    unseen = image[texture.coverage == 0]
    assert np.abs(np.diff(image, axis=1)).max() < 60, "no step where the fill begins"
    assert unseen.std(0).max() < image[texture.coverage > 0].std(0).max()


def test_a_frame_of_other_colours_is_not_believed(egg):
    images = list(egg.images)
    images[3] = 255 - images[3]
    error, on_surface = error_of(texture := baked(egg, images), egg)
    assert error[on_surface & (texture.coverage > 0)].mean() < 2


def test_a_frame_of_other_exposure_is_evened_out(egg):
    images = list(egg.images)
    images[5] = np.clip(images[5] * 0.75, 0, 255).astype(np.uint8)
    error, on_surface = error_of(texture := baked(egg, images), egg)
    assert error[on_surface & (texture.coverage > 0)].mean() < 2


def test_a_blurred_frame_has_less_say(egg):
    grain = np.random.default_rng(0).integers(-9, 10, egg.images[0].shape)
    images = [np.clip(image + grain, 0, 255).astype(np.uint8) for image in egg.images]
    blurred = [cv2.GaussianBlur(image, (0, 0), 3) if i == 4 else image for i, image in enumerate(images)]
    chosen = [selection.select(egg.result, lambda i, some=some: some[i], lambda i: egg.masks[i]).weights[4].sum()
              for some in (images, blurred)]
    assert chosen[1] < 0.5 * chosen[0]


def test_a_mesh_larger_than_the_mask_takes_no_background(egg):
    masks = [cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) for mask in egg.masks]
    images = [np.where(mask[..., None] > 0, image, np.uint8([255, 0, 255]))
              for mask, image in zip(masks, egg.images, strict=True)]
    error, on_surface = error_of(texture := baked(egg, images, [m * 255 for m in masks]), egg)
    assert error[on_surface & (texture.coverage > 0)].mean() < 1.5


def test_hidden_parts_do_not_take_the_colour_of_what_hides_them(egg_from_one_side):
    # A second egg, seen from the side, stands behind the first and is never seen.
    one = egg_from_one_side.result
    count = len(one.rest_vertices)
    behind = one.vertices - np.float32([1.2, 0, 0])
    uv = one.uv * np.float32([0.5, 1])
    both = replace(one, vertices=np.concatenate([one.vertices, behind * np.float32([1, 0.5, 0.5])], 1),
                   rest_vertices=np.concatenate([one.rest_vertices, behind[0] + np.float32([9, 0, 0])]),
                   faces=np.concatenate([one.faces, one.faces + count]), uv=np.concatenate([uv, uv + [0.5, 0]]))
    both = replace(both, uv=both.uv.astype(np.float32))
    texture = bake_texture(both, lambda i: egg_from_one_side.images[i], lambda i: egg_from_one_side.masks[i], SIZE)
    assert (texture.coverage[:, :SIZE] > 0).mean() > 0.2
    assert (texture.coverage[:, SIZE:] > 0).mean() < 0.01


def test_a_clip_that_shows_nothing_gives_grey(egg):
    nothing = [np.zeros_like(mask) for mask in egg.masks]
    texture = baked(egg, masks=nothing)
    assert texture.seen == 0 and (texture.image == 128).all()
    away = baked(egg, camera_translation=egg.result.camera_translation * np.float32(-1))
    assert away.seen == 0


def test_one_frame_is_enough_and_progress_reaches_its_end(egg):
    one = {name: getattr(egg.result, name)[:1] for name in
           ("frames", "vertices", "camera_rotation", "camera_translation", "intrinsics")}
    steps = []
    texture = bake_texture(replace(egg.result, **one), lambda i: egg.images[i], lambda i: egg.masks[i], 64,
                           lambda done, total: steps.append((done, total)))
    assert 0.15 < texture.seen < 0.5
    assert steps == [(1, 2), (2, 2)]


def test_maps_beyond_the_limit_are_enlarged(egg, monkeypatch):
    monkeypatch.setattr("vmr_backend.texture.bake.MAX_ROWS", 32)
    texture = baked(egg, size=64)
    assert texture.image.shape == (64, 128, 3) and texture.coverage.shape == (64, 128)
    assert MAX_ROWS >= 1024


def test_footage_is_read_in_order_and_twice(egg):
    asked = []
    bake_texture(egg.result, lambda i: (asked.append(i), egg.images[i])[1], lambda i: egg.masks[i], 32)
    assert asked[:12] == list(range(12)) and asked[12:] == sorted(asked[12:])


def test_weighted_median_halves_the_weight():
    values = np.array([[3.0, 5], [1, 5], [2, 9]])
    assert weighted_median(values, np.array([[1.0, 0], [1, 0], [1, 0]])).tolist() == [2, 0]
    assert weighted_median(values, np.array([[9.0, 1], [1, 1], [1, 3]])).tolist() == [3, 9]


@pytest.mark.parametrize("outlier", (0, 255))
def test_robust_mean_leaves_out_what_disagrees(outlier):
    values = np.array([100, 104, 96, outlier, 0], float)[None, :, None].repeat(3, 0)
    mean, agreement = _robust_mean(values, np.array([1, 1, 1, 0.9, 0])[:, None])
    assert np.allclose(mean, 100, atol=1) and agreement[3, 0] < 0.01 < 0.7 < agreement[0, 0]
