"""Makes the checkout importable as the extension's package where there is no Blender (else tests/conftest.py does)."""

import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "video_mesh_reconstruction"
if PACKAGE not in sys.modules:
    checkout = ModuleType(PACKAGE)
    checkout.__path__ = [str(Path(__file__).parents[2])]
    sys.modules[PACKAGE] = checkout
