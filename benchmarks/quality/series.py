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

from vmr_backend.benchmarks.fit import DECIMALS, BenchmarkClip, RunFailed, run_and_measure, shown
from vmr_backend.job import BadInput
from vmr_backend.outputs.sides import spread_over, write_sides
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import Settings, settings_of
from vmr_backend.vmr.model_file import find_model

ROOT = Path(__file__).resolve().parents[2]
RESULTS_NAME = "results.jsonl"
FILES = ("frames", "masks", "gt", "keypoints")
"""What a clip's entry names by path."""
LONGEST_NAME = 60
"""Settings that take more letters than this are a digest in the name of a run."""
GROUP = ("clip", "preset", "method", "model", "settings")
"""Facts that runs of several seeds and versions share."""
FACTS = (*GROUP, "seed", "version")
"""What tells a run from every other."""
OF_OLD = {"method": "lasr", "model": ""}
"""Facts of lines from before there were several methods."""
STEPS = {"lasr": (), "vmr": ("visits", "iterations")}
"""Settings that switch a step of a method off where they are 0."""


@dataclass(frozen=True)
class SeriesRun:
    """One run of a series."""

    clip: BenchmarkClip
    preset: str
    seed: int
    version: str
    """Of the code, and of the model's file: see `code_version` and `version_with`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Values that differ from the preset's."""
    method: str = "lasr"
    model: str = ""
    """Category model, as it was asked for; empty for lasr from nothing."""

    @property
    def facts(self) -> dict[str, Any]:
        """What tells this run from every other, and opens its line in the results file."""
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.settings.items()))
        return dict(zip(FACTS, (self.clip.name, self.preset, self.method, self.model, settings, self.seed,
                                self.version), strict=True))

    @property
    def name(self) -> str:
        settings = self.facts["settings"].replace(" ", ",")
        if len(settings) > LONGEST_NAME:
            settings = hashlib.sha1(settings.encode()).hexdigest()[:8]
        method = f"{self.method}-{Path(self.model).stem}" if self.model else ""
        return "-".join(filter(None, [self.clip.name, self.preset, method, settings, str(self.seed)]))


def read_clips(path: Path) -> list[BenchmarkClip]:
    """The clips of a TOML file: a table for each, named as the clip; paths count from the file's folder."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); needs a TOML file of clips") from None
    except ValueError as error:
        raise BadInput(f"{path}: is no TOML ({error})") from None
    clips = []
    for name, entry in entries.items():
        known = {*FILES, "range", "model"}
        if not isinstance(entry, dict) or not {"frames", "masks"} <= set(entry) <= known \
                or not all(isinstance(value, str) for value in entry.values()):
            raise BadInput(f"{path}: clip {name} needs frames and masks, may have gt, keypoints, range, model; all "
                           "texts")
        clips.append(BenchmarkClip(name, range=entry.get("range"), model=entry.get("model"),
                          **{key: (path.parent / entry[key]).resolve() for key in FILES if key in entry}))
    if not clips:
        raise BadInput(f"{path}: found no clip, needs a table for each, [name] with frames and masks")
    return clips


def ablations(preset: str, base: dict[str, Any], terms: Sequence[str], method: str = "lasr") -> list[dict[str, Any]]:
    """The base settings, then the same with each of the terms off: where none is named, all weights and steps of the
    method that are on.

    A term is the name of a weight, or NAME=VALUE for what is switched off by another value than 0.
    """
    try:
        values = dict(settings_of(preset, base).items())
    except ValueError as error:
        raise BadInput(str(error)) from None
    weights = [s.name for s in Settings.describe() if s.group == "weights" and s.is_read_by(method)]
    everything = [name for name in (*weights, *STEPS[method]) if values[name]]
    changes = [term.partition("=") for term in terms or everything]
    return [base, *(base | {name: value if equals else 0} for name, equals, value in changes)]


def code_version() -> str:
    """The last commit that changed the backend; with four more digits where its files differ from that, or alone."""
    sources = sorted((ROOT / "vmr_backend").rglob("*.py"))
    digest = hashlib.sha1(b"".join(path.read_bytes() for path in sources)).hexdigest()
    commit = _git("log", "-1", "--format=%h", "--", "vmr_backend")
    if not commit:
        return digest[:7]
    return f"{commit}+{digest[:4]}" if _git("status", "--porcelain", "--", "vmr_backend") else commit


def version_with(code: str, model: str | None) -> str:
    """The code's version; with four digits of the file of a category model, which may have learnt more since."""
    return f"{code}-{hashlib.sha1(find_model(model).read_bytes()).hexdigest()[:4]}" if model else code


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
            records.append(OF_OLD | json.loads(line))
        except ValueError:
            continue
    return records


def facts_of(record: dict[str, Any]) -> dict[str, Any]:
    """The facts of the run that a line of results is of."""
    return {name: record.get(name) for name in FACTS}


def carry_out(runs: Iterable[SeriesRun], folder: Path, device: str = "auto", jobs: int = 1) -> list[str]:
    """Do the runs that the folder's results lack, `jobs` at a time; returns a line for each that failed."""
    have = [facts_of(record) for record in read_results(folder)]
    missing = [run for run in runs if run.facts not in have]
    folder.mkdir(parents=True, exist_ok=True)
    writing, failures = threading.Lock(), []

    def one(run: SeriesRun) -> None:
        title, result = f"{run.name} of {run.version}", folder / run.version / run.name
        print(f"{title} ...", flush=True)
        try:
            measured = run_and_measure(run.clip, result, run.preset, run.seed, run.settings, device, run.method,
                                       run.model or None)
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
    """Markdown: a row for each GROUP of facts, means over seeds with the least and the most in brackets."""
    rows = [[*GROUP, "seeds", *COLUMNS, "code"]]
    for key, group in _newest(records).items():
        cells = [_spread([record.get(name) for record in group], digits) for name, digits in COLUMNS.items()]
        seeds = " ".join(str(seed) for seed in sorted(record["seed"] for record in group))
        rows.append([*key, seeds, *cells, group[-1]["version"]])
    return _markdown(rows)


def ablation_table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over seeds of each clip with all terms, and with one changed, by how much that changes them."""
    groups = _newest(records)
    rows = [[*GROUP[:-1], "terms", "seeds", *COLUMNS]]
    for key, group in groups.items():
        *subject, settings = key
        base = _base_of(settings, [other for *same, other in groups if same == subject])
        before = [] if base is None else groups[*subject, base]
        cells = [_changed(group, before, name, digits) for name, digits in COLUMNS.items()]
        terms = settings or "all" if base is None else " ".join(sorted(set(settings.split()) - set(base.split())))
        rows.append([*subject, terms, str(len(group)), *cells])
    return _markdown(rows)


def _base_of(settings: str, others: Iterable[str]) -> str | None:
    """Of the other settings those that these add to, or of which they switch one off: what they share most with."""
    own = set(settings.split())
    off = {item.removesuffix("=0") for item in own if item.endswith("=0")}
    bases = [other for other in others if set(other.split()) != own
             and {item.partition("=")[0] for item in set(other.split()) - own} <= off]
    return max(bases, key=lambda other: (len(own & set(other.split())), set(other.split()) < own), default=None)


def _newest(records: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """The runs of each GROUP of facts by the version of the code that was last measured on them."""
    keys = [tuple(record[name] for name in GROUP) for record in records]
    versions = {key: record["version"] for key, record in zip(keys, records, strict=True)}
    return {key: [record for own, record in zip(keys, records, strict=True)
                  if own == key and record["version"] == version] for key, version in versions.items()}


def _changed(group: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], name: str, digits: int) -> str:
    """The mean, in brackets that of its changes against the runs before with the same seeds."""
    mean = _mean(record.get(name) for record in group)
    if mean is None:
        return ""
    known = {record["seed"]: record[name] for record in before if record.get(name) is not None}
    change = _mean(record[name] - known[record["seed"]] for record in group
                   if record.get(name) is not None and record["seed"] in known)
    return f"{mean:.{digits}f}" + ("" if change is None else f" ({change:+.{digits}f})")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


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
