"""Labels carried from frame to frame: along paths that are known, by features that tell places apart or do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from vmr_backend.geometry.cameras import Camera, crop_intrinsics, project
from vmr_backend.rendering import get_renderer
from vmr_backend.segmentation import correspondence
from vmr_backend.segmentation.correspondence import Correspondence
from vmr_backend.segmentation.features import STRIDE, Features

FRAMES, SIZE = 7, 16
CPU = torch.device("cpu")


def drifting(step: int, flow: float = 0.0, features: bool = True) -> tuple[Correspondence, torch.Tensor]:
    """A square of 5 x 5 cells that moves right by `step` cells a frame, and which label each cell truly has: its
    column. Flow is said to be `flow` cells; without features every cell looks alike."""
    square = functional.normalize(torch.randn(25, 5, 5, generator=torch.Generator().manual_seed(0)), dim=0)
    looks, inside = torch.zeros(FRAMES, 25, SIZE, SIZE), torch.zeros(FRAMES, SIZE, SIZE, dtype=torch.bool)
    labels = torch.zeros(FRAMES, 5, SIZE, SIZE)
    for t in range(FRAMES):
        at = slice(1 + step * t, 6 + step * t)
        looks[t, :, 4:9, at] = square if features else 0.2
        inside[t, 4:9, at] = True
        labels[t, :, 4:9, at] = torch.eye(5)[:, None].expand(5, 5, 5)
    motion = torch.tensor([flow, 0.0]).expand(FRAMES - 1, SIZE, SIZE, 2)
    return Correspondence(looks, -motion, motion, inside), labels


@pytest.mark.parametrize("start", [0, 3, FRAMES - 1])
@pytest.mark.parametrize(("step", "flow"), [(1, 0.0), (1, 1.0)])
def test_labels_go_where_places_that_look_alike_go(start, step, flow):
    seen, labels = drifting(step, flow)
    carried = seen.propagate(labels[start], start)
    assert torch.equal(carried.argmax(1)[seen.inside], labels.argmax(1)[seen.inside])
    assert not carried.movedim(1, -1)[~seen.inside].any(), "nothing beside the subject"
    torch.testing.assert_close(carried.sum(1)[seen.inside], torch.ones(FRAMES * 25))


def test_where_all_places_look_alike_the_nearest_to_where_flow_points_count():
    seen, labels = drifting(1, 1.0, features=False)
    carried = seen.propagate(labels[3], 3)
    # Those in reach weigh the same, so only what lies in the middle of each side can be told.
    assert carried.argmax(1)[seen.inside].float().mean() == pytest.approx(2, abs=0.5)


def test_flow_alone_carries_labels_along():
    seen, labels = drifting(1, 1.0)
    carried = seen.propagate_by_flow(labels[3], 3)
    assert torch.equal(carried, labels)


def test_a_subject_that_is_gone_leaves_no_labels_and_comes_back_with_them():
    seen, labels = drifting(1, 1.0)
    seen.inside[3] = False
    carried = seen.propagate(labels[0], 0)
    assert not carried[3].any()
    assert torch.equal(carried[4:].argmax(1)[seen.inside[4:]], labels[4:].argmax(1)[seen.inside[4:]])


def test_how_many_places_are_looked_for_together_changes_nothing(monkeypatch):
    seen, labels = drifting(1)
    whole = seen.propagate(labels[3], 3)
    monkeypatch.setattr(correspondence, "TILE", 3)
    torch.testing.assert_close(seen.propagate(labels[3], 3), whole)


def test_features_have_length_one_and_a_cell_for_every_few_pixels():
    found = Features.shipped(CPU)(torch.rand(2, 3, 32, 48))
    assert found.shape == (2, Features.SIZE, 32 // STRIDE, 48 // STRIDE)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 8, 12))


def test_stripes_of_a_filmed_egg_are_found_again_where_flow_tells_nothing(turning_egg):
    """Stripes across the egg, painted where the truth has them in the middle frame, against where it has them later."""
    footage, truth = turning_egg.footage, turning_egg.truth
    frames, middle = len(footage.numbers), len(footage.numbers) // 2
    seen = Correspondence.of(footage, range(frames), Features.shipped(CPU))
    true = true_stripes(footage, truth, seen.inside.shape[-1])
    labels = (functional.one_hot(true[middle].clamp_min(0), 4).movedim(-1, 0) * (true[middle] >= 0)).float()

    def right(carried: torch.Tensor) -> float:
        """Share of the cells in the first and the last frame, in which the egg has turned most."""
        ends = [0, -1]
        return float((carried.argmax(1) == true)[ends][((true >= 0) & seen.inside)[ends]].float().mean())

    still = replace(seen, backward=torch.zeros_like(seen.backward), forward=torch.zeros_like(seen.forward))
    assert right(seen.propagate(labels, middle)) > 0.8 and right(seen.propagate_by_flow(labels, middle)) > 0.8
    assert right(still.propagate(labels, middle)) > right(still.propagate_by_flow(labels, middle)) + 0.1


def true_stripes(footage, truth, size: int) -> torch.Tensor:
    """(T, size, size) the quarter of the egg's length that each cell shows, -1 where it shows none."""
    vertices, faces = torch.from_numpy(truth.vertices), torch.from_numpy(truth.faces)
    intrinsics, centre, half = (torch.from_numpy(np.asarray(values)).float() for values in (
        truth.intrinsics, footage.crop_centre, footage.crop_half))
    camera = Camera(torch.from_numpy(truth.camera_rotation), torch.from_numpy(truth.camera_translation),
                    crop_intrinsics(intrinsics, centre, half))
    index = get_renderer("warp", CPU).visibility(project(vertices, camera), faces, size).face_index
    along = vertices[:, faces, 1].mean(-1)
    share = (along - along.min()) / (along.max() - along.min())
    stripe = (4 * share).long().clamp_max(3)
    return torch.where(index >= 0, stripe.gather(1, index.clamp_min(0).flatten(1).long()).view_as(index), -1)
