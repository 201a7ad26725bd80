"""Render views into the view cache: python scripts/render.py experiment=people_cpu data.root=DIR views.cache=DIR workers=2"""

from mvdecor.apps.cache import run_render
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_render, "render")
