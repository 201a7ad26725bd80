"""Fine-tune on k labelled shapes: python scripts/finetune.py experiment=people_cpu checkpoint=DIR/model out=DIR2"""

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.stages import run_finetune

if __name__ == "__main__":
    main(run_finetune)
