"""What is asked of the two sides of a body: a pose that is its own mirror image costs nothing."""

import torch
from tiny_models import eggs, shape_of

from vmr_backend.bodies.category import HANDLE_SIZE, MIRRORED, STEPPING, lopsidedness, unevenness
from vmr_backend.geometry.sphere import mirror_image


def test_a_pose_that_is_its_own_mirror_image_is_even_and_another_is_not():
    shape = shape_of(eggs(1), handles=9)
    free = 0.2 * torch.randn(4, shape.weights.shape[1], HANDLE_SIZE, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor(MIRRORED) + torch.tensor([0.0] * 3 + [1] * 3 + [0] * 3)
    even = (free + signs * free[:, shape.twin]) / 2
    moved = shape.deformed(shape.bases().expand(4, -1, -1), even)
    torch.testing.assert_close(mirror_image(moved, shape.mirror), moved, rtol=0, atol=1e-5)
    for cost in (lopsidedness, unevenness):
        torch.testing.assert_close(cost(shape, even), torch.zeros(4), rtol=0, atol=1e-6)
        assert (cost(shape, free) > 1e-3).all()


def test_a_leg_that_steps_out_counts_by_its_distance_and_a_small_difference_by_its_square():
    shape = shape_of(eggs(1), handles=9)
    leg = int((shape.twin != torch.arange(len(shape.twin))).nonzero()[0])
    handles = torch.zeros(4, len(shape.twin), HANDLE_SIZE)
    handles[:, leg, 0] = torch.tensor([0.01, 0.02, 3.0, 6.0])
    small, twice, far, farther = lopsidedness(shape, handles).tolist()
    assert abs(twice / small - 4) < 0.1 and abs(farther / far - 2) < 2 * STEPPING / 3
