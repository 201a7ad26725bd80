"""Fine-tune on k labelled shapes: python scripts/finetune.py experiment=people_cpu checkpoint=DIR/model out=DIR2"""

from mvdecor.stages import run_finetune
from mvdecor.training.cli import main

if __name__ == "__main__":
    main(run_finetune)
