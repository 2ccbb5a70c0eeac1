"""Image encoders: ResNet-18, and a small one for processors without a GPU; heatmaps of landmarks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..rendering.interface import pixel_centres
from ..segmentation.features import Residual

GRID = 4
"""Cells across the pooled features: where in the picture something is must not be lost."""
ARGMAX_RADIUS = 1.6
"""Cells around a heatmap's maximum whose mean is a landmark's position."""


class SmallEncoder(nn.Module):
    """A twentieth of ResNet-18's work; for pictures of 64 to 128 pixels."""

    FIRST, WIDTHS = 24, (48, 96, 160)

    def __init__(self, extra: int, size: int):
        super().__init__()
        self.widths = self.WIDTHS
        self.first = nn.Sequential(nn.Conv2d(3 + extra, self.FIRST, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 3, stride=2, padding=1), Residual(width))
            for before, width in zip((self.FIRST, *self.WIDTHS), self.WIDTHS, strict=False))
        self.code = nn.Sequential(nn.GroupNorm(8, self.WIDTHS[-1]), nn.ReLU(inplace=True),
                                  nn.AdaptiveAvgPool2d(GRID), nn.Flatten(),
                                  nn.Linear(self.WIDTHS[-1] * GRID**2, size), nn.LayerNorm(size), nn.ReLU(inplace=True))

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = [self.first(pictures)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:], self.code(maps[-1])


class BasicBlock(nn.Module):
    """ResNet-18's block; modules are named as torchvision names them."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        return functional.relu(beside + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) down to `layer4`, then CMR's way to a code.

    Its state dict takes torchvision's ImageNet weights (`load_imagenet`). Channels beyond RGB have a first convolution
    of their own, which starts at zero.
    """

    def __init__(self, extra: int, size: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.conv1_extra = nn.Conv2d(extra, 64, 7, 2, 3, bias=False)
        nn.init.zeros_(self.conv1_extra.weight)
        self.bn1 = nn.BatchNorm2d(64)
        self.widths = (128, 256, 512)
        channels = 64
        for number, width in enumerate((64, 128, 256, 512), 1):
            blocks = [BasicBlock(channels, width, 1 if number == 1 else 2), BasicBlock(width, width, 1)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            channels = width
        self.code = nn.Sequential(nn.Conv2d(512, 256, 1), nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(GRID), nn.Flatten(),
                                  nn.Linear(256 * GRID**2, size), nn.LayerNorm(size), nn.ReLU(inplace=True))

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        rgb, extra = pictures.split([3, pictures.shape[1] - 3], 1)
        x = functional.relu(self.bn1(self.conv1(rgb) + self.conv1_extra(extra)))
        maps = [self.layer1(functional.max_pool2d(x, 3, 2, 1))]
        for layer in (self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps[1:], self.code(maps[-1])

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take torchvision's ResNet-18 weights; ValueError where they are of another network."""
        # Batches are counted by newer files only, and nothing depends on their number.
        own = {name: value.shape for name, value in self.state_dict().items()
               if not name.startswith(("code.", "conv1_extra.")) and not name.endswith("num_batches_tracked")}
        for name, shape in own.items():
            if (found := getattr(state.get(name), "shape", None)) != shape:
                what = f"{name} of shape {tuple(found)}" if found else f"no tensor {name}"
                raise ValueError(f"found {what}, needs the weights of torchvision's resnet18")
        self.load_state_dict({name: state[name] for name in own}, strict=False)


ENCODERS: dict[str, type[SmallEncoder] | type[ResNet18]] = {"small": SmallEncoder, "resnet18": ResNet18}
"""Encoders of pictures (N, 3 + extra, S, S), the first three channels RGB.

They output feature maps (N, C, H, W) of their `widths`, each half as fine as the one before, and a code (N, size).
"""


class Landmarks(nn.Module):
    """Heatmaps of where in the picture some vertices are."""

    WIDTH = 64

    def __init__(self, widths: tuple[int, ...], count: int):
        """widths  of feature maps, fine to coarse"""
        super().__init__()
        self.beside = nn.ModuleList(nn.Conv2d(width, self.WIDTH, 1) for width in widths)
        self.heat = nn.Sequential(nn.GroupNorm(8, self.WIDTH), nn.ReLU(inplace=True),
                                  nn.Conv2d(self.WIDTH, self.WIDTH, 3, padding=1), nn.ReLU(inplace=True),
                                  nn.Conv2d(self.WIDTH, count, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(N, count, H, W) logits, as fine as the finest map."""
        size = maps[0].shape[-2:]
        mixed = sum(functional.interpolate(beside(one), size=size, mode="bilinear", align_corners=False)
                    for beside, one in zip(self.beside, maps, strict=True))
        return self.heat(mixed)


def local_soft_argmax(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (N, M, 2), crop coordinates, of the maxima of heatmaps (N, M, H, W), and their confidence (N, M).

    A position is the mean of the heatmap around its maximum: of two legs that may be the one sought, the mean of
    the whole heatmap lies between (Sun et al. 2018 take that), where no leg is.
    """
    height, width = heatmaps.shape[-2:]
    centres = pixel_centres((height, width), heatmaps.device).to(heatmaps).flatten(0, 1)
    probability = heatmaps.flatten(2).softmax(-1)
    apart = torch.cdist(centres, centres) * max(height, width) / 2
    around = probability * (apart <= ARGMAX_RADIUS).to(heatmaps)[probability.argmax(-1)]
    confidence = around.sum(-1)
    return around @ centres / confidence.unsqueeze(-1), confidence


def heatmap_loss(heatmaps: Tensor, positions: Tensor) -> Tensor:
    """Cross-entropy (N, M) of heatmaps (N, M, H, W) with positions (N, M, 2), crop coordinates, each split between the
    four cells around it as in bilinear interpolation."""
    height, width = heatmaps.shape[-2:]
    log_probability = heatmaps.flatten(2).log_softmax(-1)
    size = positions.new_tensor([width, height])
    at = ((positions + 1) * size / 2 - 0.5).clamp_min(0).minimum(size - 1)
    first = at.floor().minimum(size - 2)
    beyond = at - first
    loss = torch.zeros_like(at[..., 0])
    for right, across in enumerate((1 - beyond[..., 0], beyond[..., 0])):
        for down, along in enumerate((1 - beyond[..., 1], beyond[..., 1])):
            cell = ((first[..., 1] + down) * width + first[..., 0] + right).long()
            loss = loss - across * along * log_probability.gather(-1, cell.unsqueeze(-1)).squeeze(-1)
    return loss


IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet's pictures, which its weights expect."""


def standardised(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) in 0..1 as ImageNet's weights expect them."""
    mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (images - mean) / deviation


def zero_initialised(module: nn.Linear) -> nn.Linear:
    """A layer that outputs zero before it is trained."""
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def at_size(images: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) and masks (N, S, S) of `size` pixels, averaged over the area of each."""
    images, masks = (functional.interpolate(values, size=(size, size), mode="area")
                     for values in (images, masks.unsqueeze(1)))
    return images, masks[:, 0]


def cut_out(images: Tensor, masks: Tensor) -> Tensor:
    """Network input (N, 4, S, S) of images (N, 3, S, S) and masks (N, S, S) in 0..1: the subject alone, and its mask.

    The background is no evidence of the subject, and clips have masks as training pictures do.
    """
    masks = masks.unsqueeze(1)
    return torch.cat([standardised(images) * masks, masks], 1)
