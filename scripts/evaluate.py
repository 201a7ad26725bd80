"""Label and measure the test shapes: python scripts/evaluate.py experiment=people_cpu checkpoint=DIR2/model out=DIR3"""

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.stages import run_evaluate

if __name__ == "__main__":
    main(run_evaluate)
