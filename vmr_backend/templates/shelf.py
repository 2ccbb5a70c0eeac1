"""The templates that come along, found by name; the command `templates`, which lists them."""

from __future__ import annotations

from pathlib import Path

from ..arguments import Arguments
from ..job import EXIT_DONE, BadInput
from .template import ENDING, Template

SHIPPED = Path(__file__).parent
"""Where templates that come with the program lie."""
COLUMNS = ("name", "category", "bones", "vertices", "shape")


def find_template(name: str) -> Path:
    """The file of a template that comes along or of a path; BadInput names what there is."""
    path = Path(name)
    if path.is_file():
        return path
    if name in (shipped := shipped_templates()):
        return shipped[name]
    raise BadInput(f"template: found no file or template {name!r}; needs a file that the command `template` wrote"
                   + (f", or one of {', '.join(shipped)}" if shipped else ""))


def main(argv: list[str]) -> int:
    """List the templates; returns the exit status (job.py)."""
    parser = Arguments(prog="vmr_backend templates", description="List the templates that come along, or files.")
    parser.add_argument("templates", nargs="*", metavar="TEMPLATE", help="files or names; else all that come along")
    given = parser.parse_args(argv)
    rows = [COLUMNS]
    for name in given.templates or shipped_templates():
        template = Template.load(find_template(name))
        rows.append((name, template.card.category or "-", str(len(template.bone_parents)),
                     str(len(template.vertices)), template.card.shape))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return EXIT_DONE


def shipped_templates() -> dict[str, Path]:
    """Files of the templates that come along, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob(f"*{ENDING}"))}
