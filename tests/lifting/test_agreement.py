"""Agreement of views against a slow loop, in cases with a known answer, and that it has no bearing on the labels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.lifting import LAYER_ORDERS, VOTE_RULES, Calibration, FaceVoter, ViewAgreement, fill_unseen, vote
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Views


def strip(faces: int) -> Shape:
    """Separate triangles; the first has a twin at the end."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]) + torch.arange(faces)[:, None, None] * 2.0
    corners = torch.cat([corners, corners[:1].flip(1)])
    return Shape("strip", corners.reshape(-1, 3), torch.arange(3 * len(corners)).reshape(-1, 3))


def views_of(face_ids: torch.Tensor) -> Views:
    n, _, h, w = face_ids.shape
    eye = torch.eye(3).expand(n, 3, 3)
    return Views(Cameras(eye, torch.zeros(n, 3), eye, h, w), face_ids.int())


def mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def slow(shape, face_ids, logits, layer_order, temperature):
    """By face, the mean over images of the means over pixels, and the labels of these; one pixel at a time."""
    n, layers, c, height, width = logits.shape
    groups = shape.twin_groups.tolist()
    pixels: dict[tuple[int, int], dict[tuple[int, int], list[list[float]]]] = {}
    for i in range(n):
        for layer in range(layers):
            for y in range(height):
                for x in range(width):
                    face = int(face_ids[i, layer, y, x])
                    if face < 0 or (layer_order == "outer_only" and layer > 0):
                        continue
                    values = (logits[i, layer, :, y, x].double() / temperature).tolist()
                    p = [math.exp(v - max(values)) for v in values]
                    key = (groups[face], layer if layer_order == "outer_first" else 0)
                    pixels.setdefault(key, {}).setdefault((i, layer), []).append([v / sum(p) for v in p])
    probabilities, images = [], []
    for group in groups:
        seen = next((pixels[group, layer] for layer in range(layers) if (group, layer) in pixels), {})
        said = [mean(image) for image in seen.values()]
        probabilities.append(mean(said) if said else [0.0] * c)
        images.append(mean([[float(k == p.index(max(p))) for k in range(c)] for p in said]) if said else [0.0] * c)
    return torch.tensor(probabilities), torch.tensor(images)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    layers=st.integers(1, 2),
    labels=st.integers(1, 4),
    order=st.sampled_from(LAYER_ORDERS),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_probabilities_and_labels_of_images_are_those_of_a_slow_loop(seed, layers, labels, order, temperature):
    generator = torch.Generator().manual_seed(seed)
    shape = strip(4)
    face_ids = torch.randint(-1, 5, (6, layers, 3, 3), generator=generator)
    logits = 3 * torch.randn(6, layers, labels, 3, 3, generator=generator)
    voter = FaceVoter(shape, labels, "entropy", order, layers, temperature=temperature)
    voter.add(face_ids, logits)
    votes = voter.result()
    probabilities, images = slow(shape, face_ids, logits, order, temperature)
    torch.testing.assert_close(votes.probabilities, probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(votes.images, images, atol=1e-5, rtol=0)
    mask = face_ids >= 0 if order != "outer_only" else (face_ids >= 0) & (torch.arange(layers) == 0)[:, None, None]
    if bool(mask.any()):
        pixels = logits.permute(0, 1, 3, 4, 2)[mask].double()
        assert votes.evidence == pytest.approx(float(pixels.exp().sum(dim=1).log().mean()), abs=1e-5)


def agreement(rows: list[list[list[float]]]) -> tuple[list[float], list[float]]:
    """Of one face, from the class probabilities of the pixels of each of its images."""
    result = ViewAgreement(1, len(rows[0][0]), 1.0, "cpu")
    logits = torch.tensor([pixel for image in rows for pixel in image]).log()
    image = torch.tensor([i for i, image in enumerate(rows) for _ in image])
    result.add(torch.zeros_like(image), image, logits)
    probabilities, images = result.result()
    return probabilities[0].tolist(), images[0].tolist()


def test_each_view_says_one_label():
    rows = [[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]], [[0.9, 0.1], [0.3, 0.7]]]
    probabilities, images = agreement(rows)
    assert probabilities == pytest.approx([(0.9 + 0.6 + 0.2 + 0.6) / 4, (0.1 + 0.4 + 0.8 + 0.4) / 4])
    assert images == pytest.approx([3 / 4, 1 / 4])


def test_a_close_view_counts_as_much_as_a_far_one():
    assert agreement([[[1.0, 0.0]] * 99, [[0.0, 1.0]]]) == (pytest.approx([0.5, 0.5]), pytest.approx([0.5, 0.5]))


def test_one_view_that_is_sure_decides_the_label_and_not_the_confidence():
    """The entropy rule's share of the votes is 1 for a face that three of four views doubt: hence its overconfidence."""
    p = torch.tensor([[0.999, 0.001], [0.45, 0.55], [0.45, 0.55], [0.45, 0.55]])
    face_ids, logits = torch.zeros(4, 1, 1, 1, dtype=torch.int64), p.log()[:, None, :, None, None]
    found = fill_unseen(strip(1), vote(strip(1), views_of(face_ids), logits))
    assert found.labels.tolist() == [0, 0]
    assert float(found.share[0]) > 0.99
    assert float(found.confidence[0]) == pytest.approx((0.999 + 3 * 0.45) / 4)
    assert float(found.disagreement[0]) == pytest.approx(3 / 4)


def test_views_in_several_calls_are_those_of_one_call():
    generator = torch.Generator().manual_seed(0)
    face_ids, logits = torch.randint(-1, 4, (9, 1, 4, 4), generator=generator), torch.randn(9, 1, 3, 4, 4)
    whole, parts = FaceVoter(strip(4), 3), FaceVoter(strip(4), 3)
    whole.add(face_ids, logits)
    for i in range(9):
        parts.add(face_ids[i : i + 1], logits[i : i + 1])
    torch.testing.assert_close(whole.result().probabilities, parts.result().probabilities)
    torch.testing.assert_close(whole.result().images, parts.result().images)
    assert whole.result().evidence == pytest.approx(parts.result().evidence)


@pytest.mark.parametrize("rule", VOTE_RULES)
def test_the_temperature_changes_confidence_and_nothing_else(rule):
    generator = torch.Generator().manual_seed(1)
    shape, face_ids = strip(4), torch.randint(-1, 4, (5, 1, 4, 4), generator=generator)
    logits = 4 * torch.randn(5, 1, 3, 4, 4, generator=generator)
    found = []
    for temperature in (1.0, 4.0):
        voter = FaceVoter(shape, 3, rule, temperature=temperature)
        voter.add(face_ids, logits)
        found.append(fill_unseen(shape, voter.result()))
    one, other = found
    assert torch.equal(one.labels, other.labels) and torch.equal(one.share, other.share)
    seen = ~one.filled
    plain = vote(shape, views_of(face_ids), logits, rule).scores.argmax(dim=1)
    assert torch.equal(one.labels[seen], plain[seen])
    assert not torch.equal(one.confidence, other.confidence)
    assert one.evidence == other.evidence


def test_a_filled_face_has_the_confidence_of_its_source():
    shape, face_ids = strip(3), torch.tensor([[[[0, 1]]]])
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).T[None, None, :, None]
    found = fill_unseen(shape, vote(shape, views_of(face_ids), logits))
    expected = [2.0, 1.0, 1.0, 2.0]  # face 2 is nearest to 1; face 3 is the twin of 0
    torch.testing.assert_close(found.confidence, torch.tensor(expected).sigmoid())
    assert found.filled.tolist() == [False, False, True, False]


def test_calibration_of_a_checkpoint():
    assert Calibration.of({}, "m") == Calibration(1.0, None), "checkpoints of older revisions have none"
    assert Calibration.of({"calibration": None}, "m") == Calibration()
    own = Calibration(1.7, 4.5)
    assert Calibration.of({"calibration": own.record()}, "m") == own
    assert Calibration.of({"calibration": {"temperature": 2}}, "m") == Calibration(2.0)
    bad = [{}, [], 3, {"temperature": "2"}, {"temperature": 0.5}, {"temperature": None}, {"temperature": math.nan}]
    for record in [
        *bad,
        {"temperature": 1, "evidence": "x"},
        {"temperature": True},
        {"temperature": 1, "evidence": math.inf},
    ]:
        with pytest.raises(InputError, match=r"m: calibration in its checkpoint\.json is damaged"):
            Calibration.of({"calibration": record}, "m")


def test_familiarity():
    assert Calibration(1.0, 5.0).familiarity(4.0) == pytest.approx(0.8)
    assert Calibration(1.0, None).familiarity(4.0) is None
    assert Calibration(1.0, -1.0).familiarity(4.0) is None, "a network that finds nothing to go by anywhere"
    assert Calibration(1.0, 5.0).familiarity(None) is None
