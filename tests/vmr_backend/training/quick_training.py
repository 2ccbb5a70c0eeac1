"""Trainings that take seconds; also one of several processes that share a training, as torchrun starts them:
python quick_training.py COLLECTION OUT."""

import sys
from pathlib import Path

import pytest
import torch

from vmr_backend.job import EventLog
from vmr_backend.training import template
from vmr_backend.training import train as trainings
from vmr_backend.training.command import processes
from vmr_backend.training.train import TrainingRequest, train

QUICK = {"image_size": 32, "bases": 2, "handles": 6, "hypotheses": 4, "refinements": 1, "mean_shape_pictures": 8,
         "mean_shape_passes": 2, "instance_iterations": 3, "steps": 10, "batch": 2, "validate_every": 5}
SLOWLY = {"learning_rate": 1e-5}
"""For trainings that are compared though their sums are rounded otherwise."""


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Fewer steps to a coarser first shape, and no high demands on what it is fitted to."""
    for module, name, value in ((template, "LEGS", 1), (template, "STEPS", 12), (trainings, "POOR_FIT", 0.3),
                                (trainings, "TOGETHER", 16), (trainings, "KEPT_EVERY", 1)):
        patch.setattr(module, name, value)


if __name__ == "__main__":
    collection, out = sys.argv[1:]
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, processes("cpu") as device:
        hurry(patch)
        request = TrainingRequest(collection, settings=QUICK | SLOWLY)
        train(request, Path(out), EventLog(Path(out)), False, device)
