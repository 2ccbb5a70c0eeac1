"""Downloads the wheels of a lock file, checked by hash, for a self-contained zip; pip's own configuration is honoured.

    python wheels/fetch.py windows-x64-py311        into build/wheels/windows-x64-py311/
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from targets import PIP_PLATFORMS, TARGETS, Target

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--locks", type=Path, default=ROOT / "wheels", help="folder of the lock files")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "wheels")
    arguments = parser.parse_args(argv)
    target = TARGETS[arguments.target]
    folder = arguments.out / target.name
    status = subprocess.run(download_command(target, arguments.locks / f"{target.name}.txt", folder)).returncode
    if status == 0:
        size = sum(path.stat().st_size for path in folder.glob("*.whl"))
        print(f"{folder}: {len(list(folder.glob('*.whl')))} wheels, {size / 1e6:.0f} MB")
    return status


def download_command(target: Target, lock: Path, folder: Path) -> list[str]:
    """pip's command. The lock is complete, so pip follows no dependencies (and no markers of this machine)."""
    platforms = [part for name in PIP_PLATFORMS[target.platform] for part in ("--platform", name)]
    return [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--require-hashes", "--only-binary", ":all:", "--implementation", "cp",
            "--python-version", target.python, *platforms, "--requirement", str(lock), "--dest", str(folder)]


if __name__ == "__main__":
    sys.exit(main())
