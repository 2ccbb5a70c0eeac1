"""How far a result can be trusted, from its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..vmr_backend.reconstruction import REPORT_NAME

LEVELS = ("good", "careful", "poor")


@dataclass(frozen=True)
class ReportVerdict:
    """The report's verdict on the whole result, and its doubtful frames."""

    trust: str
    """One of LEVELS."""
    sentence: str
    doubts: dict[int, str]
    """Why a frame is doubtful, by number of the clip's frame."""


def verdict_of(folder: Path) -> ReportVerdict | None:
    """The verdict in the report of a result folder; None where there is no report that holds one."""
    try:
        report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
        trust, sentence = report["verdict"]["trust"], report["verdict"]["sentence"]
        reasons = {entry["frame"]: entry.get("doubts", []) for entry in report["frames"]}
        doubts = {int(number): "; ".join(map(str, reasons.get(number, []))) for number in report["doubtful_frames"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return ReportVerdict(trust, str(sentence), doubts) if trust in LEVELS else None
