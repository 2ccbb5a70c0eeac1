"""Reads a command's arguments; what cannot be read is bad input like any other: one line, without the usage."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .job import BadInput


class Arguments(argparse.ArgumentParser):
    """A parser that raises BadInput, and takes what begins with a minus for a value where that is a number or an axis:
    --box -5,0,80,60, --front -Y."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if not word:  # as a path it would be the folder that the program was started in
                self.error(f"found an empty text {f'after {words[-1]}' if words else 'as the first argument'}, as a "
                           "variable gives that is not set")
            if words and re.fullmatch(r"--[a-z-]+", words[-1]) and re.match(r"-([\d.]|[XYZxyz]$)", word):
                words[-1] += f"={word}"
            else:
                words.append(word)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{self.prog.split()[-1]}: {message}; --help tells what it takes")


def frame_range(text: str | None) -> tuple[int | None, int | None]:
    """The first and the last of --frames, None where it is left open."""
    if text is None:
        return None, None
    try:
        first, last = (int(end) if end else None for end in text.split(":"))
        return first, last
    except ValueError:
        raise BadInput(f"--frames: found {text!r}, needs FIRST:LAST") from None


def number_list(option: str, text: str | None, form: str) -> list[float] | None:
    """Numbers between commas, as many as the form has."""
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != form.count(",") + 1 or not all(map(math.isfinite, found)):
        raise BadInput(f"{option}: found {text!r}, needs {form}")
    return found


def refuse_others(arguments: argparse.Namespace, parser: argparse.ArgumentParser, source: str, allowed: set[str]
                  ) -> None:
    """BadInput where the request lies in a folder, and arguments say other things, which would be passed over."""
    given = [name for name, value in vars(arguments).items() if value != parser.get_default(name)]
    if (name := next((name for name in given if name not in allowed), None)) is not None:
        option = "CLIP" if name == "clip" else f"--{name.replace('_', '-')}"
        raise BadInput(f"{option}: found it beside {source}, which takes all from the request in its folder; needs "
                       "one of them")
