"""The score of a perfect network (ceiling): python scripts/ceiling.py data.root=DIR data.category=Bottle data.level=leaf"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("ceiling")
