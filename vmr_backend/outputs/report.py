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
from ..methods import METHODS
from ..metrics.mask_agreement import MaskScores
from ..reconstruction import REPORT_NAME, Reconstruction
from ..settings import Settings
from .trust import Trust

FORMAT = 1

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "torch", "warp-lang", "safetensors", "pycocotools",
            "scikit-learn", "tensorboardX")


@dataclass(frozen=True)
class StageTime:
    """One part of a run."""

    name: str
    seconds: float
    peak_memory_mib: float | None
    """Largest memory of the process (or of the device) up to the end of the stage."""


@dataclass(frozen=True)
class Lens:
    """The footage's camera as the result has it."""

    field_of_view: float
    """Horizontal, degrees."""
    focal_length: float
    """Pixels of the full frame."""
    source: str
    """"given" with the request, "assumed" from the setting, "fitted" from there, or "weak perspective": so long that it
    stands for parallel rays."""

    @staticmethod
    def of(result: Reconstruction, request: JobRequest, settings: Settings) -> Lens:
        guess = "fitted" if settings.fit_focal_length else "assumed"
        source = guess if request.focal_length is None else "given"
        if not METHODS[request.method].perspective(settings):
            source = "weak perspective"
        focal, width = float(result.intrinsics[0, 0]), float(result.image_size[0])
        return Lens(math.degrees(2 * math.atan(width / 2 / focal)), focal, source)


def write_report(folder: Path, *, request: JobRequest, settings: Settings, device: str, stages: Sequence[StageTime],
                 versions: Mapping[str, str] | None = None, scores: MaskScores | None = None,
                 colour_error: Mapping[int, float] | None = None, coverage: float | None = None,
                 trust: Trust | None = None, lens: Lens | None = None, left_out: Sequence[tuple[int, str]] = (),
                 hypotheses: Sequence[Any] = (), warnings: Sequence[str] = ()) -> None:
    """Writes report.json; docs/result-format.md describes it.

    versions      of the packages used; None: those installed
    scores        of the result's silhouettes against its own masks
    colour_error  mean difference (of 255) between footage and textured mesh, by number of the clip's frame
    coverage      share of the surface that some frame shows well enough to take its colour
    trust         how far the result and each of its frames can be trusted
    lens          of the result, and where it is from
    left_out      number and reason of the frames that are not in the result
    hypotheses    what is known of each camera hypothesis, the one chosen first: objects, dataclasses or numbers
    """
    report = {
        "format": FORMAT,
        "request": asdict(request),
        "settings": dict(settings.items()),
        "versions": dict(installed_versions() if versions is None else versions),
        "device": device,
        "verdict": trust and trust.verdict,
        "seconds": sum(stage.seconds for stage in stages),
        "peak_memory_mib": max((s.peak_memory_mib for s in stages if s.peak_memory_mib is not None), default=None),
        "stages": stages,
        "scores": scores.means() if scores else None,
        "colour_error": float(np.mean(list(colour_error.values()))) if colour_error else None,
        "coverage": coverage,
        "lens": lens,
        "never_seen": trust and trust.measures.never_seen,
        "turn": trust and trust.measures.turn,
        "motion": trust and trust.measures.motion,
        "rival_gap": trust and trust.measures.rival_gap,
        "doubtful_frames": trust.doubtful_frames if trust else [],
        "frames": _frames(scores, colour_error or {}, trust),
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


def _frames(scores: MaskScores | None, colour_error: Mapping[int, float], trust: Trust | None) -> list[dict[str, Any]]:
    """One entry for each frame of which something is known, in order."""
    entries: dict[int, dict[str, Any]] = {}

    def entry(number: Any) -> dict[str, Any]:
        return entries.setdefault(int(number), {"frame": int(number)})

    if scores:
        for number, j, f in zip(scores.frames, scores.j, scores.f, strict=True):
            entry(number).update(J=j, F=f)
    for number, error in colour_error.items():
        entry(number)["colour_error"] = error
    if trust:
        found = trust.measures
        for number, residual, doubt in zip(found.frames, found.flow_residual, trust.doubts, strict=True):
            entry(number).update(flow_residual=residual, doubt=doubt.doubt, doubts=doubt.reasons)
    return [entries[number] for number in sorted(entries)]
