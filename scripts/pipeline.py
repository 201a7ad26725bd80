"""All stages in a row, scratch against pretrained: python scripts/pipeline.py experiment=people_cpu out=DIR"""

from mvdecor.stages import run_pipeline
from mvdecor.training.cli import main

if __name__ == "__main__":
    main(run_pipeline)
