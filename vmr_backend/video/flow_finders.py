"""The ways to find optical flow that a user can choose from: DIS, and RAFT where torchvision is there."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from ..job import BadInput
from .flow import FlowFinder, dis

STRIDE, SMALLEST = 8, 128
"""RAFT takes pictures with sides that are multiples of the one and not below the other."""


def flow_finder(name: str, device: torch.device) -> FlowFinder:
    """By the name of the setting `flow`; BadInput where it lacks what it needs."""
    return {"dis": lambda: dis, "raft": lambda: by_network(_raft(), device)}[name]()


def _raft() -> nn.Module:
    """RAFT (Teed & Deng 2020) with the weights that torchvision names, from its cache or the internet."""
    try:
        from torchvision.models.optical_flow import Raft_Large_Weights, raft_large
    except ImportError as error:
        raise BadInput(f"flow raft: found no {error.name or 'torchvision'} in the backend's environment; needs "
                       "torchvision, or flow dis") from None
    try:
        return raft_large(weights=Raft_Large_Weights.DEFAULT, progress=False)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"flow raft: its weights cannot be loaded ({' '.join(str(error).split())}); needs the internet "
                       "once, or the file in torch's cache of models") from None


def by_network(network: nn.Module, device: torch.device) -> FlowFinder:
    """A finder by a network as torchvision has them: two pictures (1, 3, H, W) in -1..1 to a list of ever better
    flows (1, 2, H, W), px."""
    network = network.eval().to(device)

    def find(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape
        below, beside = (max(-(-side // STRIDE) * STRIDE, SMALLEST) - side for side in (height, width))
        pictures = [torch.from_numpy(cv2.copyMakeBorder(grey, 0, below, 0, beside, cv2.BORDER_REPLICATE))
                    .to(device).expand(1, 3, -1, -1).float() / 127.5 - 1 for grey in (first, second)]
        with torch.inference_mode():
            flow = network(*pictures)[-1][0]
        return np.ascontiguousarray(flow[:, :height, :width].permute(1, 2, 0).cpu().numpy())

    return find
