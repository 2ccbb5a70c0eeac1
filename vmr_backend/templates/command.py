"""The command `template`: has a Blender read a rigged object, and writes the template made of it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..arguments import Arguments
from ..blender import add_blender, run_in_blender
from ..job import EXIT_DONE, BadInput, Event
from .rig_file import RIG_NAME, template_of
from .template import ENDING

ASSETS = (".blend", ".glb", ".gltf", ".fbx")
FRONTS = ("AUTO", "-Y", "+Y", "-X", "+X")


def main(argv: list[str]) -> int:
    """Make a template as the arguments say, passing Blender's warnings on; returns the exit status (job.py)."""
    parser = Arguments(
        prog="python -m vmr_backend template",
        description="Make a template of a rigged object: its meshes in rest position, the bones that hold them, as "
                    "one tree.")
    parser.add_argument("asset", type=Path, metavar="ASSET", help=f"a file of the kinds {', '.join(ASSETS)}")
    parser.add_argument("--object", default="", metavar="NAME",
                        help="an armature, for all meshes that it moves, or one such mesh; default: the only armature "
                             "that moves meshes")
    parser.add_argument("--front", type=_front, default="AUTO", metavar="AXIS",
                        help=f"which way it looks, along the armature's axes: {', '.join(FRONTS)}; AUTO finds out by "
                             "names of bones and by the mirror between left and right")
    parser.add_argument("--out", required=True, type=Path, metavar=f"T{ENDING}")
    add_blender(parser)
    given = parser.parse_args(argv)
    if given.asset.suffix.lower() not in ASSETS or not given.asset.is_file():
        raise BadInput(f"{given.asset}: found no such file; needs one of the kinds {', '.join(ASSETS)}")
    if given.out.suffix != ENDING:
        raise BadInput(f"--out: found {str(given.out)!r}, needs a name that ends in {ENDING}")
    with tempfile.TemporaryDirectory(prefix="vmr_template_") as folder:
        request = {"object": given.object, "front": given.front, "file": given.asset.name}
        status = run_in_blender(given.blender, "template", given.asset, Path(folder), request,
                                watch_stdin=given.watch_stdin, shows=lambda event: event.event == "warning")
        if status != EXIT_DONE:
            return status
        template = template_of(Path(folder) / RIG_NAME)
    card = replace(template.card, source=f"{given.asset.name}: {template.card.name}")
    try:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        replace(template, card=card).save(given.out)
    except OSError as error:
        raise BadInput(f"{given.out}: cannot be written ({error.strerror}); choose another path") from None
    print(Event("done", fraction=1.0, message=str(given.out)).line(), flush=True)
    return EXIT_DONE


def _front(text: str) -> str:
    """An axis as it is written in Blender, X and +X alike."""
    text = text.upper()
    text = f"+{text}" if text in ("X", "Y") else text
    if text not in FRONTS:
        raise BadInput(f"--front: found {text!r}, needs one of {', '.join(FRONTS)}")
    return text
