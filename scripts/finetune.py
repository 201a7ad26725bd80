"""Fine-tune on few labels: python scripts/finetune.py experiment=people_cpu checkpoint=DIR/model out=DIR2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("finetune")
