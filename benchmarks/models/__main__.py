"""What each part of the training of category models is good for: `python -m benchmarks.models`.

Renders a family of the project's own animals, trains a model on it with one thing left out at a time, and prints a
table of scores on held-out pictures. Interrupted, the same command goes on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from vmr_backend.arguments import Arguments
from vmr_backend.cli import main as backend
from vmr_backend.job import EXIT_BAD_INPUT, EXIT_DONE, BadInput
from vmr_backend.training.inspection import ModelEvaluation, evaluate_model

ROOT = Path(__file__).resolve().parents[2]
VARIANTS: dict[str, tuple[str, ...]] = {
    "weak": (),
    "without ARAP": ("--set", "weight_arap=0"),
    "without shape bases": ("--set", "bases=1"),
    "without refinement": ("--set", "refinements=0"),
    "one camera hypothesis": ("--set", "hypotheses=1"),
    "self": ("--training", "self"),
}
FAMILIES = ("bird", "quadruped")


def main(argv: list[str] | None = None) -> int:
    """Trains what is missing, prints the table, returns the exit status."""
    parser = Arguments(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "models")
    try:
        arguments = parser.parse_args(argv)
        rows = []
        for family in arguments.families:
            collection = rendered(family, arguments.pictures, arguments.out)
            for variant in arguments.variants:
                models = [trained(collection, variant, seed, arguments) for seed in arguments.seeds]
                rows.append((family, variant, [evaluate_model(model, collection) for model in models]))
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    print(table(rows))
    return EXIT_DONE


def rendered(family: str, pictures: int, out: Path) -> Path:
    """The collection of a family's pictures, drawn unless it is there."""
    folder = out / f"{family}-{pictures}"
    if not (folder / "annotations.json").exists():
        subprocess.run([sys.executable, "-m", "samples.families", str(folder), "--family", family, "--count",
                        str(pictures), "--seed", "7"], check=True, cwd=ROOT)
    return folder


def trained(collection: Path, variant: str, seed: int, arguments) -> Path:
    """The model file of a variant, trained unless it is there."""
    folder = arguments.out / f"{collection.name}-{variant.replace(' ', '_')}-{arguments.steps}-{seed}"
    model = folder / "model.safetensors"
    if not model.exists():
        status = backend(["train", str(collection), "--out", str(folder), "--steps", str(arguments.steps), "--seed",
                          str(seed), *VARIANTS[variant], *(["--resume"] if folder.exists() else [])])
        if status != EXIT_DONE:
            raise BadInput(f"{folder}: the training of {variant!r} ended with status {status}")
    return model


def table(rows: list[tuple[str, str, list[ModelEvaluation]]]) -> str:
    """Markdown; the means over seeds."""
    lines = ["| family | training | mask IoU | PCK@0.1 | turn off, degrees | keypoints off, 3-D | stretch |",
             "|---|---|---|---|---|---|---|"]
    for family, variant, judged in rows:
        figures = [np.array([getattr(one, name) for one in judged], float).mean()
                   for name in ("iou", "pck", "turn", "keypoints", "stretch")]
        cells = ["" if np.isnan(value) else f"{value:.{digits}f}"
                 for value, digits in zip(figures, (3, 3, 1, 3, 4), strict=True)]
        lines.append(f"| {family} | {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
