"""Whether a change of the code changes results: `python -m tests.digests OUT`; README.md beside this explains."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np

from .inputs import FRAMES, ROOT, make_inputs
from .products import Arrays, differences, digest, products_of

ONE_CORE = Path(__file__).with_name("one_core")
"""On the path of what is started: sums are rounded alike then, whatever the computer and however busy it is."""
ONE_THREAD = {"PYTHONPATH": str(ONE_CORE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
              "OPENCV_FOR_THREADS_NUM": "1", "CUDA_VISIBLE_DEVICES": ""}

SMALL = {"crop_size": 64, "frames_per_iteration": 4, "texture_size": 64}
LASR = SMALL | {"hypotheses": 3, "bones": 8, "subdivision": 3, "rigid_iterations": 16, "coarse_iterations": 60,
                "fine_iterations": 24}
KNOWN = LASR | {"coarse_iterations": 16, "fine_iterations": 0}
VMR = SMALL | {"window": 5, "stride": 3, "iterations": 3, "visits": 12}
TRAINING = {"image_size": 32, "bases": 2, "handles": 6, "hypotheses": 4, "looks": 1, "mean_shape_pictures": 16,
            "mean_shape_passes": 8, "instance_iterations": 20, "steps": 12, "batch": 4, "validate_every": 6}
MOVIE = ["{inputs}/clip.mp4", "--masks", "{inputs}/masks", "--frames", f"0:{FRAMES - 1}"]
LABELS = ["{inputs}/frames", "--masks", "{inputs}/labels", "--subject", "2"]
PATCHES = ["{inputs}/frames", "--masks", "{inputs}/patches", "--box", "110,80,190,160"]
TO = ["--out", "{folder}", "--device", "cpu"]


def _settings(values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


CASES: dict[str, list[list[str]]] = {
    "lasr": [["reconstruct", *MOVIE, *TO, *_settings(LASR)],
             ["evaluate", "{folder}", "--masks", "{inputs}/masks", "--gt", "{inputs}/truth.npz", "--keypoints",
              "{inputs}/joints.json"]],
    "lasr-known": [["reconstruct", *MOVIE, *TO, *_settings(KNOWN), "--model", "quadruped", "--focal-length", "830",
                    "--principal-point", "190,146", "--camera-solve", "{inputs}/solve.json", "--seed", "1"]],
    "lasr-hints": [["reconstruct", *LABELS, *TO, *_settings(KNOWN | {"upright": False, "fit_focal_length": True}),
                    "--facing", "0:-40", "--facing", "6:-60"]],
    "vmr-windows": [["reconstruct", *MOVIE, *TO, "--method", "vmr", "--model", "quadruped", *_settings(VMR)]],
    "vmr-subject": [["reconstruct", *LABELS, *TO, "--method", "vmr", "--model", "quadruped", "--shape",
                     "{inputs}/shape", "--facing", "2:-45", *_settings(VMR | {"iterations": 0, "visits": 24})]],
    "vmr-frames": [["reconstruct", *PATCHES, *TO, "--method", "vmr", "--model", "quadruped",
                    *_settings(SMALL | {"visits": 0})]],
    "train-weak": [["train", "{inputs}/collection", *TO, *_settings(TRAINING)]],
    "train-self": [["train", "{inputs}/collection", *TO, "--training", "self", *_settings(TRAINING)]],
    "segment": [["segment", "{inputs}/clip.mp4", "--frames", f"0:{FRAMES - 1}", "--box", "120,90,170,140", "--out",
                 "{folder}"]],
}
"""Commands of the backend, in settings that take seconds."""


class Failed(Exception):
    """A command that did not end well."""


def main(argv: list[str] | None = None) -> int:
    """Runs the cases, prints their digests or what differs; 1 where anything does."""
    parser = argparse.ArgumentParser(prog="python -m tests.digests", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the products")
    parser.add_argument("--against", type=Path, metavar="EARLIER", help="the OUT of an earlier time, to compare with")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose backend runs (default: this one's)")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES), metavar="NAME,NAME",
                        help=", ".join(CASES))
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, each on one core")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.cases if name not in CASES]:
        parser.error(f"--cases: found {unknown[0]}, needs some of {', '.join(CASES)}")
    out, against = arguments.out.resolve(), arguments.against and arguments.against.resolve()
    inputs = (against or out) / "inputs"
    if not inputs.is_dir():
        make_inputs(inputs)
    fine = True
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [pool.submit(carried_out, name, out, inputs, arguments.checkout.resolve()) for name in arguments.cases]
        for name, run in zip(arguments.cases, runs, strict=True):
            try:
                products, seconds = run.result()
            except Failed as error:
                fine, text = False, str(error)
            else:
                text = f"{name}: {seconds:.0f} s\n{table(products)}"
                if against:
                    equal, text = compared(name, products, against)
                    fine &= equal
            print(text, flush=True)
    return 0 if fine else 1


def carried_out(name: str, out: Path, inputs: Path, checkout: Path) -> tuple[Arrays, float]:
    """The products of a case, also left in OUT/NAME.npz, and the seconds that it took."""
    folder, begin = out / "runs" / name, time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in CASES[name]:
        words = [word.format(inputs=inputs, folder=folder) for word in command]
        done = subprocess.run([sys.executable, "-m", "vmr_backend", *words], cwd=checkout, capture_output=True,
                              encoding="utf-8", env=os.environ | ONE_THREAD)
        if done.returncode:
            raise Failed(f"{name}: {command[0]} ended with {done.returncode}\n{done.stderr[-3000:]}")
        if command[0] == "evaluate":
            (folder / "evaluate.json").write_text(done.stdout, encoding="utf-8")
    products = products_of(folder)
    np.savez_compressed(out / f"{name}.npz", **products)  # type: ignore[arg-type]
    (out / f"{name}.json").write_text(json.dumps(CASES[name], indent=1), encoding="utf-8")
    return products, time.monotonic() - begin


def table(products: Arrays) -> str:
    """A line for each file that products come from: how many arrays it holds, and their digest."""
    lines = []
    for file, names in itertools.groupby(sorted(products), lambda name: name.split(".")[0]):
        digests = [f"{name} {digest(products[name])}" for name in names]
        lines.append(f"  {file:15} {len(digests):4} arrays  {sha256(' '.join(digests).encode()).hexdigest()[:16]}")
    return "\n".join(lines)


def compared(name: str, products: Arrays, against: Path) -> tuple[bool, str]:
    """Whether a case's products are what they were, and what is to be said of them."""
    path = against / f"{name}.npz"
    if not path.is_file():
        return True, f"{name}: nothing to compare with"
    with np.load(path, allow_pickle=False) as archive:
        differing, remarks = differences(products, {key: archive[key] for key in archive.files})
    said = f"{name}: {'differs' if differing else 'equal'}"
    return not differing, "\n  ".join([said, *differing, *remarks])


if __name__ == "__main__":
    sys.exit(main())
