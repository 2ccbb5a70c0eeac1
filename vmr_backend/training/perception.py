"""A perceptual distance of textures: that of the features of a network trained on ImageNet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..vmr.encoders import ResNet18, cut_out
from ..vmr.texture import Painted


class Perception(nn.Module):
    """Zhang et al. (2018) with ResNet-18, all channels alike; CMR's and VMR's texture term."""

    def __init__(self, imagenet: Mapping[str, Tensor]):
        """imagenet  torchvision's weights of resnet18; ValueError where they are of another network"""
        super().__init__()
        self.network = ResNet18(1, 1)
        self.network.load_imagenet(imagenet)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Perception:
        """It stays in evaluation mode, its batch norms too."""
        return super().train(False)

    def forward(self, painting: Painted, images: Tensor, masks: Tensor) -> Tensor:
        """(N,) between painted meshes and images (N, 3, S, S), within masks (N, S, S)."""
        weight = masks * painting.covered
        drawn, _ = self.network(cut_out(painting.images, weight))
        with torch.no_grad():
            true, _ = self.network(cut_out(images, weight))
        total = torch.zeros_like(weight[:, 0, 0])
        for one, other in zip(drawn, true, strict=True):
            apart = (functional.normalize(one, dim=1) - functional.normalize(other, dim=1)).square().sum(1)
            area = functional.adaptive_avg_pool2d(weight, (apart.shape[1], apart.shape[2]))
            total = total + (apart * area).sum((1, 2)) / area.sum((1, 2)).clamp_min(1e-3) / len(drawn)
        return total
