"""The templates that come along."""

from __future__ import annotations

from pathlib import Path

from ..job import BadInput

SHIPPED = Path(__file__).parent
"""Where templates that come with the program lie."""


def find_template(name: str) -> Path:
    """The file of a template that comes along or of a path; BadInput names what there is."""
    path = Path(name)
    if path.is_file():
        return path
    if (shipped := SHIPPED / f"{name}.safetensors").is_file():
        return shipped
    names = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    raise BadInput(f"template: found no file or template {name!r}; needs a file that the command `template` wrote"
                   + (f", or one of {', '.join(names)}" if names else ""))
