"""Finds datablocks again by number and not by reference: undo makes them anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def still_there(datablocks: Iterable[Any], uid: int) -> Any | None:
    """The datablock whose `session_uid` this is; None where it was removed meanwhile."""
    return next((datablock for datablock in datablocks if datablock.session_uid == uid), None)
