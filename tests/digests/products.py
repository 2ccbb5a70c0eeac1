"""What commands left in a folder, as arrays by name: numbers, pixels and parameters, without times, paths and prose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import safe_open

Arrays = dict[str, np.ndarray]
LEFT_OUT = {"seconds", "peak_memory_mib", "stages", "versions", "device", "request", "settings", "format",
            "sentence", "doubts", "reason", "warnings"}
"""Keys of JSON files: what depends on the computer, what was asked for, and prose."""


def products_of(folder: Path) -> Arrays:
    """Every array of every known file in a folder, named FILE.ARRAY."""
    found: Arrays = {}
    for path in sorted(folder.iterdir()):
        name = path.stem
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                found |= {f"{name}.{key}": archive[key] for key in archive.files}
        elif path.suffix == ".png":
            found[f"{name}.pixels"] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        elif path.suffix == ".mp4":
            found[f"{name}.frames"] = np.stack(list(_frames(path)))
        elif path.is_dir() and (images := sorted(path.glob("*.png"))):
            found[f"{name}.pixels"] = np.stack([cv2.imread(str(image), cv2.IMREAD_UNCHANGED) for image in images])
        elif path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                found |= {f"{name}.{key}": file.get_tensor(key) for key in file.keys()}
                for key, text in (file.metadata() or {}).items():
                    found |= _leaves(f"{name}.{key}", json.loads(text) if text[:1] in "{[" else text)
        elif path.name in ("report.json", "masks.json", "outlines.json", "evaluate.json"):
            found |= _leaves(name, json.loads(path.read_text(encoding="utf-8")))
        elif path.name == "training.jsonl":
            found |= _leaves(name, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    return found


def _frames(path: Path) -> Iterator[np.ndarray]:
    movie = cv2.VideoCapture(str(path))
    while (frame := movie.read()[1]) is not None:
        yield frame


def _leaves(name: str, value: Any) -> Arrays:
    """Arrays of what JSON holds; of a list of objects, one for each of their keys."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        keys = dict.fromkeys(key for item in value for key in item)
        value = {key: [item.get(key) for item in value] for key in keys}
    if isinstance(value, dict):
        found: Arrays = {}
        for key, item in value.items():
            found |= {} if key in LEFT_OUT else _leaves(f"{name}.{key}", item)
        return found
    flat = list(_flat(value))
    if any(isinstance(item, str) for item in flat):
        return {name: np.array([str(item) for item in flat])}
    return {name: np.array([np.nan if item is None else item for item in flat], float)}


def _flat(value: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        yield value
    else:
        for item in value:
            yield from _flat(item)


def digest(array: np.ndarray) -> str:
    """Of type, shape and values, to the last bit."""
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()


def differences(now: Arrays, before: Arrays) -> tuple[list[str], list[str]]:
    """What differs between two sets of products, a line each; and what is only new or has another name."""
    gone, new = ({name: digest(some[name]) for name in some if name not in others}
                 for some, others in ((before, now), (now, before)))
    remarks, differing = [], []
    for name, old in gone.items():
        other = next((candidate for candidate, value in new.items() if value == old), None)
        if other is None:
            differing.append(f"{name}: is gone")
        else:
            del new[other]
            remarks.append(f"{name}: is now called {other}")
    remarks += [f"{name}: is new" for name in new]
    for name in [name for name in before if name in now]:
        if digest(now[name]) != digest(before[name]):
            differing.append(f"{name}: {_apart(now[name], before[name])}")
    return differing, remarks


def _apart(now: np.ndarray, before: np.ndarray) -> str:
    if now.shape != before.shape:
        return f"shape {before.shape} became {now.shape}"
    if now.dtype.kind in "US" or before.dtype.kind in "US":
        return f"{before.ravel()[now.ravel() != before.ravel()][:3]} became {now[now != before][:3]}"
    a, b = now.astype(float), before.astype(float)
    off = np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b))
    if now.dtype != before.dtype and not off.any():
        return f"type {before.dtype} became {now.dtype}, the values are the same"
    largest, scale = float(off.max(initial=0)), float(np.nanmax(np.abs(b), initial=0))
    relative = f", {largest / scale:.3g} of the largest value" if scale else ""
    return f"{np.mean(off != 0):.1%} of the values differ, by at most {largest:.3g}{relative}"
