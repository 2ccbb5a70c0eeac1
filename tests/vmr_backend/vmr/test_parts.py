"""Parts painted on a frame and laid on the mesh: cells shared out, votes counted, and a body that is pulled right."""

import pytest
import torch
from tiny_models import RENDERER, model_of, pictures, taught_a_little

from vmr_backend.losses import part_loss
from vmr_backend.rendering.surface import visible_vertices
from vmr_backend.segmentation.correspondence import Correspondence
from vmr_backend.vmr.parts import Parts, painted_parts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 6])
def test_parts_share_out_the_mask_and_nothing_else(count):
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[5:15, 3:28] = True
    parts = painted_parts(mask, count, generator())
    assert torch.equal(parts.sum(0) == 1, mask)
    cells = parts.sum((1, 2))
    assert len(cells) == count and cells.min() > 0.3 * cells.mean(), "parts of about one size"


def test_parts_are_drawn_anew_from_another_seed_and_alike_from_the_same():
    mask = torch.ones(12, 12, dtype=torch.bool)
    assert torch.equal(painted_parts(mask, 6, generator(1)), painted_parts(mask, 6, generator(1)))
    assert not torch.equal(painted_parts(mask, 6, generator(1)), painted_parts(mask, 6, generator(2)))


def test_an_empty_mask_has_no_parts():
    assert not painted_parts(torch.zeros(5, 5, dtype=torch.bool), 6, generator()).any()


def part_loss_by_loops(points, places, labels, seen, weight):
    """Eq. 4 as it is read, with distances that are rounded off near nothing."""
    def off(a, b):
        return (float((a - b).square().sum()) + 0.02**2) ** 0.5 - 0.02

    losses = []
    for n in range(len(points)):
        total, counted = 0.0, 0
        for part in range(places.shape[1]):
            its = [v for v in range(len(labels)) if labels[v] == part and seen[n, v]]
            if weight[n, part] and its:
                counted += 1
                there = [min(off(points[n, v], place) for place in places[n, part]) for v in its]
                back = [min(off(points[n, v], place) for v in its) for place in places[n, part]]
                total += sum(there) / len(there) + sum(back) / len(back)
        losses.append(total / max(counted, 1))
    return torch.tensor(losses, dtype=points.dtype)


def test_the_loss_is_the_chamfer_distance_of_each_part_and_its_gradient_is_exact():
    random = generator()
    points = torch.rand(3, 12, 2, generator=random, dtype=torch.float64).requires_grad_()
    places = torch.rand(3, 4, 5, 2, generator=random, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, -1, -1, 0, 1])  # no vertex of part 3
    seen = torch.rand(3, 12, generator=random) > 0.3
    seen[2] = False
    weight = torch.ones(3, 4, dtype=torch.float64)
    weight[0, 1] = 0
    found = part_loss(points, places, labels, seen, weight)
    torch.testing.assert_close(found, part_loss_by_loops(points.detach(), places, labels, seen, weight))
    assert found[2] == 0
    assert torch.autograd.gradcheck(lambda p: part_loss(p, places, labels, seen, weight), (points,))


def test_only_what_a_picture_shows_is_seen():
    vertices = model_of().shape.bases()[0]
    points = torch.cat([0.5 * vertices[:, :2], vertices[:, 2:] + 5], 1)
    seen = visible_vertices(points[None], model_of().shape.faces, 64, RENDERER)[0]
    assert seen[vertices[:, 2] < -0.1 * vertices[:, 2].abs().max()].float().mean() > 0.95, "towards the camera"
    assert not seen[vertices[:, 2] > 0.2 * vertices[:, 2].abs().max()].any(), "behind"


def test_parts_that_are_where_the_mesh_has_them_cost_little_and_moved_ones_much():
    """A mesh that stands still: each part is found in all frames, the mesh votes, and then moves away."""
    model, (images, masks) = taught_a_little(model_of()), pictures(1, 64)
    model.eval()
    count = 5
    images, masks = images.expand(count, -1, -1, -1), masks.expand(count, -1, -1)
    with torch.no_grad():
        prediction, _ = model(images, masks, RENDERER)
    points = prediction.camera.project(prediction.vertices)
    each_its_own = torch.eye(32**2).view(32**2, 32, 32).expand(count, -1, -1, -1)
    still = torch.zeros(count - 1, 32, 32, 2)
    inside = RENDERER.visibility(points, model.shape.faces, 32).face_index >= 0
    clip = Correspondence(each_its_own, still, still, inside)
    parts = Parts.propagate(clip, 6, prediction, model.shape.faces, RENDERER, generator())
    assert set(parts.labels.tolist()) == {-1, *range(6)} and (parts.labels >= 0).float().mean() > 0.3
    assert parts.samples.shape[:2] == (count, 6) and bool((parts.weight == 1).all())
    aside = points + torch.tensor([0.2, 0.0, 0.0])
    here, there = (parts.loss(p, model.shape.faces, RENDERER).mean() for p in (points, aside))
    assert there > 2 * here
    few = parts[torch.tensor([3, 1])]
    torch.testing.assert_close(few.loss(points[[3, 1]], model.shape.faces, RENDERER),
                               parts.loss(points, model.shape.faces, RENDERER)[[3, 1]])
