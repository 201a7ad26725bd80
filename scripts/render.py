"""Render views into the view cache: python scripts/render.py experiment=people_cpu data.root=DIR views.cache=DIR workers=2"""

from mvdecor.engine.cli import main
from mvdecor.render import run_render

if __name__ == "__main__":
    main(run_render, "render")
