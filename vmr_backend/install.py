"""Makes the backend's own Python environment: a venv with the locked packages, checked by the doctor.

    python -m vmr_backend.install --folder FOLDER [--online] [--requirements FILE] [--wheels FOLDER]

Standard library only. Blender's Install Backend runs this as a child process, in Blender's own Python. Each environment
is made in a folder of its own below FOLDER, which never moves (an environment holds its own path), and counts only once
its marker file, written last, is there. Events go to standard output, what venv and pip say to standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .job import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, BadInput, Event, write_whole

EXTENSION = Path(__file__).resolve().parent.parent
MARKER = "installed.json"
"""Holds the path of the environment's interpreter; jobs/backend.py looks for it."""
REQUIREMENTS_VARIABLE = "VMR_BACKEND_REQUIREMENTS"
"""Names a requirements file to install instead of the lock: another build of PyTorch, a mirror."""
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)
"""On Windows a child of a program without a console opens one unless told not to."""
DOCTOR = "import sys; sys.path.append(sys.argv.pop(1)); from vmr_backend.doctor import main; sys.exit(main())"


@dataclass(frozen=True)
class Source:
    """Where the packages come from."""

    requirements: Path
    options: tuple[str, ...]
    """pip's, besides the requirements."""


class InstallationFailed(Exception):
    """A tool failed; the text is one line."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where environments live")
    parser.add_argument("--online", action="store_true", help="allow downloads where no wheels are bundled")
    parser.add_argument("--requirements", type=Path, default=os.environ.get(REQUIREMENTS_VARIABLE) or None,
                        help=f"install these instead of the lock; also {REQUIREMENTS_VARIABLE}")
    parser.add_argument("--wheels", type=Path, default=EXTENSION / "wheels", help="lock files and bundled wheels")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input does")
    arguments = parser.parse_args(argv)
    if arguments.watch_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        source = choose_source(arguments.online, arguments.wheels, arguments.requirements)
        python = install(arguments.folder, source)
    except (BadInput, InstallationFailed) as error:
        _say(Event("error", message=f"Install Backend: {error}"))
        return EXIT_BAD_INPUT if isinstance(error, BadInput) else EXIT_FAILED
    _say(Event("done", fraction=1.0, message=str(python)))
    return EXIT_DONE


def choose_source(online: bool, wheels: Path, requirements: Path | None = None) -> Source:
    """The user's requirements file if named; else the bundled wheels; else, where allowed, the network by hash."""
    if requirements is not None:
        if not requirements.is_file():
            raise BadInput(f"{requirements}: not found; {REQUIREMENTS_VARIABLE} needs to name a requirements file")
        return Source(requirements, () if online else ("--no-index",))
    target = target_name()
    lock, bundled = wheels / f"{target}.txt", wheels / target
    if not lock.is_file():
        raise BadInput(f"no packages are offered for {target}; name an interpreter that has PyTorch and the others "
                       "in the preferences")
    if bundled.is_dir():
        return Source(lock, ("--require-hashes", "--no-index", "--find-links", str(bundled)))
    if not online:
        raise BadInput(f"this zip holds no wheels for {target}, and Blender's online access is off; allow it in "
                       "Preferences > System > Network, or install the self-contained zip")
    return Source(lock, ("--require-hashes",))


def target_name(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> str:
    """The name of this machine's lock file (wheels/targets.py): platform as Blender names it, and Python."""
    system = {"darwin": "macos"}.get(platform.system().lower(), platform.system().lower())
    machine = platform.machine().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return f"{system}-{machine}-py{version[0]}{version[1]}"


def install(parent: Path, source: Source) -> Path:
    """Make, fill and check a new environment below `parent`; then remove older ones. Returns its interpreter."""
    try:
        remove_unfinished(parent)
        folder = _new_folder(parent, source)
        try:
            python = _make_environment(folder)
            _install_packages(python, source, folder)
            _verify(python)
            shutil.rmtree(folder / "tmp", ignore_errors=True)
            write_whole(folder / MARKER, json.dumps({"python": str(python), "target": target_name()}).encode())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        reason = plain_reason(str(error), parent) or error.strerror
        raise BadInput(f"{error.filename or parent}: cannot be written ({reason})") from None
    for marker in set(parent.glob(f"*/{MARKER}")) - {folder / MARKER}:
        marker.unlink()
    remove_unfinished(parent)
    return python


def remove_unfinished(parent: Path) -> None:
    """Remove the environments without a marker, as far as nothing uses them."""
    for folder in parent.iterdir() if parent.is_dir() else ():
        if folder.is_dir() and not (folder / MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)


def requirement_count(requirements: Path) -> int:
    """How many packages a requirements file names, to measure progress by."""
    return len(re.findall(r"^[A-Za-z0-9]", requirements.read_text(encoding="utf-8"), flags=re.MULTILINE))


def progress_message(line: str) -> str:
    """What a line of pip's output tells the user; empty where nothing."""
    if match := re.match(r"Collecting (\S+)", line):
        return f"Collecting {match[1]}"
    if match := re.match(r"(Processing|Downloading) (?:.*[/\\])?(\S+)\.whl(?: (\(.* .B\)))?", line):
        verb = "Reading" if match[1] == "Processing" else "Downloading"
        return " ".join(part for part in (verb, "-".join(match[2].split("-")[:2]), match[3]) if part)
    if line.startswith("Installing collected packages:"):
        return f"Unpacking {line.count(',') + 1} packages"
    return ""


def plain_reason(text: str, folder: Path) -> str:
    """What an output says in plain language, for the common reasons of failure; empty for others."""
    if re.search(r"No space left|not enough space|Errno 28", text):
        free = shutil.disk_usage(folder).free / 1e9
        return f"the disk of {folder} is full: {free:.1f} GB are free, the backend needs 2 GB, with CUDA 10 GB"
    if re.search(r"Long Path|path too long|file name too long", text, flags=re.IGNORECASE):
        return f"paths below {folder} are too long for Windows; enable its long paths, then install again"
    if "DO NOT MATCH THE HASHES" in text:
        return "a package differs from the one that was locked (its hash does not match)"
    if re.search(r"name resolution|getaddrinfo|NewConnectionError|Max retries|timed out", text):
        return "the package index cannot be reached; check the network, or install the self-contained zip"
    return ""


def _new_folder(parent: Path, source: Source) -> Path:
    """A folder not used yet, of a short name because of the limit on paths in Windows."""
    digest = hashlib.sha256(source.requirements.read_bytes()).hexdigest()[:6]
    number = 0
    while (folder := parent / f"{digest}-{number}").exists():
        number += 1
    (folder / "tmp").mkdir(parents=True)
    return folder


def _make_environment(folder: Path) -> Path:
    _say(Event("progress", "environment", message="Making a Python environment"))
    _run("Python's venv", [sys.executable, "-I", "-m", "venv", str(folder)], folder)
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def _install_packages(python: Path, source: Source, folder: Path) -> None:
    command = [str(python), "-I", "-u", "-m", "pip", "install", "--no-input", "--no-color", "--no-cache-dir",
               "--disable-pip-version-check", "--progress-bar", "off", "--no-compile", "--only-binary", ":all:",
               *source.options, "--requirement", str(source.requirements)]
    total, seen = requirement_count(source.requirements), 0
    finished = threading.Event()

    def tell(line: str) -> None:
        nonlocal total, seen
        if message := progress_message(line):
            seen += message.startswith(("Collecting", "Reading"))
            total = max(total, seen)
            fraction = 0.6 if message.startswith("Unpacking") else 0.05 + 0.55 * seen / total
            _say(Event("progress", "packages", seen, total, round(fraction, 3), message=message))
            if message.startswith("Unpacking"):
                threading.Thread(target=_tell_of_unpacking, args=(folder, total, finished), daemon=True).start()

    try:
        _run("pip", command, folder, tell)
    finally:
        finished.set()


def _tell_of_unpacking(folder: Path, total: int, finished: threading.Event) -> None:
    """pip says nothing for the minutes that unpacking takes; the packages that are there can be counted."""
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(folder)}))
    before, told = len(list(packages.glob("*.dist-info"))), 0
    while not finished.wait(0.5):
        count = min(len(list(packages.glob("*.dist-info"))) - before, total)
        if count == told:
            continue
        told = count
        _say(Event("progress", "unpacking", count, total, round(0.6 + 0.35 * count / max(total, 1), 3),
                   message=f"Unpacking packages: {count} of {total} done"))


def _verify(python: Path) -> None:
    _say(Event("progress", "check", fraction=0.95, message="Checking the backend"))
    run = subprocess.run([str(python), "-I", "-c", DOCTOR, str(EXTENSION)], stdin=subprocess.DEVNULL,
                         capture_output=True, encoding="utf-8", errors="replace", creationflags=NO_WINDOW)
    if run.returncode != 0:
        problems = re.findall(r"^Problem: (.+)", run.stdout, flags=re.MULTILINE)
        reason = " ".join(problems or run.stderr.splitlines()[-1:] or [f"exit status {run.returncode}"])
        raise InstallationFailed(f"the packages are installed but do not run: {reason}")


_children: list[subprocess.Popen[str]] = []


def _run(tool: str, command: list[str], folder: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Run a tool, passing on the lines that it prints; InstallationFailed says why it failed.

    Its temporary files go to the disk that is being filled anyway.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "tmp"))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             encoding="utf-8", errors="replace", env=environment, creationflags=NO_WINDOW)
    _children.append(child)
    output = []
    for line in child.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        output.append(line.strip())
        tell(output[-1])
    if child.wait() != 0:
        errors = [line for line in output if "rror: " in line or line.startswith("ERROR:")] or output
        reason = plain_reason("\n".join(output), folder) or " ".join(errors[-2:]) or f"exit status {child.returncode}"
        raise InstallationFailed(f"{tool} failed: {reason}")


def _end_with_stdin() -> None:
    """Blender is gone when standard input ends; nobody would use what is being made."""
    while sys.stdin.read(1):
        pass
    for child in _children:
        child.kill()
    os._exit(EXIT_FAILED)


def _say(event: Event) -> None:
    print(event.line(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
