"""Pretrain an embedding network on unlabelled shapes: python scripts/pretrain.py experiment=people_cpu out=DIR"""

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.stages import run_pretrain

if __name__ == "__main__":
    main(run_pretrain)
