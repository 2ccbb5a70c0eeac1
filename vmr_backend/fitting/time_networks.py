"""Small networks over time: camera and bones of a frame from its time in the clip."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn


def time_embedding(numbers: Tensor, frequencies: int) -> Tensor:
    """Fourier features of frame numbers (T,): (T, 1 + 2 * frequencies).

    The clip spans a half period of the lowest frequency. Amplitudes fall with frequency, so that a network starts
    smooth and finds fast motion only where the clip asks for it.
    """
    numbers = numbers.float()
    span = (numbers.max() - numbers.min()).clamp_min(1)
    time = 2 * (numbers - numbers.min()) / span - 1
    k = torch.arange(1, frequencies + 1, device=numbers.device)
    phase = math.pi / 2 * k * time[:, None]
    return torch.cat([time[:, None], torch.cat([phase.sin(), phase.cos()], 1) / k.sqrt().repeat(2)], 1)


class TimeNetwork(nn.Module):
    """A two-layer network for each hypothesis over a shared embedding of time; its output starts at zero."""

    def __init__(self, hypotheses: int, embedding: Tensor, outputs: int, width: int = 96):
        super().__init__()
        self.register_buffer("embedding", embedding)
        inputs = embedding.shape[1]
        self.hidden = nn.Parameter(torch.randn(hypotheses, inputs, width) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.randn(hypotheses, 1, width) * 0.5)
        self.output = nn.Parameter(torch.zeros(hypotheses, width, outputs))

    def forward(self) -> Tensor:
        """(H, T, outputs) for all frames of the clip."""
        return self._features() @ self.output

    @torch.no_grad()
    def approach(self, values: Tensor) -> None:
        """Set the last layer so that the output is as near as it can be to values (H, T, outputs)."""
        features = self._features().double()
        # Without the ridge a few large weights would hit noise exactly, and be hard to improve afterwards.
        ridge = 1e-5 * features.square().sum(1).mean() * torch.eye(features.shape[-1]).to(features)
        self.output.copy_(torch.linalg.solve(features.mT @ features + ridge, features.mT @ values.double()))

    def _features(self) -> Tensor:
        return torch.tanh(self.embedding @ self.hidden + self.bias) / math.sqrt(self.output.shape[1])


def cosine_waves(frames: int) -> Tensor:
    """(T, T) float64 orthogonal matrix of the cosine transform over frames: the first wave is even, row k has k half
    periods."""
    return torch.from_numpy(dct(np.eye(frames), axis=0, norm="ortho"))


def low_pass(path: Tensor, waves: Tensor, min_period: float) -> Tensor:
    """A path (T, C) without what takes less than `min_period` frames; all of it at 0. Waves (T, T) are `cosine_waves`.

    The path's cosine transform, without what is shorter by a quarter octave or more; what lies nearer fades. Among the
    cosines' half periods are those that do not close within the clip, so that it need not end where it began.
    """
    frames = len(path)
    if min_period <= 0:
        return path
    period = 2 * frames / torch.arange(frames, device=path.device).clamp_min(1e-9)
    kept = (2 * (period / min_period).log2() + 0.5).clamp(0, 1)
    return waves.mT @ (kept.unsqueeze(-1) * (waves @ path))
