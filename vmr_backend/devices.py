"""Which processor or graphics card computes."""

from __future__ import annotations

import os

import torch

from .job import BadInput


def device_of(name: str) -> torch.device:
    """The device of a request: the first GPU, else the CPU, for "auto"."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda") or device.type == "cpu" and device.index:
        raise BadInput(f"device: found {name!r}, needs auto, cpu, cuda or cuda:0, cuda:1 ...")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"device: found {name!r}, but PyTorch sees {torch.cuda.device_count()} GPUs; needs cpu or auto")
    return device


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {os.cpu_count()} cores"
