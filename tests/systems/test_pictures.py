"""Pictures in between leave a loop as it was."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mvdecor.engine.log import Log
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.pictures import embeddings_sheet, evaluating
from tests.systems.test_loops import RENDERING, fabric, model, run_finetune, run_pretrain, same, shape_views, weights


def pictures(folder) -> dict[str, list[int]]:
    """Steps of each picture that TensorBoard shows."""
    shown = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {name: [event.step + 1 for event in shown.Images(name)] for name in shown.Tags()["images"]}


@pytest.mark.parametrize("batch_norm", ["train", "eval"])
def test_finetuning_ends_the_same_with_pictures(tmp_path, batch_norm):
    plain = run_finetune(8, batch_norm=batch_norm)
    log = Log(tmp_path, bar=False)
    with_pictures = run_finetune(8, batch_norm=batch_norm, log=log)
    log.close()  # a thread writes TensorBoard's file
    assert same(weights(plain[0]), weights(with_pictures[0]))
    assert pictures(tmp_path) == {"finetune/predictions": [1, 2, 4, 8]}


def test_pretraining_ends_the_same_with_pictures(tmp_path):
    plain = run_pretrain(8, validate_every=3)
    log = Log(tmp_path, bar=False)
    with_pictures = run_pretrain(8, validate_every=3, log=log)
    log.close()
    assert same(weights(plain[0]), weights(with_pictures[0]))
    assert plain[3].validations == with_pictures[3].validations
    assert pictures(tmp_path) == {"pretrain/embeddings": [1, 2, 4, 8]}


def test_embeddings_sheet_shows_inputs_above_colours_that_agree_on_the_background():
    sheet = embeddings_sheet(fabric(), model(), PairSource(shape_views(2), RENDERING, 2, 60))
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert (sheet[-1, -1] == 255).all(), "background is white"
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 20


def test_embeddings_that_are_lost_do_not_stop_the_picture():
    net = model()
    with torch.no_grad():
        next(net.network.parameters()).fill_(float("nan"))
    assert embeddings_sheet(fabric(), net, PairSource(shape_views(2), RENDERING, 2, 60)).size


def test_each_module_returns_to_its_own_mode():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout(), nn.Conv2d(3, 3, 1)))
    net[1][0].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(KeyError), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise KeyError
    assert [module.training for module in net.modules()] == before
