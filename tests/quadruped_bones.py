"""The bones of the quadruped template, read without the package that writes templates."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "vmr_backend" / "templates" / "quadruped.safetensors"


@dataclass(frozen=True)
class Bones:
    names: list[str]
    parents: np.ndarray
    rest: np.ndarray
    lengths: np.ndarray


def quadruped_bones() -> Bones:
    data = FILE.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    names = json.loads(header["__metadata__"]["template"])["bone_names"]

    def array(name: str, kind) -> np.ndarray:
        first, end = header[name]["data_offsets"]
        return np.frombuffer(data[8 + size + first:8 + size + end], kind).reshape(header[name]["shape"])

    return Bones(names, array("bone_parents", np.int32), array("bone_rest", np.float32),
                 array("bone_lengths", np.float32))
