"""Builds the extension's zips with Blender's own builder: plain, or self-contained with a target's wheels inside.

    python wheels/build.py                                      dist/ID-VERSION.zip
    python wheels/build.py --with windows-x64-py311             dist/ID-VERSION-windows-x64-py311.zip

Runs in any Python that has the bpy module (the builder is a script inside it), or with --builder naming blender_ext.py
of a Blender.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from targets import TARGETS, Target

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "blender_manifest.toml"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with", dest="target", choices=TARGETS, help="put the wheels of this target into the zip")
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels", help="where wheels/fetch.py put them")
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--builder", type=Path, help="blender_ext.py; else found in the bpy module")
    arguments = parser.parse_args(argv)
    builder = arguments.builder or find_builder()
    if builder is None:
        parser.error("no bpy module in this Python; use one that has it (`make env`) or name --builder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        path = build(builder, arguments.source, arguments.out)
        if arguments.target:
            target = TARGETS[arguments.target]
            path = build_self_contained(builder, path, target, arguments.wheels / target.name, arguments.out)
    except (RuntimeError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


def find_builder() -> Path | None:
    """blender_ext.py of this Python's bpy module, which is not imported for it."""
    spec = importlib.util.find_spec("bpy")
    folders = [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []
    found = [path for folder in folders for path in folder.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")]
    return found[0] if found else None


def build(builder: Path, source: Path, out: Path, suffix: str = "") -> Path:
    """The zip of a source folder, built and validated by Blender's builder."""
    manifest = tomllib.loads((source / MANIFEST).read_text(encoding="utf-8"))
    path = out.resolve() / f"{manifest['id']}-{manifest['version']}{suffix}.zip"
    for action in (["build", "--source-dir", str(source), "--output-filepath", str(path)], ["validate", str(path)]):
        run = subprocess.run([sys.executable, str(builder), *action], capture_output=True, text=True, encoding="utf-8")
        if run.returncode != 0:
            raise RuntimeError(f"{path.name}: Blender's {action[0]} failed\n{run.stdout}{run.stderr}".rstrip())
    return path


def build_self_contained(builder: Path, plain: Path, target: Target, wheels: Path, out: Path) -> Path:
    """The plain zip's files and a target's wheels in wheels/TARGET/, where jobs/backend.py finds them."""
    if not list(wheels.glob("*.whl")):
        raise FileNotFoundError(f"{wheels}: holds no wheels; run wheels/fetch.py {target.name} first")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        with zipfile.ZipFile(plain) as archive:
            archive.extractall(source)
        shutil.copytree(wheels, source / "wheels" / target.name)
        manifest = source / MANIFEST
        manifest.write_text(limited_to(target.platform, manifest.read_text(encoding="utf-8")), encoding="utf-8")
        return build(builder, source, out, f"-{target.name}")


def limited_to(platform: str, manifest: str) -> str:
    """The manifest's text naming one platform: Blender then refuses the zip on others."""
    without = re.sub(r"^platforms\s*=\s*\[.*?\]\n", "", manifest, flags=re.MULTILINE | re.DOTALL)
    return f'platforms = ["{platform}"]\n{without}'


if __name__ == "__main__":
    sys.exit(main())
