"""Pretrain without labels: python scripts/pretrain.py experiment=people_cpu out=DIR"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("pretrain")
