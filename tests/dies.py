"""Pretrains as scripts/pretrain.py does, and dies by SIGKILL in its eighth step: `python tests/dies.py OVERRIDES`."""

import os
import signal

from mvdecor.engine.cli import main
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.stages import run_pretrain

sample = PairSource.sample


def sample_or_die(self, seed, step, items=None):
    if step == 7 and items is not None:  # in training, not in validation
        os.kill(os.getpid(), signal.SIGKILL)
    return sample(self, seed, step, items)


if __name__ == "__main__":
    PairSource.sample = sample_or_die  # type: ignore[method-assign]
    main(run_pretrain)
