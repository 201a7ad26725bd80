"""The loops on shapes and networks small enough for a test: they learn, repeat themselves, and do what they say."""

import math
from collections.abc import Mapping
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from lightning_fabric import Fabric
from torch import Tensor

from mvdecor.engine.log import Log
from mvdecor.engine.loop import Loop, Recipe, Validation, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError
from mvdecor.losses import InfoNCE
from mvdecor.networks import Model, build_model
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource, UnlabelledPairSource
from mvdecor.systems.mvdecor.finetune import keep_statistics
from mvdecor.systems.mvdecor.finetune import step as finetune_step
from mvdecor.systems.mvdecor.pictures import embeddings_sheet, predictions_sheet
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.pretrain import step as pretrain_step
from mvdecor.systems.mvdecor.pretrain import validate
from mvdecor.views import Cameras, Rendering, make_rasterizer, sphere_cameras
from mvdecor.views.shape_views import ShapeViews

CHANNELS = ("points",)
RENDERING = Rendering(CHANNELS)
NETWORK = {
    "_target_": "mvdecor.networks.UNet",
    "encoder": "resnet10t",
    "decoder_channels": [16, 16],
    "embedding_dim": 16,
}


def Adam(rate: float):
    return partial(torch.optim.Adam, lr=rate)


class Recorder(Log):
    """Keeps the scalars of each group."""

    def __init__(self) -> None:
        super().__init__(None, every=1, bar=False)
        self.figures: dict[str, list[dict[str, float]]] = {}

    def scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        self.figures.setdefault(group, []).append(dict(figures))


def shape(seed: int = 0) -> Shape:
    """A lumpy ball with a box through it, labelled by height, its lowest faces undetermined."""
    ball = trimesh.creation.icosphere(2, 0.7)
    ball.vertices *= 1 + 0.1 * np.random.default_rng(seed).standard_normal((len(ball.vertices), 1))
    mesh = trimesh.util.concatenate([ball, trimesh.creation.box((0.3, 1.6, 0.3))])
    y = torch.tensor(mesh.triangles_center[:, 1])
    labels = torch.where(y > 0.3, 2, torch.where(y > -0.2, 1, 0))
    labels[y < -0.6] = -1
    return Shape.from_trimesh(mesh, f"lump_{seed}", face_labels=labels, label_names=("low", "middle", "high"))


def shape_views(count: int = 1, layers: int = 1) -> ShapeViews:
    return ShapeViews([shape(i) for i in range(count)], cameras, make_rasterizer("embree"), layers)


def cameras(of: Shape) -> Cameras:
    return sphere_cameras(8, 32, int(of.id.removeprefix("lump_")))


def model(num_labels: int | None = None) -> Model:
    torch.manual_seed(0)
    return build_model(NETWORK, CHANNELS, num_labels)


def fabric(precision: str = "32-true") -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision=precision)


def weights(net: Model) -> list[Tensor]:
    return [x.clone() for x in net.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def pretrain(
    on: Loop, net: Model, pairs, held_out, loss, save_best=lambda figures: None, *, steps: int, seed: int = 0,
    schedule="cosine", optimizer=None, validate_every: int = 2000, validation_batches: int = 20, gather: bool = False,
    picture=None,
):  # fmt: skip
    """The pretraining loop without a configuration around it."""
    recipe = Recipe("pretrain", steps, optimizer or Adam(1e-3), make_schedule(schedule), seed)
    measure = partial(
        validate, fabric=on.fabric, batch_of=partial(held_out.sample, 0), loss=loss, count=validation_batches
    )
    step = partial(pretrain_step, fabric=on.fabric, loss=loss, gather=gather)
    return train(
        on,
        recipe,
        net,
        {"pairs": (pairs, "pairs")},
        step,
        Validation(measure, validate_every, save_best),
        picture=picture,
    )


def finetune(
    on: Loop, net: Model, labelled, pairs, loss, *, steps: int, seed: int = 0, optimizer=None, lambda_ssl: float = 0.001,
    joint: bool = True, batch_norm: str = "train", gather: bool = False, picture=None, lambda_consistency: float = 0.0,
):  # fmt: skip
    """The fine-tuning loop without a configuration around it."""
    schedule = make_schedule("decay", factor=0.99, every=40)
    recipe = Recipe("finetune", steps, optimizer or Adam(1e-3), schedule, seed)
    sources = {"labelled": (labelled, "batch_size")} | ({"pairs": (pairs, "pairs")} if pairs and lambda_ssl > 0 else {})
    if lambda_consistency > 0:
        sources["unlabelled"] = (UnlabelledPairSource(pairs.shape_views, RENDERING, pairs.pairs, 60), "pairs")
    mode = keep_statistics if batch_norm == "eval" else torch.nn.Module.train
    step = partial(
        finetune_step,
        fabric=on.fabric,
        loss=loss,
        lambda_ssl=lambda_ssl,
        joint=joint,
        gather=gather,
        lambda_consistency=lambda_consistency,
    )
    return train(
        on,
        recipe,
        net,
        sources,
        step,
        mode=mode,
        picture=picture,
    )


def run_pretrain(
    steps: int = 6, learning_rate: float = 1e-3, log: Log | None = None, snapshots: Snapshots | None = None, **settings
):
    net, log, saved = model(), log or Recorder(), []
    pairs, held_out = PairSource(shape_views(2), RENDERING, 2, 60), PairSource(shape_views(1), RENDERING, 2, 60)
    history = pretrain(
        Loop(fabric(), log, snapshots or Snapshots()), net, pairs, held_out, InfoNCE(),
        lambda figures: saved.append((weights(net), figures)), steps=steps, optimizer=Adam(learning_rate),
        picture=lambda step: log.picture("pretrain/embeddings", embeddings_sheet(fabric(), net, held_out), step), **settings,
    )  # fmt: skip
    return net, log, saved, history


def test_pretraining_learns_and_saves_the_best_validation():
    net, log, saved, history = run_pretrain(40, learning_rate=3e-3, validate_every=10, validation_batches=2)
    losses = [f["loss"] for f in log.figures["pretrain"]]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    accuracy = [f["retrieval_accuracy"] for f in log.figures["pretrain"]]
    assert np.mean(accuracy[-5:]) > np.mean(accuracy[:5]) + 0.05  # chance is 0.017
    assert [h["step"] for h in history.validations] == [10, 20, 30, 40]
    validation, best = [h["loss"] for h in history.validations], []
    for loss in validation:
        if loss < min(best, default=math.inf):
            best.append(loss)
    assert [figures["loss"] for _, figures in saved] == best
    if saved[-1][1]["step"] == 40:
        assert same(saved[-1][0], weights(net))


def test_pretraining_twice_with_one_seed_is_the_same_bit_for_bit():
    first, again, other = (run_pretrain(seed=s, validation_batches=1) for s in (0, 0, 1))
    assert first[1].figures == again[1].figures
    assert same(weights(first[0]), weights(again[0]))
    assert first[1].figures["pretrain"] != other[1].figures["pretrain"]


def test_validation_is_the_same_at_every_call_and_changes_no_weight():
    net, source = model(), PairSource(shape_views(2), RENDERING, 2, 60)
    net.train()
    before = weights(net)
    first = validate(net, fabric(), partial(source.sample, 0), InfoNCE(), 3)
    torch.rand(7)  # what happens to the global random state in between does not count
    assert validate(net, fabric(), partial(source.sample, 0), InfoNCE(), 3) == first
    assert same(before, weights(net)) and net.training
    kept = cache(partial(source.sample, 0))
    assert validate(net, fabric(), kept, InfoNCE(), 3) == validate(net, fabric(), kept, InfoNCE(), 3) == first
    assert kept.cache_info().misses == 3 and "images" not in vars(
        kept(0)
    )  # ten times the memory of what they are made of


def test_chance_is_that_of_the_matches_there_are():
    """Where pairs match at fewer pixels than were asked for, a random choice is right more often."""
    few, many = (PairSource(shape_views(2), RENDERING, 2, points) for points in (20, 100_000))
    assert validate(model(), fabric(), partial(few.sample, 0), InfoNCE(), 2)["chance"] == pytest.approx(1 / 20)
    pairs = [batch.matches.pair.tolist().count(p) for batch in (many.sample(0, 0), many.sample(0, 1)) for p in range(2)]
    expected = sum(1 / count for count in pairs) / len(pairs)
    assert validate(model(), fabric(), partial(many.sample, 0), InfoNCE(), 2)["chance"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_step_schedules(name):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule, rates = make_schedule(name)(optimizer, 200), []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    if name == "constant":
        assert rates == [0.5] * 200
    else:
        assert rates[0] == pytest.approx(0.5 / 20, rel=0.01)  # warm-up over a tenth
        assert max(rates) == rates[19] > 0.48
        assert all(a > b for a, b in pairwise(rates[19:]))
        assert rates[110] == pytest.approx(0.5 * (1 + math.cos(math.pi * 110 / 200)) / 2)
        assert 0 < rates[-1] < 1e-3


def test_plateau_halves_after_validations_without_progress_and_stops_at_1e_5():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    schedule, rates = make_schedule("plateau")(optimizer, 100), []
    for _ in range(60):
        schedule.step(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:6] == [1e-3] * 6 and rates[6] == 5e-4  # the first sets the mark, five are borne
    assert rates[-1] == pytest.approx(1e-5)


def test_the_schedule_reaches_the_loop_and_unknown_names_are_refused():
    rates = {}
    for name in ("plateau", "cosine", "constant"):
        _, log, _, _ = run_pretrain(3, schedule=name, validation_batches=1)
        rates[name] = [f["learning_rate"] for f in log.figures["pretrain"]]
    assert rates["plateau"] == rates["constant"] == [1e-3] * 3
    assert rates["cosine"][-1] < 5e-4
    with pytest.raises(InputError, match=r"unknown schedule 'linear'.*plateau, cosine or constant"):
        run_pretrain(1, schedule="linear")


def run_finetune(
    steps: int = 5, lambda_ssl: float = 0.0, with_pairs: bool = False, seed: int = 0, layers: int = 1,
    log: Log | None = None, snapshots: Snapshots | None = None, **settings,
):  # fmt: skip
    net, log, stage = model(3), log or Recorder(), shape_views(2, layers)
    labelled = LabelledSource(stage, RENDERING, [range(8)] * 2, batch_size=4)
    pairs = PairSource(stage, RENDERING, 1, 60) if with_pairs else None
    history = finetune(
        Loop(fabric(), log, snapshots or Snapshots()), net, labelled, pairs, InfoNCE(), steps=steps, optimizer=Adam(3e-3),
        lambda_ssl=lambda_ssl, seed=seed,
        picture=lambda step: log.picture("finetune/predictions", predictions_sheet(fabric(), net, labelled), step), **settings,
    )  # fmt: skip
    return net, log, history


def test_finetuning_learns():
    _, log, history = run_finetune(40, lambda_ssl=0.01, with_pairs=True)
    losses = [f["loss_segmentation"] for f in log.figures["finetune"]]
    assert np.mean(losses[-5:]) < 0.4 * np.mean(losses[:5])
    assert [h["step"] for h in history.steps] == list(range(1, 41))
    assert [h["loss"] for h in history.steps] == losses
    names = {"loss_segmentation", "loss_contrastive", "retrieval_accuracy", "learning_rate"}
    assert set(log.figures["finetune"][0]) == names


def test_finetuning_twice_with_one_seed_is_the_same_bit_for_bit():
    first, again, other = (run_finetune(lambda_ssl=0.01, with_pairs=True, seed=s) for s in (0, 0, 1))
    assert first[1].figures == again[1].figures and same(weights(first[0]), weights(again[0]))
    assert first[1].figures != other[1].figures


def test_lambda_0_is_no_contrastive_term_and_another_lambda_is_one():
    without, zero, some = run_finetune(), run_finetune(with_pairs=True), run_finetune(lambda_ssl=1.0, with_pairs=True)
    assert same(weights(without[0]), weights(zero[0])) and without[1].figures == zero[1].figures
    assert "loss_contrastive" not in zero[1].figures["finetune"][0]
    assert not same(weights(without[0]), weights(some[0]))


def test_a_step_of_its_own_for_the_contrastive_term_is_two_steps_of_one_adam():
    net, log, _ = run_finetune(3, lambda_ssl=0.5, with_pairs=True, joint=False)
    mine, stage = model(3).train(), shape_views(2)
    optimizer = torch.optim.Adam(mine.parameters(), lr=3e-3)
    labelled = LabelledSource(stage, RENDERING, [range(8)] * 2, batch_size=4)
    pairs = PairSource(stage, RENDERING, 1, 60)
    for step in range(3):
        sampled = labelled.sample(0, step)
        images, labels = sampled.images, sampled.labels
        batch = pairs.sample(0, step)
        logits = mine(images[:, 0])
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[:, 0], ignore_index=-1).backward()
        optimizer.step()
        a, b = mine.embed(torch.cat([batch.images[0, :, 0], batch.images[1, :, 0]])).split(1)
        k = len(batch.matches)
        at_a = a[0].flatten(1)[:, batch.matches.pixel_a].T
        at_b = F.grid_sample(
            b, 2 * batch.matches.xy_b.view(1, k, 1, 2) / 32 - 1, padding_mode="border", align_corners=False
        )[0, :, :, 0].T
        cosine = F.normalize(at_a, dim=1) @ F.normalize(at_b, dim=1).T / 0.07
        loss = (F.cross_entropy(cosine, torch.arange(k)) + F.cross_entropy(cosine.T, torch.arange(k))) / 2
        assert log.figures["finetune"][step]["loss_contrastive"] == pytest.approx(float(loss.detach()), rel=1e-3)
        optimizer.zero_grad()
        (0.5 * loss).backward()
        optimizer.step()
    for x, y in zip(weights(net), weights(mine), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-2, atol=2e-3)  # Adam's first steps are signs: rounding may flip a few
    steps = {float(state["step"]) for name, state in named_states(mine, optimizer) if name.startswith("network")}
    assert steps == {6.0}


def named_states(net: Model, optimizer: torch.optim.Adam):
    return [(name, optimizer.state[p]) for name, p in net.named_parameters()]


def test_one_or_two_steps_are_the_same_without_a_contrastive_term_only():
    assert same(weights(run_finetune()[0]), weights(run_finetune(joint=False)[0]))
    assert same(weights(run_finetune()[0]), weights(run_finetune(with_pairs=True, joint=False)[0]))
    one, two = (run_finetune(lambda_ssl=1.0, with_pairs=True, joint=j)[0] for j in (True, False))
    assert not same(weights(one), weights(two))


@pytest.mark.parametrize("joint", [True, False])
def test_kept_statistics_do_not_change_while_all_weights_of_the_network_train(joint):
    before = model(3).state_dict()
    after = run_finetune(3, lambda_ssl=0.1, with_pairs=True, batch_norm="eval", joint=joint)[0]
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    assert any(name.startswith("network") for name in statistics) and any(n.startswith("head") for n in statistics)
    for name, value in after.state_dict().items():
        if name in ("mean", "std"):
            continue
        changed = not torch.equal(value, before[name])
        assert changed == (name not in statistics or name.startswith("head")), name
    trained = run_finetune(3)[0].state_dict()
    assert all(not torch.equal(trained[name], before[name]) for name in statistics)


def test_layers_are_images_like_any_other():
    net, log, _ = run_finetune(2, lambda_ssl=0.01, with_pairs=True, layers=2)
    assert all(math.isfinite(v) for f in log.figures["finetune"] for v in f.values())
    assert all(bool(torch.isfinite(w).all()) for w in weights(net))


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
@pytest.mark.parametrize("loop", ["pretrain", "joint", "two steps"])
def test_the_network_computes_in_the_precision_asked_for_and_the_losses_in_float32(loop, precision, dtype):
    net, seen, given = model(None if loop == "pretrain" else 3), set(), set()
    convolution = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    loss, pairs = InfoNCE(), PairSource(shape_views(1), RENDERING, 2, 60)
    loss.register_forward_hook(lambda module, inputs, output: given.update((inputs[0].dtype, output[0].dtype)))
    if loop == "pretrain":
        pretrain(Loop(fabric(precision), Recorder()), net, pairs, pairs, loss, steps=1, validation_batches=1)
    else:
        labelled = LabelledSource(shape_views(1), RENDERING, [range(8)], batch_size=2)
        on = Loop(fabric(precision), Recorder())
        finetune(on, net, labelled, pairs, loss, steps=1, lambda_ssl=0.1, joint=loop == "joint")
    assert seen == {dtype} and given == {torch.float32}


def test_a_batch_without_any_label_moves_no_weight_to_nan():
    plain = shape()
    unknown = Shape(plain.id, plain.vertices, plain.faces, torch.full((plain.num_faces,), -1), plain.label_names)
    stage = ShapeViews([unknown], lambda _: sphere_cameras(4, 32, 0), make_rasterizer("embree"))
    net = model(3)
    labelled = LabelledSource(stage, RENDERING, [range(4)], batch_size=2)
    finetune(Loop(fabric(), Recorder()), net, labelled, None, InfoNCE(), steps=2)
    assert all(bool(torch.isfinite(w).all()) for w in weights(net))


def vote_one_by_one(net: Model, stage: ShapeViews, rule: str, power: float) -> np.ndarray:
    """Float64 [F, C], weighted sums of probabilities over the pixels of one view after another."""
    sums = np.zeros((stage[0].num_faces, 3))
    for v in range(stage.num_views(stage[0])):
        views = stage.views(stage[0], [v])
        for layer in range(stage.layers):
            images = RENDERING(stage[0], views, stage.surface(stage[0], [v]))[:, layer]
            with torch.no_grad():
                probabilities = net(images)[0].double().softmax(0).permute(1, 2, 0).numpy()
            ids = views.face_ids[0, layer].numpy()
            for row, column in zip(*np.nonzero(ids >= 0), strict=True):
                p = probabilities[row, column]
                weight = (1 + (p * np.log(p)).sum() / math.log(3)) ** power if rule == "entropy" else 1.0
                sums[ids[row, column]] += weight * p
    return sums


@pytest.mark.parametrize(("rule", "layers", "batch_size"), [("entropy", 1, 16), ("mean", 1, 3), ("entropy", 2, 5)])
def test_predicted_faces_are_those_of_a_loop_over_all_pixels(rule, layers, batch_size):
    net, stage = run_finetune(10)[0].eval(), shape_views(1, layers)
    got = predict_faces(
        fabric(),
        net,
        stage,
        stage[0],
        RENDERING,
        batch_size=batch_size,
        rule=rule,
        power=4.0,
        layer_order="all",
        fill="nearest",
    )
    sums = vote_one_by_one(net, stage, rule, 4.0)
    seen = sums.sum(1) > 0
    assert np.array_equal(got.filled.numpy(), ~seen)
    assert seen.all() == (layers == 2)  # one layer leaves faces to fill
    scores = sums[seen] / sums[seen].sum(1, keepdims=True)
    np.testing.assert_allclose(got.share.numpy()[seen], scores.max(1), atol=1e-3)
    clear = np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)[:, 0] > 1e-3
    assert np.array_equal(got.labels.numpy()[seen][clear], scores.argmax(1)[clear])
    centers = stage[0].face_centers.numpy()
    for face in np.flatnonzero(~seen):
        distance = np.linalg.norm(centers[seen] - centers[face], axis=1)
        nearest = np.flatnonzero(seen)[distance <= distance.min() + 1e-6]
        assert int(got.labels[face]) in got.labels[nearest].tolist()


def test_batch_size_does_not_change_predictions():
    net, stage = run_finetune(3)[0].eval(), shape_views(1)
    one, all_at_once = (predict_faces(fabric(), net, stage, stage[0], RENDERING, batch_size=n) for n in (1, 64))
    assert float((one.labels == all_at_once.labels).float().mean()) > 0.99
    torch.testing.assert_close(one.confidence, all_at_once.confidence, rtol=0, atol=1e-3)
