"""Sample few-shot splits and write them as files: python scripts/splits.py data.root=DIR data.category=Bottle k=[10]"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("splits")
