"""Starts the command line, as `python -m vmr_backend` or as a file (Blender starts it so, without any search path)."""

import os
import sys
from pathlib import Path

# Idle threads of PyTorch wait asleep instead of spinning: with other programs about, spinning costs up to ten times.
# It must be said before PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from vmr_backend.cli import main

    sys.exit(main())
