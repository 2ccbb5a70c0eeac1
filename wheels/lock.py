"""Resolves the backend's requirements for every target and writes its lock file: exact versions with hashes.

    python wheels/lock.py                           all targets
    python wheels/lock.py windows-x64-py311         one of them
    python wheels/lock.py windows-x64-py311 -- --torch-backend cu130     what follows -- goes to uv

uv resolves for a foreign platform from the index's metadata alone; nothing large is downloaded. (pip's --platform does
not do: it still reads markers such as `platform_system == "Linux"` for the machine that it runs on.)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from targets import MACOS_MINIMUM, TARGETS, UV_PLATFORMS, Target

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     usage="%(prog)s [option ...] [TARGET ...] [-- UV_OPTION ...]")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements" / "backend.txt")
    parser.add_argument("--out", type=Path, default=ROOT / "wheels")
    argv = sys.argv[1:] if argv is None else argv
    own, uv_options = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    arguments = parser.parse_args(own)
    if unknown := [name for name in arguments.targets if name not in TARGETS]:
        parser.error(f"unknown target {unknown[0]}; known are {', '.join(TARGETS)}")
    for name in arguments.targets or TARGETS:
        try:
            packages = resolve(TARGETS[name], arguments.requirements, uv_options)
        except subprocess.CalledProcessError as error:
            print(f"{name}: cannot be resolved\n{error.stderr}", file=sys.stderr)
            return 1
        path = arguments.out / f"{name}.txt"
        path.write_text(lock_text(TARGETS[name], packages), encoding="utf-8")
        print(f"{path}: {len(packages)} packages")
    return 0


def resolve(target: Target, requirements: Path, uv_options: list[str]) -> list[dict]:
    """The packages of a standard lock file (PEP 751), each with name, version and the wheels that fit the target."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pylock.toml"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", str(requirements),
                   "--python-platform", UV_PLATFORMS[target.platform], "--python-version", target.python,
                   "--only-binary", ":all:", "--format", "pylock.toml", "--output-file", str(path), *uv_options]
        environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS_MINIMUM}
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True, encoding="utf-8")
        return tomllib.loads(path.read_text(encoding="utf-8"))["packages"]


def lock_text(target: Target, packages: list[dict]) -> str:
    """The lock in pip's own format, with the file names as comments and without the address they came from."""
    lines = [f"# The backend's wheels for {target.platform}, Python {target.python}. Made by wheels/lock.py."]
    for package in packages:
        lines += [f"# {file_name(wheel)}" for wheel in package["wheels"]]
        hashes = [f" \\\n    --hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"]]
        lines.append(f"{package['name']}=={package['version']}" + "".join(hashes))
    return "\n".join(lines) + "\n"


def file_name(wheel: dict) -> str:
    return wheel.get("name") or unquote(urlsplit(wheel.get("url") or wheel["path"]).path).rsplit("/", 1)[-1]


if __name__ == "__main__":
    sys.exit(main())
