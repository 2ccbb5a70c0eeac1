"""Series of runs, clips x presets x seeds x settings: each done once, kept as a line of JSON, shown in tables."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmr_backend.benchmarks.fit import DECIMALS, Clip, RunFailed, run_and_measure, shown
from vmr_backend.job import BadInput
from vmr_backend.outputs.sides import spread_over, write_sides
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import Settings, settings_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS_NAME = "results.jsonl"
FILES = ("frames", "masks", "gt", "keypoints")
"""What a clip's entry names by path."""
LONGEST_NAME = 60
"""Settings that take more letters than this are a digest in the name of a run."""


@dataclass(frozen=True)
class Run:
    """One run of a series."""

    clip: Clip
    preset: str
    seed: int
    version: str
    """Of the code: see `code_version`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Values that differ from the preset's."""

    @property
    def facts(self) -> dict[str, Any]:
        """What tells this run from every other, and opens its line in the results file."""
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.settings.items()))
        return {"clip": self.clip.name, "preset": self.preset, "settings": settings, "seed": self.seed,
                "version": self.version}

    @property
    def name(self) -> str:
        settings = self.facts["settings"].replace(" ", ",")
        if len(settings) > LONGEST_NAME:
            settings = hashlib.sha1(settings.encode()).hexdigest()[:8]
        return "-".join(filter(None, [self.clip.name, self.preset, settings, str(self.seed)]))


def read_clips(path: Path) -> list[Clip]:
    """The clips of a TOML file: a table for each, named as the clip; paths count from the file's folder."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); needs a TOML file of clips") from None
    except ValueError as error:
        raise BadInput(f"{path}: is no TOML ({error})") from None
    clips = []
    for name, entry in entries.items():
        known = {*FILES, "range"}
        if not isinstance(entry, dict) or not {"frames", "masks"} <= set(entry) <= known \
                or not all(isinstance(value, str) for value in entry.values()):
            raise BadInput(f"{path}: clip {name} needs frames and masks, may have gt, keypoints, range; all texts")
        clips.append(Clip(name, range=entry.get("range"),
                          **{key: (path.parent / entry[key]).resolve() for key in FILES if key in entry}))
    if not clips:
        raise BadInput(f"{path}: found no clip, needs a table for each, [name] with frames and masks")
    return clips


def ablations(preset: str, base: dict[str, Any], terms: Sequence[str]) -> list[dict[str, Any]]:
    """The base settings, then the same with each of the terms off: all weights of the preset where none is named.

    A term is the name of a weight, or NAME=VALUE for what is switched off by another value than 0.
    """
    try:
        values = dict(settings_of(preset, base).items())
    except ValueError as error:
        raise BadInput(str(error)) from None
    weights = [s.name for s in Settings.describe() if s.group == "weights" and s.method != "vmr" and values[s.name]]
    changes = [term.partition("=") for term in terms or weights]
    return [base, *(base | {name: value if equals else 0} for name, equals, value in changes)]


def code_version() -> str:
    """The last commit that changed the backend; with four more digits where its files differ from that, or alone."""
    sources = sorted((ROOT / "vmr_backend").rglob("*.py"))
    digest = hashlib.sha1(b"".join(path.read_bytes() for path in sources)).hexdigest()
    commit = _git("log", "-1", "--format=%h", "--", "vmr_backend")
    if not commit:
        return digest[:7]
    return f"{commit}+{digest[:4]}" if _git("status", "--porcelain", "--", "vmr_backend") else commit


def _git(*arguments: str) -> str:
    """What git says, or nothing where there is no git or no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8").stdout.strip()
    except OSError:
        return ""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All lines of a results file in order; a line that was cut short by an interruption is passed over."""
    path = folder / RESULTS_NAME
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def carry_out(runs: Iterable[Run], folder: Path, device: str = "auto", jobs: int = 1) -> list[str]:
    """Do the runs that the folder's results lack, `jobs` at a time; returns a line for each that failed."""
    have = [{name: record.get(name) for name in ("clip", "preset", "settings", "seed", "version")}
            for record in read_results(folder)]
    missing = [run for run in runs if run.facts not in have]
    folder.mkdir(parents=True, exist_ok=True)
    writing, failures = threading.Lock(), []

    def one(run: Run) -> None:
        title, result = f"{run.name} of {run.version}", folder / run.version / run.name
        print(f"{title} ...", flush=True)
        try:
            measured = run_and_measure(run.clip, result, run.preset, run.seed, run.settings, device)
            _draw_sides(result)
        except (BadInput, RunFailed) as error:
            failures.append(f"{title}: {error}")
            print(failures[-1], flush=True)
            return
        record = run.facts | {
            "finished": time.strftime("%Y-%m-%d %H:%M"), "device": device, "jobs": jobs,
            "minutes": round(measured.seconds / 60, 3), "memory_mib": measured.peak_memory_mib,
            "stages": measured.stages} | measured.figures
        with writing:
            _append(folder / RESULTS_NAME, json.dumps(record))
        figures = " ".join(f"{name} {shown(name, record[name])}" for name in DECIMALS if record.get(name) is not None)
        print(f"{title}: {figures}, {record['minutes']:.1f} min", flush=True)

    pool = ThreadPoolExecutor(jobs)
    try:
        for done in [pool.submit(one, run) for run in missing]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
    return failures


def _draw_sides(folder: Path) -> None:
    result = Reconstruction.load(folder)
    write_sides(result, spread_over(result), folder / "sides.png", folder.name)


def _append(path: Path, line: str) -> None:
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if whole else "\n") + line + "\n")


COLUMNS = {**DECIMALS, "minutes": 1, "memory_mib": 0}
"""What tables show of each run, with the digits after the point."""


def results_table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each clip, preset and settings, means over seeds with the least and the most in brackets."""
    rows = [["clip", "preset", "settings", "seeds", *COLUMNS, "code"]]
    for (clip, preset, settings), group in _newest(records).items():
        cells = [_spread([record.get(name) for record in group], digits) for name, digits in COLUMNS.items()]
        seeds = " ".join(str(seed) for seed in sorted(record["seed"] for record in group))
        rows.append([clip, preset, settings, seeds, *cells, group[-1]["version"]])
    return _markdown(rows)


def ablation_table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over seeds of each clip with all terms, and with one changed, by how much that changes them."""
    groups = _newest(records)
    rows = [["clip", "preset", "terms", "seeds", *COLUMNS]]
    for (clip, preset, settings), group in groups.items():
        changed = set(settings.split())
        bases = [other for other in groups if other[:2] == (clip, preset) and set(other[2].split()) < changed]
        base = max(bases, key=lambda other: len(other[2].split())) if bases else None
        cells = []
        for name, digits in COLUMNS.items():
            mean, before = _mean(group, name), _mean(groups[base], name) if base else None
            change = "" if mean is None or before is None else f" ({mean - before:+.{digits}f})"
            cells.append("" if mean is None else f"{mean:.{digits}f}{change}")
        terms = " ".join(sorted(changed - set(base[2].split()))) if base else settings or "all"
        rows.append([clip, preset, terms, str(len(group)), *cells])
    return _markdown(rows)


def _newest(records: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The runs of each clip, preset and settings by the version of the code that was last measured on them."""
    versions = {(record["clip"], record["preset"], record["settings"]): record["version"] for record in records}
    return {key: [record for record in records
                  if (record["clip"], record["preset"], record["settings"], record["version"]) == (*key, version)]
            for key, version in versions.items()}


def _mean(group: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [record[name] for record in group if record.get(name) is not None]
    return sum(values) / len(values) if values else None


def _spread(values: Sequence[float | None], digits: int) -> str:
    """The mean; of several also the least and the most."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{sum(known) / len(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f}–{max(known):.{digits}f})"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table without the columns that are empty in every row."""
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    head, *body = zip(*kept, strict=True)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])
