"""One of each thing that README's "Changing it" names, from outside of the package and by the command line alone."""

import json

import pytest

from mvdecor.errors import InputError
from mvdecor.networks import load_checkpoint
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune, run_pretrain
from tests.toy.extras import TwoLayers

OWN = (
    "views.channels=[rgb,tests.toy.extras.height]",
    "~loss",
    "+loss={_target_: tests.toy.extras.Agree}",
    "~network",
    "+network={_target_: tests.toy.extras.TwoLayers, embedding_dim: 6}",
    "~data.labelled",
    "+data.labelled={_target_: tests.toy.extras.Backwards, root: '${data.root}'}",
    "training.pretrain.optimizer._target_=torch.optim.AdamW",
    "training.pretrain.schedule=constant",
    "training.finetune.optimizer._target_=torch.optim.SGD",
    "+training.finetune.optimizer.momentum=0.9",
    "training.finetune.schedule=cosine",
    "lifting.rule=tests.toy.extras.confident",
    "lifting.power=2",
    "+evaluation.metrics.seat={_target_: tests.toy.extras.recall, part: 1}",
)


@pytest.fixture
def config(make_config, tiny, made_up_people, tmp_path):
    few = [word for word in tiny if not word.startswith("network")]

    def make(out: str, *more: str):
        own = ("data=renderpeople", "training=cpu", *few, f"data.root={made_up_people}")
        return make_config(*own, *OWN, f"out={tmp_path / out}", *more)

    return make


def test_one_of_each_thing_of_ones_own(config, tmp_path):
    pretrained = run_pretrain(config("pretrain"))
    assert pretrained["shapes"] == sorted(pretrained["shapes"], reverse=True)
    tuned = run_finetune(config("tuned", f"checkpoint={tmp_path / 'pretrain' / 'model'}"))
    model, info = load_checkpoint(tmp_path / "tuned" / "model")
    assert isinstance(model.network, TwoLayers) and model.network.layers[0].in_channels == 4
    assert info["channels"] == ["rgb", "tests.toy.extras.height"]
    metrics = run_evaluate(config("tuned", f"checkpoint={tmp_path / 'tuned' / 'model'}"))
    assert 0 < metrics["coverage"] <= 100 and metrics["trained_on"] == tuned["shapes"]
    by_shape = [shape["metrics"]["seat"] for shape in metrics["shapes"].values()]
    assert (
        metrics["metrics"] == {"seat": sum(by_shape) / len(by_shape)}
        and metrics["key"]["settings"]["lifting.power"] == 2
    )
    # the reader names no files: its shapes are read to tell whether the result is still of the same
    again = run_evaluate(config("tuned", f"checkpoint={tmp_path / 'tuned' / 'model'}"))
    assert again == json.loads(json.dumps(metrics))


def test_metrics_that_are_none_are_refused(config, tmp_path):
    with pytest.raises(
        InputError, match=r"evaluation\.metrics\.a\._target_=tests\.toy\.extras\.nothing cannot be imported"
    ):
        run_pretrain(config("out", "+evaluation.metrics.a._target_=tests.toy.extras.nothing"))
    run_finetune(config("tuned"))
    for metric, words in (("nan", "gave nan"), ("recall", "TypeError")):
        with pytest.raises(InputError, match=rf"evaluation\.metrics\.a, shape chair_\d+: {words}"):
            checkpoint = f"checkpoint={tmp_path / 'tuned' / 'model'}"
            run_evaluate(config("tuned", checkpoint, f"+evaluation.metrics.a._target_=tests.toy.extras.{metric}"))


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("tests.toy.extras.depth", "cannot be imported"),
        ("tests.toy.extras.TwoLayers", "is no mvdecor.channels.Channel"),
        ("dept", "did you mean depth"),
    ],
)
def test_a_channel_that_is_none_is_refused(config, channel, words):
    with pytest.raises(InputError, match=words):
        run_pretrain(config("out", f"views.channels=[{channel}]"))
