"""Runs the loops on the processes that there are, and writes what became of them: `torchrun tests/engine/two_processes.py`.

Written to the file named first on the command line, by the first process: losses of each step, and by how much the weights
moved, by case; of the cases named after it, or of all. Mostly in float64 and by short steps of plain gradient descent: so
small a network with batch norms is chaotic and blows rounding up, the more so as whole backgrounds pass a ReLU together. (Adam
would also hide a gradient of the wrong size.) Float32 is for short steps only.
"""

import sys
from functools import partial

import torch

from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import rank
from mvdecor.engine.loop import Loop
from mvdecor.losses import InfoNCE, Triplet
from mvdecor.networks import build_model
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from tests.systems.test_loops import RENDERING, Adam, Recorder, finetune, model, pretrain, shape_views

STEPS = 8


def moved(net, make=model) -> torch.Tensor:
    """All parameters less those that `make` gave."""
    start = make(net.num_labels)
    return torch.cat([(a - b).detach().flatten() for a, b in zip(net.parameters(), start.parameters(), strict=True)])


def sgd(rate: float):
    """Short steps of plain gradient descent."""
    return partial(torch.optim.SGD, lr=rate / 10)


def pretraining(loss, precision="64-true", optimizer=None, workers=0, pairs=4, **settings):
    """Losses and weights of a pretraining."""
    log, net = Recorder(), model()
    train, held_out = PairSource(shape_views(3), RENDERING, pairs, 60), PairSource(shape_views(1), RENDERING, 2, 60)
    history = pretrain(
        Loop(open_device("cpu", precision), log, workers=workers), net, train, held_out, loss, steps=STEPS,
        validate_every=4, validation_batches=3, optimizer=optimizer or sgd(1e-3), **settings,
    )  # fmt: skip
    return {"losses": log.figures["pretrain"], "validation": history.validations, "moved": moved(net)}


def finetuning(precision="64-true", views=4, pairs=2, make=model, **settings):
    """Losses and weights of a fine-tuning, of which some views have no labelled pixel."""
    log, net, stage = Recorder(), make(3), shape_views(2)
    labelled = LabelledSource(stage, RENDERING, [range(8)] * 2, batch_size=views)
    device = open_device("cpu", precision, unused_weights=not settings.get("joint", True))
    source = PairSource(stage, RENDERING, pairs, 60)
    finetune(Loop(device, log), net, labelled, source, InfoNCE(), steps=STEPS, optimizer=sgd(1e-3), **settings)
    return {"losses": log.figures["finetune"], "moved": moved(net, make)}


def deeplab(num_labels=None):
    """The recipe's network, small: with dropout."""
    torch.manual_seed(0)
    network = {"_target_": "mvdecor.networks.DeepLabV3Plus", "encoder": "resnet10t", "embedding_dim": 16}
    return build_model(network, RENDERING.channels, num_labels)


CASES = {
    "InfoNCE": lambda: pretraining(InfoNCE()),
    "triplet, workers": lambda: pretraining(Triplet(), workers=1),
    "InfoNCE, Adam": lambda: pretraining(InfoNCE(), optimizer=Adam(1e-4)),
    "negatives of all": lambda: pretraining(InfoNCE(negatives="batch"), gather=True),
    "fine-tuning": lambda: finetuning(lambda_ssl=0.1),
    "fine-tuning, two steps": lambda: finetuning(lambda_ssl=0.1, joint=False),
    "three pairs": lambda: pretraining(InfoNCE(), pairs=3),
    "three pairs, negatives of all": lambda: pretraining(InfoNCE(negatives="batch"), gather=True, pairs=3),
    "five views and one pair": lambda: finetuning(lambda_ssl=0.1, views=5, pairs=1),
    "DeepLabV3+, one view each": lambda: finetuning(lambda_ssl=0.0, views=2, make=deeplab),
    "DeepLabV3+, five views and two pairs": lambda: finetuning(lambda_ssl=0.1, views=5, pairs=2, make=deeplab),
    "fine-tuning, statistics kept": lambda: finetuning(lambda_ssl=0.0, batch_norm="eval"),
    "consistency of one pair": lambda: finetuning(lambda_ssl=0.0, pairs=1, lambda_consistency=0.5),
    "consistency of three pairs": lambda: finetuning(lambda_ssl=0.1, pairs=3, lambda_consistency=0.5),
    "InfoNCE, Adam, float32": lambda: pretraining(InfoNCE(), "32-true", optimizer=Adam(1e-4)),
    "negatives of all, Adam, float32": lambda: pretraining(
        InfoNCE(negatives="batch"), "32-true", gather=True, optimizer=Adam(1e-4)
    ),
    "fine-tuning, float32": lambda: finetuning("32-true", lambda_ssl=0.1),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {name: CASES[name]() for name in sys.argv[2:] or CASES}
    if rank() == 0:
        torch.save(results, sys.argv[1])
