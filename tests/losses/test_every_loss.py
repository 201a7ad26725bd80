"""What holds for every loss, as made by its configuration `loss=NAME`."""

import inspect
import math
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mvdecor.losses
from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from mvdecor.losses import InfoNCE
from mvdecor.losses.retrieval import retrieval_accuracy
from mvdecor.systems.mvdecor.check import check_config

NAMES = sorted(path.stem for path in Path(CONFIGS, "loss").glob("*.yaml"))
COSINE = [name for name in NAMES if name != "vicreg"]  # compare directions, and have negatives


@pytest.fixture(scope="module")
def make_loss(make_config):
    """Makes a loss as a run does, from `loss=NAME` and overrides."""
    made = {}

    def make(name: str, *overrides: str) -> nn.Module:
        if (name, overrides) not in made:
            made[name, overrides] = instantiate(make_config(f"loss={name}", *overrides).loss)
        return made[name, overrides]

    return make


def test_every_loss_has_a_config(make_loss, make_config):
    contrastive = {type(make_loss(name)).__name__ for name in NAMES}
    names = [path.stem for path in Path(CONFIGS, "segmentation_loss").glob("*.yaml")]
    made = [instantiate(make_config(f"segmentation_loss={name}").segmentation_loss) for name in names]
    assert contrastive | {type(loss).__name__ for loss in made} == set(mvdecor.losses.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_config_spells_out_every_setting_and_its_default(name, make_config):
    """What a user reads in configs/loss is what the module does without arguments."""
    config = dict(make_config(f"loss={name}").loss)
    module = getattr(mvdecor.losses, config.pop("_target_").rpartition(".")[2])
    assert config == {key: value.default for key, value in inspect.signature(module).parameters.items()}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=3).filter(any), seed=st.integers(0, 1000))
def test_swapping_the_views_or_shuffling_the_matches_changes_nothing(name, counts, seed, make_loss, matches):
    a, b, points, pair = matches(counts, seed=seed)
    loss, accuracy = make_loss(name)(a, b, points, pair)
    assert loss.dtype == torch.float32 and math.isfinite(float(loss)) and float(loss) >= 0
    assert 0 <= float(accuracy) <= 1
    torch.testing.assert_close(make_loss(name)(b, a, points, pair)[0], loss, rtol=1e-4, atol=1e-5)
    order = torch.randperm(len(pair), generator=torch.Generator().manual_seed(seed))
    order = order[pair[order].argsort(stable=True)]  # pairs stay together
    shuffled = make_loss(name)(a[order], b[order], points[order], pair[order])
    torch.testing.assert_close(shuffled, (loss, accuracy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", COSINE)
def test_only_the_direction_of_embeddings_counts(name, make_loss, matches):
    a, b, points, pair = matches([12, 4])
    loss, accuracy = make_loss(name)(a, b, points, pair)
    torch.testing.assert_close(make_loss(name)(7 * a, 0.01 * b, points, pair), (loss, accuracy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_weigh_the_same_whatever_their_number_of_matches(name, make_loss, matches):
    parts = [matches([n], seed=n) for n in (20, 2)]
    both = make_loss(name)(
        *(torch.cat(x) for x in list(zip(*parts, strict=True))[:3]), torch.tensor([0] * 20 + [1] * 2)
    )
    alone = [make_loss(name)(*part) for part in parts]
    torch.testing.assert_close(both[0], (alone[0][0] + alone[1][0]) / 2)
    torch.testing.assert_close(both[1], (alone[0][1] + alone[1][1]) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_for_equal_lone_and_vanishing_embeddings(name, make_loss, matches):
    a, _, points, pair = matches([9, 0, 1, 6])
    for x, y in ((a, a), (torch.zeros_like(a), torch.zeros_like(a)), (torch.ones_like(a), a)):
        x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
        loss, accuracy = make_loss(name)(x, y, points, pair)
        loss.backward()
        assert math.isfinite(float(loss.detach())) and not accuracy.requires_grad
        assert bool(x.grad.isfinite().all()) and bool(y.grad.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_perfect_embeddings_cost_less_than_random_ones(name, make_loss, matches):
    a, b, points, pair = matches([50, 30], dim=64)
    good, accuracy = make_loss(name)(a, a, points, pair)
    bad, chance = make_loss(name)(a, b, points, pair)
    assert float(good) < float(bad)
    assert float(accuracy) == 1 and float(chance) < 0.2
    assert float(make_loss(name)(a, a.roll(1, dims=0), points, pair)[1]) == 0


@pytest.mark.parametrize("name", COSINE)
def test_near_points_are_no_negatives(name, make_loss, matches):
    """Every point twice, 1e-4 apart: within the radius the copies, which look nearly alike, cost nothing."""
    a, b, points, _ = matches([10], dim=16)
    a, points = (
        torch.cat([a, a + 0.01 * b]),
        points.repeat(2, 1) + 1e-4 * torch.arange(2).repeat_interleave(10)[:, None],
    )
    pair = torch.zeros(20, dtype=torch.int64)
    without, _ = make_loss(name)(a, a, points, pair)
    within, accuracy = make_loss(name, "loss.radius=0.001")(a, a, points, pair)
    assert float(within) < float(without) and float(accuracy) == 1


@pytest.mark.parametrize("name", COSINE)
def test_a_huge_radius_leaves_no_negatives_and_finite_gradients(name, make_loss, matches):
    a, _, points, pair = matches([9])
    x, y = a.clone().requires_grad_(), a.clone().requires_grad_()
    loss, accuracy = make_loss(name, "loss.radius=100")(x, y, points, pair)
    loss.backward()
    assert float(loss.detach()) == 0 and float(accuracy) == 1
    assert bool(x.grad.isfinite().all()) and bool(y.grad.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_embeddings_are_compared_in_float32(name, make_loss, matches):
    a, b, points, pair = matches([30])
    a, b = a.bfloat16(), b.bfloat16()
    torch.testing.assert_close(
        make_loss(name)(a, b, points, pair), make_loss(name)(a.float(), b.float(), points, pair), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_match_at_all_is_an_error(name, make_loss):
    with pytest.raises(AssertionError, match="at least one match"):
        make_loss(name)(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "override"),
    [(name, ()) for name in NAMES] + [("infonce", ("loss.negatives=both",)), ("infonce", ("loss.alike=0.02",))],
    ids=str,
)
def test_learning_raises_the_retrieval_accuracy(name, override, make_loss):
    """Both views see the points through a fixed distortion of their own; a small network learns what they share."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 48), nn.Tanh(), nn.Linear(48, 16))
    distortions = torch.randn(2, 6, 12, generator=rng)

    def sample() -> tuple[torch.Tensor, ...]:
        points = torch.rand(80, 3, generator=rng)
        a, b = torch.cat([points, (6 * points).sin()], dim=1) @ distortions
        return a, b, points, torch.arange(2).repeat_interleave(40)

    def accuracy() -> float:
        rng.manual_seed(1)
        batches = [sample() for _ in range(10)]
        with torch.no_grad():
            found = [InfoNCE()(network(a), network(b), points, pair)[1] for a, b, points, pair in batches]
        return float(torch.stack(found).mean())

    before = accuracy()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    rng.manual_seed(2)
    for _ in range(150):
        a, b, points, pair = sample()
        loss, _ = make_loss(name, *override)(network(a), network(b), points, pair)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.1  # chance is 1 in 40
    assert accuracy() > 0.2


def test_retrieval_accuracy_counts_rows_whose_own_column_is_the_largest():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [-1.0, -math.inf, -0.9]], requires_grad=True)
    accuracy = retrieval_accuracy(similarity)
    assert float(accuracy) == pytest.approx(2 / 3) and not accuracy.requires_grad


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("infonce", "loss.temperature=0", "loss.temperature=0: give a number above 0"),
        ("infonce", "loss.temperature=warm", "loss.temperature=warm: give a number"),
        ("infonce", "loss.radius=-1", "loss.radius=-1: give a number of at least 0"),
        ("infonce", "loss.radius=nan", "loss.radius=nan: give a number"),
        ("infonce", "loss.negatives=all", "loss.negatives=all is unknown: choose pair, batch or both"),
        ("infonce", "loss.mirror=w", "loss.mirror=w is unknown: choose x, y, z or null"),
        ("infonce", "loss.mirror=x", "loss.mirror=x, but loss.radius=0: give the radius"),
        ("infonce", "loss.alike=-0.1", "loss.alike=-0.1: give a number of at least 0"),
        ("infonce", "loss.alike=1", "loss.alike=1: give a share of less than 1"),
        ("triplet", "loss.margin=-0.5", "loss.margin=-0.5: give a number above 0"),
        ("triplet", "loss.radius=-1", "loss.radius=-1"),
        ("hardest_contrastive", "loss.positive_margin=-0.1", "loss.positive_margin=-0.1: give a number of at least 0"),
        ("hardest_contrastive", "loss.negative_margin=true", "loss.negative_margin=True: give a number"),
        ("hardest_contrastive", "loss.radius=-1", "loss.radius=-1"),
        ("circle", "loss.margin=-1", "loss.margin=-1"),
        ("circle", "loss.scale=0", "loss.scale=0: give a number above 0"),
        ("vicreg", "loss.variance=-25", "loss.variance=-25: give a number of at least 0"),
        ("vicreg", "loss.covariance=null", "loss.covariance=None: give a number"),
    ],
)
def test_bad_settings_are_named(name, override, words, make_config):
    with pytest.raises(InstantiationException) as info:
        instantiate(make_config(f"loss={name}", override).loss)
    error = info.value.__cause__
    assert isinstance(error, InputError) and str(error).startswith(words) and "\n" not in str(error)


def test_bad_settings_are_named_before_any_work(make_config, tmp_path):
    with pytest.raises(InputError, match=r"^loss\.margin=-1: give a number"):
        check_config(make_config("network=unet_tiny", "loss=triplet", "loss.margin=-1", f"out={tmp_path / 'out'}"))


def test_negatives_of_the_batch_need_two_pairs_a_batch(make_config, tmp_path):
    overrides = ["network=unet_tiny", "loss.negatives=batch", f"out={tmp_path / 'out'}"]
    check_config(make_config(*overrides))
    for stage in ("pretrain", "finetune"):
        with pytest.raises(InputError, match=f"training.{stage}.pairs=1.*loss.negatives=both"):
            check_config(make_config(*overrides, f"training.{stage}.pairs=1"))
    check_config(make_config(*overrides, "training.finetune.pairs=1", "training.finetune.lambda_ssl=0"))


@pytest.mark.parametrize("radius", [0, 0.3])
def test_losses_agree_on_the_accuracy(radius, make_loss, matches):
    """It is compared between losses: the same embeddings must give the same figure."""
    a, b, points, pair = matches([20, 3], dim=3)
    assert len({float(make_loss(name, f"loss.radius={radius}")(a, b, points, pair)[1]) for name in NAMES}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_may_set_the_radius_of_any_loss(name, make_config):
    cfg = make_config("experiment=people_cpu", f"loss={name}")
    assert instantiate(cfg.loss).radius == cfg.loss.radius > 0


def test_the_radius_leaves_vicreg_itself_alone(make_loss, matches):
    batch = matches([20, 3], dim=3)
    (without, accuracy), (within, larger) = make_loss("vicreg")(*batch), make_loss("vicreg", "loss.radius=100")(*batch)
    assert without == within and accuracy < larger == 1
