"""Files of category models as far as Blender's side reads them: a header, and bytes where the tensors are."""

import json
from pathlib import Path


def save_model(path: Path, category="goat", scores=None, size=4, **facts) -> Path:
    """A model file of one tensor of `size` bytes; its path."""
    metadata = {"category": category, "scores": json.dumps(scores or {}), **facts}
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    return save_header(path, {"__metadata__": metadata, "mean": entry}, bytes(size))


def save_header(path: Path, header, tensors=b"") -> Path:
    """A file of any header; its path."""
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    return path
