"""Locking, fetching and building with tiny wheels, without a network; and the committed locks."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename
from tiny_wheels import make_wheel, sha256

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "wheels"
sys.path.append(str(WHEELS))
from targets import MACOS_MINIMUM, PIP_PLATFORMS, TARGETS  # noqa: E402


def run(script, *arguments):
    return subprocess.run([sys.executable, str(WHEELS / script), *map(str, arguments)], capture_output=True,
                          encoding="utf-8")


@pytest.fixture
def index(tmp_path):
    """Wheels as an index would hold them: a package built by platform, with a dependency on Windows only."""
    folder = tmp_path / "index"
    for tag in ("manylinux_2_28_x86_64", "win_amd64", "macosx_14_0_arm64"):
        make_wheel(folder, "tensors", "2.0", tag=f"cp311-cp311-{tag}",
                   requires=("numbers-lib>=1", "colours; sys_platform == 'win32'"))
    make_wheel(folder, "numbers-lib", "1.5")
    make_wheel(folder, "numbers-lib", "1.4")
    make_wheel(folder, "colours")
    return folder


@pytest.fixture
def lock_for(index, tmp_path):
    """`lock_for(target)` makes the lock of the tiny packages."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("tensors==2.0\n", encoding="utf-8")

    def lock(target):
        done = run("lock.py", target, "--requirements", requirements, "--out", tmp_path,
                   "--", "--no-index", "--find-links", index)
        assert done.returncode == 0, done.stderr
        return tmp_path / f"{target}.txt"

    return lock


def test_a_lock_names_the_wheels_of_its_target_with_hashes(lock_for, index):
    windows = lock_for("windows-x64-py311").read_text(encoding="utf-8")
    assert re.findall(r"^(\S+)==", windows, flags=re.MULTILINE) == ["colours", "numbers-lib", "tensors"]
    wheel = index / "tensors-2.0-cp311-cp311-win_amd64.whl"
    assert f"# {wheel.name}\ntensors==2.0 \\\n    --hash=sha256:{sha256(wheel)}\n" in windows
    linux = lock_for("linux-x64-py311").read_text(encoding="utf-8")
    assert "colours" not in linux and "numbers-lib==1.5" in linux and "manylinux_2_28" in linux


def test_what_cannot_be_resolved_is_said(index, tmp_path):
    (tmp_path / "requirements.txt").write_text("tensors==3.0\n", encoding="utf-8")
    done = run("lock.py", "linux-x64-py311", "--requirements", tmp_path / "requirements.txt", "--out", tmp_path,
               "--", "--no-index", "--find-links", index)
    assert done.returncode == 1 and "tensors" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "linux-x64-py311.txt").exists()


def test_fetch_downloads_what_the_lock_names_for_another_platform(lock_for, index, tmp_path, monkeypatch):
    lock_for("windows-x64-py311")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    done = run("fetch.py", "windows-x64-py311", "--locks", tmp_path, "--out", tmp_path / "fetched")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "fetched" / "windows-x64-py311").iterdir()} == {
        "colours-1.0-py3-none-any.whl", "numbers_lib-1.5-py3-none-any.whl", "tensors-2.0-cp311-cp311-win_amd64.whl"}


def test_fetch_refuses_a_wheel_that_changed(lock_for, index, tmp_path, monkeypatch):
    lock_for("windows-x64-py311")
    make_wheel(index, "colours", code="print('something else')")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert run("fetch.py", "windows-x64-py311", "--locks", tmp_path, "--out", tmp_path / "fetched").returncode != 0


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_committed_lock_holds_the_requirements_in_wheels_that_fit(target):
    text = (WHEELS / f"{target.name}.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, flags=re.MULTILINE))
    requirements = [Requirement(line) for line in (ROOT / "requirements" / "backend.txt").read_text().splitlines()
                    if not line.startswith("#")]
    assert all(locked.get(canonicalize_name(item.name)) in item.specifier for item in requirements)
    files = re.findall(r"^# (\S+\.whl)$", text, flags=re.MULTILINE)
    for name, _, _, tags in map(parse_wheel_filename, files):
        assert name in locked
        assert tags & supported_tags(target), name
    assert {canonicalize_name(name) for name in locked} == {parse_wheel_filename(file)[0] for file in files}
    assert "://" not in text, "a lock names no host"


def supported_tags(target):
    version = tuple(int(number) for number in target.python.split("."))
    platforms = PIP_PLATFORMS[target.platform]
    if target.platform.startswith("macos"):
        platforms = list(mac_platforms(tuple(int(number) for number in MACOS_MINIMUM.split(".")), "arm64"))
    return {*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)}


@pytest.fixture
def builder():
    """Blender's builder, from whichever bpy environment `make env` made."""
    found = sorted(ROOT.glob(".venv-bpy-*/lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/*_ext.py"))
    if not found:
        pytest.skip("no environment with Blender; make env makes them")
    return found[0]


def test_zips_are_built_plain_and_with_wheels_inside(builder, tmp_path):
    source = tmp_path / "source"
    (source / "wheels").mkdir(parents=True)
    (source / "wheels" / "linux-x64-py311.txt").write_text("# lock\n", encoding="utf-8")
    (source / "__init__.py").write_text("def register(): pass\n", encoding="utf-8")
    (source / "blender_manifest.toml").write_text(
        'schema_version = "1.0.0"\nid = "tiny"\nname = "Tiny"\ntagline = "Nothing"\nversion = "1.2.3"\n'
        'type = "add-on"\nmaintainer = "None"\nlicense = ["SPDX:GPL-3.0-or-later"]\nblender_version_min = "4.2.0"\n'
        'platforms = [\n  "linux-x64",\n  "windows-x64",\n]\n\n[permissions]\nfiles = "Nothing"\n',
        encoding="utf-8")
    options = ("--builder", builder, "--source", source, "--out", tmp_path / "dist", "--wheels", tmp_path / "fetched")
    done = run("build.py", *options)
    assert done.returncode == 0, done.stderr
    assert "tiny-1.2.3.zip" in done.stdout
    done = run("build.py", *options, "--with", "linux-x64-py311")
    assert done.returncode == 1 and "run wheels/fetch.py linux-x64-py311 first" in done.stderr
    make_wheel(tmp_path / "fetched" / "linux-x64-py311", "tensors")
    done = run("build.py", *options, "--with", "linux-x64-py311")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "dist" / "tiny-1.2.3-linux-x64-py311.zip") as archive:
        assert "wheels/linux-x64-py311/tensors-1.0-py3-none-any.whl" in archive.namelist()
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
    assert manifest["platforms"] == ["linux-x64"], "Blender refuses it on others"
    assert manifest["permissions"] == {"files": "Nothing"}
