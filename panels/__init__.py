"""What the user sees; no logic."""

from . import export_menu, footage, headers, reconstruct

PARTS = (reconstruct, footage, export_menu, headers)


def register() -> None:
    for part in PARTS:
        part.register()


def unregister() -> None:
    for part in reversed(PARTS):
        part.unregister()
