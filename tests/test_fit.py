"""scripts/fit.py: a field fitted to made-up captures, its files, and how rays are sampled."""

import json

import numpy as np
import pytest
import torch

from mvdecor.apps.fit import run_fit
from mvdecor.apps.viewer.capture_session import CaptureSession
from mvdecor.captures import make_capture_set
from mvdecor.captures.scene_rays import SceneRaySource
from mvdecor.errors import InputError
from mvdecor.fields.radiance_file import load_radiance
from mvdecor.fields.radiance_views import render_scene_views
from tests.field_runs import write_balls


@pytest.fixture
def fit_config(make_config, tmp_path):
    root = write_balls(tmp_path / "balls")
    capture = ["data=folder", f"data.root={root}", "capture=rendered", "capture.size=16", "capture.count=12"]
    small = ["radiance.field.resolution=12", "radiance.rays=192", "radiance.samples=32", "radiance.steps=150"]
    own = [f"out={tmp_path / 'out'}", "device=cpu", "held_out=6", "points=200", "id=ball_0", "progress=false"]

    return lambda *overrides: make_config(*capture, *small, *own, *overrides, name="fit")


def test_a_fitted_field_shows_views_that_it_did_not_see(fit_config, make_config, tmp_path):
    cfg = fit_config()
    result = run_fit(cfg)
    assert result["psnr"] > 17
    field, space, record = load_radiance(tmp_path / "out" / "model")
    assert record["held_out"] == [0, 6] and record["views"] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    capture = make_capture_set(cfg.capture).load("ball_0")
    rendered = render_scene_views(field, space, capture, [0, 6], record["samples"])
    error = (rendered.images - capture.images([0, 6]).float() / 255).square().mean(dim=(1, 2, 3))
    assert float((-10 * error.log10()).mean()) == pytest.approx(result["psnr"], abs=0.01)
    header, _, body = (tmp_path / "out" / "cloud.ply").read_bytes().partition(b"end_header\n")
    points = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    assert f"element vertex {len(points)}".encode() in header and len(points) > 20
    assert np.median(np.abs(np.linalg.norm(points["xyz"], axis=1) - 1)) < 0.25
    assert run_fit(cfg) == json.loads((tmp_path / "out" / "fit.json").read_text())  # not fitted again
    session = CaptureSession(make_config(f"run={tmp_path / 'out'}", name="view"))
    assert session.ids == ["ball_0"] and len(session.cloud("ball_0").points) > 20
    shown = session.pictures("ball_0", 6)["rendered"].astype(float)
    np.testing.assert_allclose(shown, 255 * rendered.images[1].numpy(), atol=0.51)


def test_some_views_are_fitted_spread_evenly(fit_config):
    run_fit(fit_config("fit_views=4", "radiance.steps=1"))
    _, _, record = load_radiance(fit_config().out + "/model")
    assert record["views"] == [1, 4, 8, 11] and record["held_out"] == [0, 6]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("id=null", r"holds 3 captures \(ball_0"),
        ("id=nobody", "id=nobody: there is no such capture"),
        ("held_out=1", "held_out=1"),
        ("fit_views=11", "fit_views=11, but 2 of its 12 views are held out, and 10 are left"),
        ("radiance.samples=1", r"radiance\.samples=1"),
        ("background=black", "background=black is unknown"),
    ],
)
def test_bad_settings(fit_config, override, words):
    with pytest.raises(InputError, match=words):
        run_fit(fit_config(override))


def test_rays_are_those_of_their_pixels_and_shares_make_the_whole(fit_config):
    capture = make_capture_set(fit_config().capture).load("ball_1")
    views = [2, 5, 7]
    source = SceneRaySource(capture, views, 64, foreground=0.5)
    batch = source.sample(0, 3)
    images, size = capture.images(views).view(-1, 3).float() / 255, 16 * 16
    rays = capture.rays()
    for ray in range(64):
        places = [v for v in range(3) if torch.equal(images[v * size + batch.place[ray]], batch.rgb[ray])]
        same = [
            v for v in places if torch.allclose(rays.origins[views[v] * size + batch.place[ray]], batch.origins[ray])
        ]
        (v,) = same
        assert torch.allclose(rays.directions[views[v] * size + batch.place[ray]], batch.directions[ray])
    parts = [source.sample(0, 3, range(0, 20)), source.sample(0, 3, range(20, 64))]
    assert torch.equal(torch.cat([part.rgb for part in parts]), batch.rgb)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert not torch.equal(source.sample(0, 4).place, batch.place)
