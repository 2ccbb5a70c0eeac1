"""Descent that goes wrong says so."""

import numpy as np
import pytest
import torch
from spheres import sphere_seen_by, unknown, view_of

from vmr_backend.lasr.descent import Schedule, descend
from vmr_backend.lasr.observations import observe
from vmr_backend.rendering import get_renderer


def test_a_fit_that_diverges_ends_before_it_goes_on_with_what_is_not_finite(turning_egg, quick):
    torch.manual_seed(0)
    cpu, random = torch.device("cpu"), np.random.default_rng(0)
    view = view_of(turning_egg.footage, quick.field_of_view)
    model = sphere_seen_by(view, unknown(1, view))
    done = []

    def lose(iteration, _):
        done.append(iteration)
        if iteration == 2:
            model.camera.heading.data.fill_(torch.nan)

    seen = observe(turning_egg.footage, [], 32, cpu, random)
    with pytest.raises(FloatingPointError, match="diverged"):
        descend(model, seen, get_renderer("warp", cpu), quick, Schedule(5), random, lose)
    assert done == [1, 2]
