"""Category models: where they lie, the facts in their files, and how one is added or removed.

A model file is in the safetensors format: 8 bytes with the length of a header, the header in JSON, then tensors. Only
the header is read here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..vmr_backend.job import BadInput, write_whole

SUFFIX = ".safetensors"
SHIPPED = Path(__file__).resolve().parent.parent / "models"
LONGEST_HEADER = 4 * 2**20


@dataclass(frozen=True)
class ModelFile:
    """The facts in a model file."""

    path: Path
    category: str
    scores: dict[str, float] = field(default_factory=dict)
    """On pictures that it was not trained on, by name."""
    problem: str = ""
    """Why it cannot be used, in one line; then the rest is empty."""

    @property
    def name(self) -> str:
        """What it is chosen by."""
        return self.path.stem

    @property
    def is_shipped(self) -> bool:
        return self.path.parent == SHIPPED


def models_in(folder: Path) -> list[ModelFile]:
    """The models that come with the extension, then those of a folder, each by name; broken ones with their problem."""
    found = []
    for where in dict.fromkeys((SHIPPED, folder)):
        for path in sorted(where.glob(f"*{SUFFIX}")) if where.is_dir() else ():
            try:
                found.append(read_model(path))
            except BadInput as error:
                found.append(ModelFile(path, "", problem=str(error)))
    return found


def find_model(chosen: str, folder: Path) -> ModelFile:
    """The model of a name, as `models_in` lists them, or of a path; BadInput where there is none, or it is broken."""
    if (path := Path(chosen).expanduser()).is_absolute():
        return read_model(path)
    models = models_in(folder)
    for model in models:
        if model.name == chosen:
            return read_model(model.path)
    known = ", ".join(model.name for model in models) or "train one first"
    raise BadInput(f"model: found no category model {chosen!r}; needs the path of one, or its name ({known})")


def read_model(path: Path) -> ModelFile:
    """The facts in a model file; BadInput where it is none, or not whole."""
    try:
        facts = path.stat()
        return _read(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); needs a category model") from None


@functools.lru_cache(maxsize=256)
def _read(path: Path, size: int, _time: int) -> ModelFile:
    """Kept until the file changes: panels ask again with every move of the mouse."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise BadInput(f"{path}: found no safetensors header; needs a category model")
        try:
            header = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            raise BadInput(f"{path}: found a header that is no JSON; needs a category model") from None
    facts = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(facts, dict) or not isinstance(facts.get("category"), str):
        raise BadInput(f"{path}: found no category in its header; needs a category model")
    if (end := _end_of_tensors(header)) != (there := size - 8 - length):
        found = f"{there} bytes of tensors where its header has {end}" if end is not None else "no tensors"
        raise BadInput(f"{path}: found {found}; needs a whole category model")
    return ModelFile(path, facts["category"], _scores(facts.get("scores")))


def install_model(file: Path, category: str, folder: Path) -> Path:
    """Copy a model into the folder under its category's name, numbered where that is taken by another one; its path."""
    content = read_model(file).path.read_bytes()
    digest = hashlib.sha256(content).digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = folder / f"{file_name(category)}{f'_{number}' if number > 1 else ''}{SUFFIX}"
            if path.is_file() and hashlib.sha256(path.read_bytes()).digest() == digest:
                return path
            if not path.exists() and not (SHIPPED / path.name).exists():
                write_whole(path, content)
                return path
            number += 1
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}); choose another Models Folder in the "
                       "preferences") from None


def remove_model(name: str, folder: Path) -> Path:
    """Remove a model of the folder; BadInput where there is none of that name, or it cannot be removed."""
    path = folder / f"{name}{SUFFIX}"
    if path.parent != folder or not path.is_file():
        raise BadInput(f"{name}: found no such model in {folder}; those that come with the extension stay")
    try:
        path.unlink()
    except OSError as error:
        raise BadInput(f"{path}: cannot be removed ({error.strerror})") from None
    return path


def file_name(category: str) -> str:
    """A category's name as files can have it."""
    return re.sub(r"[^\w-]+", "_", category).strip("_")[:40] or "category"


def _end_of_tensors(header: dict[str, Any]) -> int | None:
    """Where the last tensor ends, in bytes after the header; None where an entry is no tensor's."""
    try:
        ends = [entry["data_offsets"][1] for entry in header.values()]
    except (TypeError, KeyError, IndexError):
        return None
    return max(ends, default=0) if all(type(end) is int for end in ends) else None


def _scores(text: Any) -> dict[str, float]:
    """The numbers among the metadata's scores; they are shown only."""
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: float(value) for name, value in values.items() if type(value) in (int, float)}
