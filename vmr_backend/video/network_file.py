"""Files of the small networks that come along: weights in half precision, as `.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import safetensors.torch
from torch import nn

from ..job import write_whole

Network = TypeVar("Network", bound=nn.Module)


def load(network: Network, path: Path) -> Network:
    """The network with the weights of a file, in single precision, ready to be asked and not to be taught."""
    network.load_state_dict({name: value.float() for name, value in safetensors.torch.load_file(path).items()})
    return network.requires_grad_(False).eval()


def save(network: nn.Module, path: Path) -> None:
    write_whole(path, safetensors.torch.save({name: value.half().contiguous()
                                              for name, value in network.state_dict().items()}))
