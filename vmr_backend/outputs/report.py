"""The report of a run, report.json: what was asked for, what it took, how well it fits, and where to be careful."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..job import JobRequest, write_whole
from ..metrics.segmentation import Scores
from ..reconstruction import REPORT_NAME
from ..settings import Settings

FORMAT = 1

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "torch", "warp-lang", "safetensors")

POOR_FIT = 0.15
"""How far J of a frame may lie below the clip's median before the frame is called doubtful."""


@dataclass(frozen=True)
class Stage:
    """One part of a run."""

    name: str
    seconds: float
    peak_memory_mib: float | None
    """Largest memory of the process (or of the device) up to the end of the stage."""


def write_report(folder: Path, *, request: JobRequest, settings: Settings, device: str, stages: Sequence[Stage],
                 versions: Mapping[str, str] | None = None, scores: Scores | None = None,
                 colour_error: Mapping[int, float] | None = None, coverage: float | None = None,
                 doubts: Mapping[int, Sequence[str]] | None = None,
                 left_out: Sequence[tuple[int, str]] = (), hypotheses: Sequence[Any] = (),
                 warnings: Sequence[str] = ()) -> None:
    """Writes report.json; docs/result-format.md describes it.

    versions      of the packages used; None: those installed
    scores        of the result's silhouettes against its own masks
    colour_error  mean difference (of 255) between footage and textured mesh, by number of the clip's frame
    coverage      share of the surface that some frame shows
    doubts        by number of the clip's frame, why it is doubtful; frames that fit poorly are added
    left_out      number and reason of the frames that are not in the result
    hypotheses    what is known of each camera hypothesis, the one chosen first: objects, dataclasses or numbers
    """
    report = {
        "format": FORMAT,
        "request": asdict(request),
        "settings": dict(settings.items()),
        "versions": dict(installed_versions() if versions is None else versions),
        "device": device,
        "seconds": sum(stage.seconds for stage in stages),
        "peak_memory_mib": max((s.peak_memory_mib for s in stages if s.peak_memory_mib is not None), default=None),
        "stages": stages,
        "scores": scores.means() if scores else None,
        "colour_error": float(np.mean(list(colour_error.values()))) if colour_error else None,
        "coverage": coverage,
        "frames": _frames(scores, colour_error or {}, doubts or {}),
        "left_out": [{"frame": number, "reason": reason} for number, reason in left_out],
        "hypotheses": hypotheses,
        "warnings": warnings,
    }
    write_whole(folder / REPORT_NAME, (json.dumps(plain(report), indent=1, allow_nan=False) + "\n").encode())


def installed_versions() -> dict[str, str]:
    """Python, the system, and each of the backend's packages that is installed."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def plain(value: Any) -> Any:
    """The value in what JSON knows: NumPy and dataclasses unpacked, six digits, None for what is no number."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _frames(scores: Scores | None, colour_error: Mapping[int, float],
            doubts: Mapping[int, Sequence[str]]) -> list[dict[str, Any]]:
    """One entry for each frame of which something is known, in order."""
    fit = {int(n): (j, f) for n, j, f in zip(scores.frames, scores.j, scores.f, strict=True)} if scores else {}
    least = np.median(scores.j) - POOR_FIT if scores else 0.0
    entries = []
    for number in sorted({*fit, *map(int, colour_error), *map(int, doubts)}):
        entry: dict[str, Any] = {"frame": number}
        reasons = list(doubts.get(number, ()))
        if number in fit:
            entry["J"], entry["F"] = fit[number]
            if fit[number][0] < least:
                reasons.append(f"the mesh fits its mask poorly (J {fit[number][0]:.2f}, the clip's median is "
                               f"{np.median(scores.j):.2f})")
        if number in colour_error:
            entry["colour_error"] = colour_error[number]
        entries.append(entry | {"doubts": reasons})
    return entries
