"""All stages in a row, scratch against pretrained: python scripts/pipeline.py experiment=people_cpu out=DIR"""

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.stages import run_pipeline

if __name__ == "__main__":
    main(run_pipeline)
