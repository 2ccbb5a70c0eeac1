"""One of several processes that train together: python learning_process.py OUT RANK PROCESSES. The first writes the
gradients of its first step and the weights after two into OUT."""

import sys
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import save_file
from tiny_trainings import toy_trainer

from vmr_backend.training.network import Trainer


def two_steps(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Gradients of the first step, and weights after the second."""
    trainer.update()
    found = {f"gradient {name}": value.grad.clone() for name, value in trainer.model.named_parameters()}
    trainer.update()
    return found | {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


if __name__ == "__main__":
    out, rank, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{out / 'meeting'}", rank=rank, world_size=processes)
    found = two_steps(toy_trainer())
    if rank == 0:
        save_file(found, out / "found.safetensors")
    torch.distributed.destroy_process_group()
