"""Clip in, arrays out: decoding, masks, crops that follow the subject, optical flow."""

from .footage import Footage, downsample, load_footage

__all__ = ["Footage", "downsample", "load_footage"]
