"""Render views into the view cache: python scripts/render.py experiment=people_cpu data.root=DIR views.cache=DIR workers=2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("render")
