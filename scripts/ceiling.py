"""What a perfect network would reach: python scripts/ceiling.py data.root=DIR data.category=Bottle data.level=leaf"""

from mvdecor.stages import run_ceiling
from mvdecor.training.cli import main

if __name__ == "__main__":
    main(run_ceiling)
