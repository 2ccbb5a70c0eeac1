"""A category's base shape laid on a subject's: an egg that no basis is, larger, turned a little and elsewhere."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import BALL, EGGS, shape_of

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.metrics.chamfer import align, chamfer_distance, sample_surface
from vmr_backend.vmr.registration import laid_on


def off(vertices, faces, target, target_faces) -> float:
    """Chamfer distance after a similarity, over the target's length."""
    a, b = sample_surface(vertices, faces, 3000), sample_surface(target, target_faces, 3000, seed=1)
    return chamfer_distance(align(a, b)(a), b) / np.ptp(target[:, 1])


@pytest.mark.parametrize("heading", [0.15, np.pi - 0.1], ids=["forwards", "backwards"])
def test_the_base_shape_takes_on_the_subjects_form_in_the_categorys_own_axes(heading):
    torch.manual_seed(0)
    wedge, ball = BALL * (1 - 0.4 * BALL[:, 1:2]), icosphere(3)
    shape = shape_of(torch.stack([wedge * torch.tensor(radii) for radii in EGGS]))
    subject = ball.vertices * (1 - 0.4 * ball.vertices[:, 1:2]) * [0.3, 0.8, 0.3]
    subject[:, 2] += 0.35 * subject[:, 1] ** 2  # its ends are bent upwards
    turn = Rotation.from_euler("xz", [0.1, heading]).as_matrix()
    moved = 1.7 * subject @ turn.T + [0.4, -0.2, 1.0]
    found = laid_on(shape, moved, ball.faces)[0].numpy()
    faces, mean = shape.faces.numpy(), shape.bases().mean(0).detach().numpy()
    assert off(found, faces, subject, ball.faces) < 0.3 * off(mean, faces, subject, ball.faces)
    assert np.ptp(found[:, 1]) > 2 * np.ptp(found[:, 0]), "long along y as the category is"
    assert np.abs(found.mean(0) - mean.mean(0)).max() < 0.1 and 0.7 < np.ptp(found[:, 1]) / np.ptp(mean[:, 1]) < 1.4
