"""Files of the small networks that come along (weights in half precision, as `.safetensors`) and of the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from torch import nn

from ..job import BadInput, write_whole

Network = TypeVar("Network", bound=nn.Module)


def load(network: Network, path: Path) -> Network:
    """The network with the weights of a file, in single precision, for inference."""
    network.load_state_dict({name: value.float() for name, value in safetensors.torch.load_file(path).items()})
    return network.requires_grad_(False).eval()


def save(network: nn.Module, path: Path) -> None:
    write_whole(path, safetensors.torch.save({name: value.half().contiguous()
                                              for name, value in network.state_dict().items()}))


@contextlib.contextmanager
def of_the_users_own(path: Path, kind: str, package: str) -> Iterator[None]:
    """Reads a file of some kind of network by a package that the user installs; BadInput where one cannot be
    used."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; needs {kind}")
    try:
        yield
    except ImportError as error:
        raise BadInput(f"{path}: needs the package {package}, of which {error.name} was not found in the backend's "
                       f"environment; install {package} there") from None
    except Exception as error:  # hydra, pickle, ONNX Runtime: each has its own, with no common class
        raise BadInput(f"{path}: cannot be read as {kind} ({' '.join(str(error).split())[:200]})") from None
