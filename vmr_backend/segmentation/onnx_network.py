"""A user's own ONNX network that finds what stands out in a picture, in place of the network that comes along.

Taken are networks as U2-Net, IS-Net and BiRefNet are exported: a picture (1, 3, H, W), RGB with ImageNet's mean and
deviation, to what stands out of it (1, 1, h, w), as probabilities or log-odds. Of all that stands out, what lies at the
mask so far is the subject.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..job import BadInput
from .network_file import of_the_users_own

FREE_SIDE = 320
"""Sides of the picture where a network takes any."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REACH = 0.1
"""How far beyond the mask so far the subject may go on, over the side of the window."""
NEVER = -20.0
"""Log-odds of what cannot be the subject."""


class OnnxNetwork:
    """Cues (1, CHANNELS, S, S) to log-odds (1, 1, S, S) of the subject, as `MaskNetwork`; it heeds picture and mask."""

    def __init__(self, path: Path):
        """BadInput where the file, its network or ONNX Runtime cannot be used."""
        self.path = path
        with of_the_users_own(path, "an ONNX network", "onnxruntime"):
            import onnxruntime
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        self._side = self._checked_side()

    def _checked_side(self) -> tuple[int, int]:
        """Height and width of the picture that it takes."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)" or not outputs:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "nothing"
            raise BadInput(f"{self.path}: takes {found}; needs one picture of floats (1, 3, H, W)")
        height, width = (side if isinstance(side, int) and side > 0 else FREE_SIDE for side in shape[2:])
        return height, width

    def __call__(self, cues: Tensor) -> Tensor:
        mean, deviation = (cues.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        picture = functional.interpolate(cues[:, :3], self._side, mode="bilinear", antialias=True)
        found = self._answer(((picture - mean) / deviation).numpy())
        odds = functional.interpolate(torch.from_numpy(found), cues.shape[2:], mode="bilinear")
        near = cv2.distanceTransform((cues[0, 3].numpy() <= 0.4).astype(np.uint8), cv2.DIST_L2, 3)
        return torch.where(torch.from_numpy(near <= REACH * cues.shape[3]), odds, NEVER)

    def _answer(self, picture: np.ndarray) -> np.ndarray:
        """Log-odds (1, 1, h, w)."""
        name = self._session.get_inputs()[0].name
        try:
            found: Any = self._session.run(None, {name: picture.astype(np.float32)})[0]
        except Exception as error:
            raise BadInput(f"{self.path}: cannot be run ({' '.join(str(error).split())[:200]})") from None
        if getattr(found, "ndim", 0) != 4 or found.shape[:2] != (1, 1) or not np.isfinite(found).all():
            raise BadInput(f"{self.path}: gave {getattr(found, 'shape', type(found).__name__)}; needs finite numbers "
                           "(1, 1, h, w)")
        found = found.astype(np.float32)
        if found.min() < 0 or found.max() > 1:
            return found
        sure = found.clip(1e-4, 1 - 1e-4)
        return np.log(sure / (1 - sure))
