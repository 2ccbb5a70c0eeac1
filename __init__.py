"""Video Mesh Reconstruction: from a movie clip to a textured, animated mesh with a matching camera."""

from . import operators, panels, preferences, properties

PARTS = (properties, preferences, operators, panels)


def register() -> None:
    for part in PARTS:
        part.register()


def unregister() -> None:
    for part in reversed(PARTS):
        part.unregister()
