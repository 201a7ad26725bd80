"""Read posed images and show their cameras: python scripts/captures.py capture=llff capture.root=DIR out=outputs/captures"""

from mvdecor.apps.captures import run_captures
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_captures, "captures")
