"""Write made-up shapes to disk: `python scripts/generate.py out=DIR count=24 seed=0`."""

from mvdecor.commands import run

if __name__ == "__main__":
    run("generate")
