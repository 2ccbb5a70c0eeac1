"""What the user sees; no logic."""

from . import export_menu, footage, reconstruct, status_bar

PARTS = (reconstruct, footage, export_menu, status_bar)


def register() -> None:
    for part in PARTS:
        part.register()


def unregister() -> None:
    for part in reversed(PARTS):
        part.unregister()
