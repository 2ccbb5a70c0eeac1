"""Hard visibility: the nearest face at each pixel centre, its barycentrics and depth."""

import pytest
import torch
from renderer_meshes import ball, scattered_faces, sheet

from vmr_backend.rendering.interface import pixel_centres


@pytest.mark.parametrize("size", [16, 33, (7, 50), (41, 3), 1])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("cull", [False, True])
def test_equals_the_reference(warp, reference, size, images, cull):
    points, faces = scattered_faces(images=images, faces=15)
    found = warp.visibility(points.to(warp.device), faces.to(warp.device), size, cull)
    expected = reference.visibility(points.double(), faces, size, cull)
    assert found.face_index.dtype == torch.int32
    assert torch.equal(found.face_index.cpu(), expected.face_index)
    assert torch.allclose(found.barycentrics.cpu().double(), expected.barycentrics, atol=1e-3)
    assert torch.allclose(found.depth.cpu().double(), expected.depth, atol=1e-3)


def test_barycentrics_and_depth_lead_back_to_the_pixel(warp):
    points, faces = (x.to(warp.device) for x in scattered_faces(images=2))
    seen = warp.visibility(points, faces, (20, 31))
    hit = seen.face_index >= 0
    image = hit.nonzero()[:, 0]
    corners = points[image[:, None], faces[seen.face_index[hit].long()]]
    # A point in space is (x z, y z, z): there barycentrics are linear.
    space = torch.cat([corners[..., :2] * corners[..., 2:], corners[..., 2:]], -1)
    found = (space * seen.barycentrics[hit][..., None]).sum(1)
    centres = pixel_centres((20, 31), points.device).float().expand(2, -1, -1, -1)[hit]
    assert torch.allclose(found[:, 2], seen.depth[hit], atol=1e-4)
    assert torch.allclose(found[:, :2] / found[:, 2:], centres, atol=1e-4)


def test_of_equally_near_faces_the_first_is_seen(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    twice = torch.cat([faces, faces])
    assert torch.equal(warp.visibility(points, twice, 32).face_index, warp.visibility(points, faces, 32).face_index)


def test_no_pixel_falls_between_neighbours(warp):
    line = torch.linspace(-1.5, 1.5, 9)  # vertices and edges run exactly through pixel centres
    points, faces = sheet(rows=9)
    points[..., 0], points[..., 1] = line.repeat(9), line.repeat_interleave(9)
    for size in (8, 16, 31, 64):
        seen = warp.visibility(points.to(warp.device), faces.to(warp.device), size)
        assert (seen.face_index >= 0).all()


def test_faces_behind_the_camera_without_area_or_off_screen_are_not_seen(warp):
    points, faces = scattered_faces(images=1, faces=4)
    points[:, 0, 2] = -1.0
    points[:, 3:6] = points[:, 3:4]
    points[:, 6:9, 0] += 10.0
    points[:, 9, 2] = float("nan")
    seen = warp.visibility(points.to(warp.device), faces.to(warp.device), 16)
    assert (seen.face_index == -1).all() and not seen.depth.any() and not seen.barycentrics.any()


@pytest.mark.parametrize("images,faces", [(2, 0), (0, 4)])
def test_a_batch_without_faces_or_images_is_empty(warp, images, faces):
    points = torch.ones(images, 12, 3, device=warp.device)
    seen = warp.visibility(points, torch.arange(12, device=warp.device).view(4, 3)[:faces], 8)
    assert seen.face_index.shape == (images, 8, 8) and (seen.face_index == -1).all()


def test_without_faces_turned_away_a_closed_surface_looks_the_same(warp):
    points, faces = (x.to(warp.device) for x in ball())
    outside, all_of_it = warp.visibility(points, faces, 40, cull=True), warp.visibility(points, faces, 40)
    assert (all_of_it.face_index >= 0).sum() > 500
    assert torch.equal(outside.face_index, all_of_it.face_index)
    assert torch.equal(outside.depth, all_of_it.depth) and torch.equal(outside.barycentrics, all_of_it.barycentrics)


def test_a_closed_surface_turned_inside_out_shows_its_far_wall(warp, reference):
    points, faces = (x.to(warp.device) for x in ball())
    near = warp.visibility(points, faces, 40)
    far = warp.visibility(points, faces.flip(1), 40, cull=True)
    both = (near.face_index >= 0) & (far.face_index >= 0)
    assert both.sum() >= 0.95 * (near.face_index >= 0).sum()
    assert (far.depth[both] > near.depth[both]).all() and (far.depth[both] - near.depth[both]).max() > 0.9
    expected = reference.visibility(points.cpu().double(), faces.cpu().flip(1), 40, cull=True)
    assert torch.equal(far.face_index.cpu(), expected.face_index)


def test_a_face_turned_away_hides_nothing(warp):
    """A small ball within a larger one whose faces look inward: they are seen through from before."""
    (large, faces), (small, _) = ball(0.5), ball(0.25)
    points = torch.cat([large, small], 1).to(warp.device)
    inward, outward = faces.flip(1).to(warp.device), (faces + large.shape[1]).to(warp.device)
    seen = warp.visibility(points, torch.cat([inward, outward]), 40, cull=True)
    alone = warp.visibility(points, outward, 40)
    shown = alone.face_index >= 0
    assert torch.equal(seen.face_index[shown], alone.face_index[shown] + len(faces))
    assert (seen.face_index[~shown] < len(faces)).all() and (seen.face_index >= 0).sum() > 2 * shown.sum()
    assert (warp.visibility(points, torch.cat([inward, outward]), 40).face_index < len(faces)).all()


def test_a_mesh_that_is_all_turned_away_is_not_seen(warp):
    triangle = torch.tensor([[[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.0, 0.5, 2.0]]], device=warp.device)
    counter_clockwise = torch.tensor([[0, 2, 1]], device=warp.device)  # as seen, with y down
    assert (warp.visibility(triangle, counter_clockwise, 9, cull=True).face_index == 0).any()
    assert (warp.visibility(triangle, counter_clockwise.flip(1), 9, cull=True).face_index == -1).all()
    assert (warp.visibility(triangle, counter_clockwise.flip(1), 9).face_index == 0).any()


def test_front_and_nearest_together_are_the_same_as_one_by_one(warp):
    points, faces = (x.to(warp.device) for x in scattered_faces(images=3, faces=15))
    found = warp.front_and_nearest(points, faces, (19, 30))
    for one, cull in zip(found, (True, False), strict=True):
        alone = warp.visibility(points, faces, (19, 30), cull)
        assert all(torch.equal(getattr(one, name), getattr(alone, name)) for name in vars(alone))
    assert not torch.equal(found[0].face_index, found[1].face_index)
