"""Dataclasses of tensors that all have a row for each picture: chosen from, joined and moved as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Self

import torch
from torch import Tensor


class Rows:
    """Base of dataclasses whose fields are tensors of N rows, or such dataclasses."""

    def values(self) -> tuple[Any, ...]:
        """Of all fields, in order."""
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.values()[0])

    def __getitem__(self, chosen: Tensor | slice) -> Self:
        return type(self)(*(value[chosen] for value in self.values()))

    def to(self, device: torch.device) -> Self:
        return type(self)(*(value.to(device) for value in self.values()))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The rows of several whose fields are tensors, one after another."""
        return cls(*map(torch.cat, zip(*(part.values() for part in parts), strict=True)))
