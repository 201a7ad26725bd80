"""The score of a perfect network (ceiling): python scripts/ceiling.py data.root=DIR data.category=Bottle data.level=leaf"""

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.stages import run_ceiling

if __name__ == "__main__":
    main(run_ceiling)
