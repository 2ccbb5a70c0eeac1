"""What Blender's process hands over of a rigged object: arrays and facts in an .npz file, of which a template is made.

The standard library and NumPy only: Blender's own process writes the file, and has no safetensors.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..job import BadInput, write_whole

if TYPE_CHECKING:
    from .template import Template

HELD_BY = 8
"""Bones that hold a vertex at the most."""
MOST_VERTICES, MOST_FACES, MOST_BONES, MOST_SHAPES, MOST_LANDMARKS = 400_000, 800_000, 512, 32, 256
RIG_NAME = "rig.npz"
FACTS = "facts"
"""Name of the facts among the arrays, as bytes of JSON."""


def save_rig(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all.

    arrays  by the names of the fields of `Template`
    facts   by the names of the fields of `TemplateCard`; what else is there is for whoever reads it
    """
    content = io.BytesIO()
    everything: dict[str, Any] = {FACTS: np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8), **arrays}
    np.savez(content, **everything)
    write_whole(path, content.getvalue())


def digest_of(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """A text that is the same for rigs of which the same template is made, whatever their file is called."""
    digest = hashlib.sha256(json.dumps([facts["bone_names"], facts.get("shape")]).encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def load_rig(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the facts of such a file; BadInput where it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        facts = json.loads(arrays.pop(FACTS).tobytes())
        if not isinstance(facts, dict):
            raise ValueError("facts")
        return arrays, facts
    except (OSError, KeyError, TypeError, ValueError, AttributeError, MemoryError, RecursionError, zipfile.BadZipFile,
            zlib.error, EOFError) as error:
        raise _no_rig(path, error) from None


def template_of(path: Path) -> Template:
    """The template in such a file, checked; BadInput where it is none."""
    from .template import Template, TemplateCard

    arrays, facts = load_rig(path)
    try:
        kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                for name, value in facts.items() if name in TemplateCard.__dataclass_fields__}
        template = Template(TemplateCard(**kept), **arrays)
    except (TypeError, ValueError, AttributeError) as error:
        raise _no_rig(path, error) from None
    template.check(str(path))
    return template


def template_in(path: Path) -> Template:
    """The template in a file, of either kind: what Blender's process handed over, or what `template` wrote."""
    from .template import Template

    return template_of(path) if path.suffix == Path(RIG_NAME).suffix else Template.load(path)


def _no_rig(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path}: holds no rig ({' '.join(str(error).split())[:200]}); needs one that Blender wrote for "
                    "`template`")
