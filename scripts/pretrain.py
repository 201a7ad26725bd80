"""Pretrain an embedding network on unlabelled shapes: python scripts/pretrain.py experiment=people_cpu out=DIR"""

from mvdecor.stages import run_pretrain
from mvdecor.training.cli import main

if __name__ == "__main__":
    main(run_pretrain)
