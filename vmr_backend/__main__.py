"""Starts the command line, as `python -m vmr_backend` or as a file (Blender starts it so, without any search path)."""

import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from vmr_backend.cli import main

    sys.exit(main())
