"""The machines that wheels are locked for, and how the tools name them."""

from __future__ import annotations

from dataclasses import dataclass

PYTHONS = ("3.11", "3.13")
"""Blender 4.2 to 5.0 run Python 3.11, Blender 5.1 and later 3.13."""


@dataclass(frozen=True)
class Target:
    """One platform and Python."""

    platform: str
    """As Blender's manifest names it."""
    python: str
    """Major and minor version."""

    @property
    def name(self) -> str:
        """The stem of the lock file; jobs/backend.py forms the same name for the machine it runs on."""
        return f"{self.platform}-py{self.python.replace('.', '')}"


UV_PLATFORMS = {
    "linux-x64": "x86_64-manylinux_2_28",
    "windows-x64": "x86_64-pc-windows-msvc",
    "macos-arm64": "aarch64-apple-darwin",
}
"""Blender platform -> uv's --python-platform. macos-x64 is left out: PyTorch ended its builds with 2.2."""

MACOS_MINIMUM = "14.0"
"""The oldest macOS that PyTorch 2.13 has wheels for."""

PIP_PLATFORMS = {
    "linux-x64": [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)] + ["manylinux2014_x86_64"],
    "windows-x64": ["win_amd64"],
    "macos-arm64": [f"macosx_{MACOS_MINIMUM.replace('.', '_')}_arm64"],
}
"""Blender platform -> pip's --platform, best first."""

TARGETS = {target.name: target for target in (Target(p, v) for p in UV_PLATFORMS for v in PYTHONS)}
