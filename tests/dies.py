"""Runs a script, and dies by SIGKILL in the middle of a stage: `python tests/dies.py STAGE SCRIPT OVERRIDES`.

In the eighth step of a pretraining, in the fourth of a fine-tuning, or as an evaluation has measured its first shape.
"""

import os
import runpy
import signal
import sys

from mvdecor.evaluation import ShapeRecords
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource

STEPS = {"pretrain": (PairSource, 7), "finetune": (LabelledSource, 3)}


def die() -> None:
    """As by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(stage: str) -> None:
    """Make a stage of this process its last."""
    if stage == "evaluate":
        ShapeRecords.write = lambda self, id, record: die()  # type: ignore[method-assign]
        return
    source, last = STEPS[stage]
    sample = source.sample

    def sample_or_die(self, seed, step, positions=None):
        if step == last and positions is not None:  # in training, not in validation
            die()
        return sample(self, seed, step, positions)

    source.sample = sample_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    deadly(sys.argv[1])
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
