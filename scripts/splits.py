"""Sample few-shot splits and write them as files: python scripts/splits.py data.root=DIR data.category=Bottle k=[10]"""

from mvdecor.apps.splits import run_splits
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_splits, "splits")
