"""PSNR, SSIM and mIoU of views, against plain loops, torchmetrics and cases that can be done by hand."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import peak_signal_noise_ratio

from mvdecor.errors import InputError
from mvdecor.evaluation import ViewMetrics, psnr, ssim
from mvdecor.files import write_json

NAMES = ("background", "seat", "leg")


def pictures(seed: int, count: int = 3) -> torch.Tensor:
    """float32 [count, 20, 24, 3], smooth."""
    noise = np.random.default_rng(seed).random((count, 20, 24, 3))
    return torch.tensor(gaussian_filter(noise, (0, 1.5, 1.5, 0)), dtype=torch.float32)


def test_psnr_of_each_view():
    images, truth = pictures(0), pictures(1)
    expected = [float(peak_signal_noise_ratio(a, b, data_range=1.0)) for a, b in zip(images, truth)]
    assert psnr(images, truth).tolist() == pytest.approx(expected, rel=1e-5)
    assert psnr(images, images).tolist() == [math.inf] * 3
    dark, grey = torch.zeros(1, 20, 24, 3), torch.full((1, 20, 24, 3), 0.1)
    assert psnr(dark, grey).tolist() == pytest.approx([20.0], rel=1e-5)


def test_pictures_of_bytes_count_as_shares_of_255():
    images, truth = ((x * 255).round().to(torch.uint8) for x in (pictures(0), pictures(1)))
    torch.testing.assert_close(psnr(images, truth), psnr(images.float() / 255, truth.float() / 255))


def test_where_errors_are():
    truth, alpha = torch.ones(1, 12, 12, 3), torch.zeros(1, 12, 12, dtype=torch.uint8)
    alpha[:, 3:8, 3:8] = 255
    images = truth.clone()
    images[0, 5, 5] = 0  # inside
    images[0, 3, 3:5] = 0  # two pixels of the object beside the background
    images[0, 2, 2:6, 0] = 0.5  # one colour of four pixels beside the object
    metrics = ViewMetrics(shown={"a": [1]})
    metrics.add_images("a", [0], images, truth, alpha)
    shares = metrics.result()["error_shares"]
    assert shares == pytest.approx({"inside": 3 / 10, "inner_outline": 6 / 10, "outer_outline": 1 / 10, "outside": 0})
    restored = ViewMetrics()
    restored.restore("a", json.loads(json.dumps(metrics.record("a", [0]))))
    assert restored.result() == metrics.result()
    metrics.add_images("a", [1], 0 * truth, truth, alpha)  # was shown
    assert metrics.result()["error_shares"] == shares


def test_ssim_is_the_published_formula():
    images, truth = pictures(2), pictures(3)

    def blur(x: np.ndarray) -> np.ndarray:  # Gaussian window of 11 x 11
        return gaussian_filter(x, 1.5, radius=5, mode="mirror")

    for value, a, b in zip(ssim(images, truth).tolist(), images.double().numpy(), truth.double().numpy()):
        channels = []
        for k in range(3):
            x, y = a[..., k], b[..., k]
            mean_x, mean_y = blur(x), blur(y)
            var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
            luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
            channels.append((luminance * (2 * cov + 0.03**2) / (var_x + var_y + 0.03**2)).mean())
        assert value == pytest.approx(np.mean(channels), abs=1e-4)
    assert ssim(images, images).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_ssim_of_too_small_views_is_refused():
    with pytest.raises(InputError, match="at least 11x11 pixels, these have 12x8"):
        ssim(torch.zeros(1, 8, 12, 3), torch.zeros(1, 8, 12, 3))


def by_loops(truth: np.ndarray, predicted: np.ndarray, labels: list[int]) -> float | None:
    """Mean IoU in percent over the labels that occur, pixel by pixel."""
    values = []
    for label in labels:
        intersection = union = 0
        for t, p in zip(truth.reshape(-1).tolist(), predicted.reshape(-1).tolist()):
            if t >= 0:
                intersection += t == label and p == label
                union += t == label or p == label
        if union:
            values.append(100 * intersection / union)
    return sum(values) / len(values) if values else None


@given(st.integers(0, 10_000))
def test_label_miou_is_that_of_plain_loops(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(-1, generator.integers(1, 4), (4, 3, 5))
    predicted = generator.integers(0, generator.integers(1, 4), (4, 3, 5))
    metrics = ViewMetrics(NAMES, background=0)
    metrics.add_labels("a", [0, 2], torch.tensor(predicted[:2]), torch.tensor(truth[:2]))
    metrics.add_labels("b", [5, 1], torch.tensor(predicted[2:]), torch.tensor(truth[2:]))
    labels = metrics.result()["labels"]

    def per_view(of: list[int]) -> float | None:
        values = [by_loops(t, p, of) for t, p in zip(truth, predicted)]
        present = [value for value in values if value is not None]
        return sum(present) / len(present) if present else None

    expected = {
        "miou": by_loops(truth, predicted, [1, 2]),
        "miou_with_background": by_loops(truth, predicted, [0, 1, 2]),
        "miou_per_view": per_view([1, 2]),
        "miou_per_view_with_background": per_view([0, 1, 2]),
    }
    for name, value in expected.items():
        assert labels[name] == (None if value is None else pytest.approx(value)), name


def test_without_a_background_label_both_figures_are_one():
    metrics = ViewMetrics(("a", "b"))
    metrics.add_labels("x", [0], torch.tensor([[[0, 1, 1, 0]]]), torch.tensor([[[0, 1, 0, -1]]]))
    labels = metrics.result()["labels"]
    assert labels["miou"] == labels["miou_with_background"] == pytest.approx(50)
    assert labels["iou"] == {"a": pytest.approx(50), "b": pytest.approx(50)}


def test_views_that_were_shown_do_not_count():
    images, truth = pictures(4, 4), pictures(5, 4)
    maps = torch.zeros(4, 20, 24, dtype=torch.int64)
    counted = [1, 3]
    metrics = ViewMetrics(NAMES, 0, shown={"chair": [0, 2], "other": [1]})
    metrics.add_images("chair", range(4), images, truth)
    metrics.add_labels("chair", range(4), maps, maps)
    plain = ViewMetrics(NAMES, 0)
    plain.add_images("chair", counted, images[counted], truth[counted])
    result = metrics.result()
    assert result["psnr"] == plain.result()["psnr"] and result["ssim"] == plain.result()["ssim"]
    assert result["views"] == {"pictures": 2, "label_maps": 2, "shown": 2}
    assert result["psnr"] == pytest.approx(float(psnr(images, truth)[counted].mean()))
    json.dumps(result)


def test_depth_error_is_that_of_pixels_that_see_the_surface():
    truth = torch.zeros(3, 2, 2)
    truth[0, 0], truth[1, 1, 1] = 2.0, 4.0
    depth = torch.full((3, 2, 2), 2.5)
    metrics = ViewMetrics(shown={"a": [5]})
    metrics.add_depth("a", [0, 1, 2], depth, truth)
    metrics.add_depth("a", [5], depth[:1] + 9, truth[:1])
    assert metrics.result()["depth_error"] == pytest.approx((0.5 + 1.5) / 2)
    with pytest.raises(InputError, match="capture a: depth"):
        metrics.add_depth("a", [7], depth, truth)


def test_nothing_to_measure():
    assert ViewMetrics().result() == {
        "psnr": None,
        "ssim": None,
        "depth_error": None,
        "error_shares": None,
        "labels": None,
        "views": {"pictures": 0, "label_maps": 0, "shown": 0},
    }


def test_what_does_not_fit_is_refused():
    metrics, maps = ViewMetrics(NAMES, 0), torch.zeros(2, 4, 4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"capture a: label maps \[2, 4, 4\] and truth \[1, 4, 4\]"):
        metrics.add_labels("a", [0, 1], maps, maps[:1])
    with pytest.raises(InputError, match=r"predicted labels -1\.\.0; allowed are 0\.\.2"):
        metrics.add_labels("a", [0, 1], maps - torch.eye(4, dtype=torch.int64), maps)
    with pytest.raises(InputError, match=r"true labels 0\.\.3; allowed are -1\.\.2"):
        metrics.add_labels("a", [0, 1], maps, maps + 3 * torch.eye(4, dtype=torch.int64))
    metrics.add_labels("a", [0, 1], maps, maps)
    with pytest.raises(InputError, match="capture a: view 1 was added twice"):
        metrics.add_labels("a", [1, 2], maps, maps)
    with pytest.raises(InputError, match="of 3 views"):
        metrics.add_images("a", [0, 1, 2], pictures(0, 2), pictures(1, 2))
    with pytest.raises(InputError, match="background=3 is none of the 3 labels"):
        ViewMetrics(NAMES, 3)


def test_views_counted_elsewhere_count_the_same(tmp_path):
    images, maps = pictures(0), torch.randint(0, 3, (3, 20, 24), generator=torch.Generator().manual_seed(0))
    whole, parts, joined = (ViewMetrics(NAMES, 0, shown={"a": [1]}) for _ in range(3))
    for id, seed in (("a", 1), ("b", 0)):  # b is rendered without fault, and sees nothing
        depth = torch.full((3, 20, 24), 2.0) if id == "a" else torch.zeros(3, 20, 24)
        for metrics in (whole, parts):
            metrics.add_images(id, [0, 1, 2], images, pictures(seed))
            metrics.add_depth(id, [0, 1, 2], depth + 0.1, depth)
            metrics.add_labels(id, [0, 1], maps[:2], maps[1:])
        write_json(tmp_path / id, parts.record(id, [0, 1, 2]))
        joined.restore(id, json.loads((tmp_path / id).read_text()))
    assert joined.result() == whole.result() and joined.result()["psnr"] == math.inf
