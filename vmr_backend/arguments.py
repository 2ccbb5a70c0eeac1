"""Reads a command's arguments; what cannot be read is bad input like any other: one line, without the usage."""

import argparse
from typing import NoReturn

from .job import BadInput


class Arguments(argparse.ArgumentParser):
    """A parser that raises BadInput."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{self.prog.split()[-1]}: {message}; --help tells what it takes")
