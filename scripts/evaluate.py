"""Label and measure the test shapes: python scripts/evaluate.py experiment=people_cpu checkpoint=DIR2/model out=DIR3"""

from mvdecor.stages import run_evaluate
from mvdecor.training.cli import main

if __name__ == "__main__":
    main(run_evaluate)
