"""All stages in a row: python scripts/pipeline.py experiment=people_cpu out=DIR"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("pipeline")
