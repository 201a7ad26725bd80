"""Fields against PyTorch3D's implicitron with the same weights, a float64 loop, analytic cases, and a small scene learned."""

import math

import pytest
import torch
from pytorch3d.implicitron.models.implicit_function.scene_representation_networks import SRNRaymarchHyperNet
from pytorch3d.implicitron.models.renderer.base import ImplicitronRayBundle
from pytorch3d.implicitron.models.renderer.lstm_renderer import LSTMRenderer
from torch.nn.functional import binary_cross_entropy, cross_entropy, normalize

from mvdecor.fields import ConditionalField, FieldSettings, LSTMMarcher, PointFunction, VolumeRenderer
from mvdecor.fields.volume import weights_of
from mvdecor.views import sphere_cameras
from mvdecor.views.rays import rays_of


def copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Parameters in their order; every shape must agree."""
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    for theirs, ours in pairs:
        ours.data.copy_(theirs.data)


def random_rays(objects: int, rays: int) -> tuple[torch.Tensor, ...]:
    origins = 2 * normalize(torch.randn(objects, rays, 3), dim=-1)
    directions = normalize(-origins + 0.3 * torch.randn(objects, rays, 3), dim=-1)
    return origins, directions, torch.ones(objects, rays), torch.full((objects, rays), 3.0)


@pytest.mark.parametrize("harmonics", [0, 3])
def test_features_and_distance_are_those_of_implicitron(harmonics):
    width, steps = 24, 6
    theirs = SRNRaymarchHyperNet(
        n_harmonic_functions=harmonics,
        n_hidden_units=width,
        n_layers=2,
        n_hidden_units_hypernet=20,
        n_layers_hypernet=1,
        out_features=width,
        latent_dim_hypernet=12,
    )
    marcher = LSTMRenderer(num_raymarch_steps=steps, init_depth=1.2, init_depth_noise_std=0.0, n_feature_channels=width)
    torch.nn.init.normal_(marcher._out_layer.weight, std=0.2)  # steps of all lengths, backwards too
    function, ours = PointFunction(12, width, 4, 20, harmonics), LSTMMarcher(width, steps)
    copy_weights(theirs, function)
    copy_weights(marcher, ours)
    codes, (origins, directions, near, far) = torch.randn(3, 12), random_rays(3, 50)
    seen = {}

    def implicit_function(ray_bundle, raymarch_features=None):
        if raymarch_features is None:
            return theirs(ray_bundle=ray_bundle, global_code=codes)
        seen["features"] = raymarch_features
        return raymarch_features[..., :1], raymarch_features

    bundle = ImplicitronRayBundle(origins, directions, near[..., None].clone(), xys=origins[..., :2])
    rendered = marcher(ray_bundle=bundle, implicit_functions=[implicit_function])
    hits = ours(function(codes), origins, directions, near, far)

    assert hits.distance.std() > 0.05  # the rays do not all end at one distance
    torch.testing.assert_close(hits.distance, rendered.depths[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(hits.features, seen["features"].view_as(hits.features), atol=1e-5, rtol=0)
    torch.testing.assert_close(hits.points, origins + hits.distance[..., None] * directions)


def test_an_object_does_not_depend_on_those_beside_it():
    field = ConditionalField(FieldSettings(code_size=8, width=16, hypernetwork_width=16, steps=4), objects=3)
    rays = random_rays(3, 20)
    together = field.render(field.codes.weight, *rays)
    for i in range(3):
        alone = field.render(field.codes.weight[i : i + 1], *(values[i : i + 1] for values in rays))
        torch.testing.assert_close(alone.rgb[0], together.rgb[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.hits.distance[0], together.hits.distance[i], atol=1e-5, rtol=0)


@pytest.mark.parametrize("renderer", ["lstm", "volume"])
def test_the_second_part_of_a_code_is_for_colours_alone(renderer):
    sizes = {"code_size": 8, "colour_code_size": 4, "width": 16, "hypernetwork_width": 16, "steps": 4, "samples": 4}
    field = ConditionalField(FieldSettings(renderer=renderer, **sizes), objects=2, labels=3).eval()
    rays = random_rays(2, 20)
    codes = torch.randn(2, 12)
    painted, bent = codes.clone(), codes.clone()
    painted[:, 8:] += 1
    bent[:, :8] += 1
    one, other, third = (field.render(values, *rays) for values in (codes, painted, bent))
    assert torch.equal(one.hits.distance, other.hits.distance)
    assert torch.equal(field.label_logits(one.hits), field.label_logits(other.hits))
    assert (one.rgb - other.rgb).abs().mean() > 1e-3
    assert (one.hits.features - third.hits.features).abs().mean() > 1e-3


def test_weights_of_a_ray_are_those_of_a_loop():
    density = torch.rand(5, 9, dtype=torch.float64) * 4
    weights = weights_of(density, 0.3)
    for ray in range(5):
        light = 1.0
        for sample in range(9):
            stopped = 1 - math.exp(-float(density[ray, sample]) * 0.3)
            assert float(weights[ray, sample]) == pytest.approx(light * stopped, abs=1e-12)
            light *= 1 - stopped


def test_a_ball_in_the_volume_renderer_has_its_analytic_distance():
    renderer = VolumeRenderer(1, samples=400).eval()
    with torch.no_grad():
        renderer.density.weight.fill_(200.0)  # softplus(200 f - 100): opaque where f is 1, empty where it is 0
        renderer.density.bias.fill_(-100.0)
    origins = torch.tensor([[[0.0, 0.0, -2.0], [0.3, 0.0, -2.0], [0.9, 0.0, -2.0]]])
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(1, 3, 3)
    near, far = torch.full((1, 3), 1.0), torch.full((1, 3), 3.0)
    hits = renderer(lambda points: (points.norm(dim=-1, keepdim=True) < 0.5).float(), origins, directions, near, far)
    expected = [2 - 0.5, 2 - math.sqrt(0.25 - 0.09), 3.0]  # the last ray passes by, and ends at `far`
    torch.testing.assert_close(hits.distance[0], torch.tensor(expected), atol=0.015, rtol=0)
    torch.testing.assert_close(hits.opacity[0], torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)


def banded_ball(views: int, size: int) -> dict[str, torch.Tensor]:
    """Pictures, labels and distances of a ball of radius 0.7 with three coloured bands, by the formula of a sphere."""
    cameras = sphere_cameras(views, size, seed=0, distance=(2.0, 2.0), jitter=0.0)
    rays = rays_of(cameras)
    along = -(rays.origins * rays.directions).sum(dim=-1)
    off_axis = (rays.origins + along[:, None] * rays.directions).square().sum(dim=-1)
    hit = off_axis < 0.49
    distance = along - (0.49 - off_axis).clamp_min(0).sqrt()
    height = (rays.origins + distance[:, None] * rays.directions)[:, 1]
    labels = torch.where(hit, 1 + (height > -0.25).long() + (height > 0.25).long(), 0)
    palette = torch.tensor([[1.0, 1.0, 1.0], [0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.8]])
    return {
        "origins": rays.origins,
        "directions": rays.directions,
        "rgb": palette[labels],
        "labels": labels,
        "hit": hit,
        "distance": distance,
    }


@pytest.mark.parametrize(("renderer", "with_depth"), [("lstm", False), ("lstm", True), ("volume", False)])
def test_a_banded_ball_is_learned(renderer, with_depth):
    """Rays, labels and all, from pictures of 32 x 32: at least 23 dB and 85 IoU, with depth 27 and 90."""
    ball, count = banded_ball(16, 32), 16 * 32 * 32
    sizes = {"code_size": 8, "width": 48, "layers": 3, "hypernetwork_width": 32, "generator_layers": 3}
    field = ConditionalField(FieldSettings(renderer=renderer, steps=8, harmonics=3, samples=12, **sizes), 1, labels=4)
    steps = 250
    optimizer = torch.optim.Adam(field.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)

    def rendered(chosen):
        bounds = [torch.full((1, len(chosen)), value) for value in (1.0, 3.0)]
        result = field.render(
            field.codes.weight, ball["origins"][chosen][None], ball["directions"][chosen][None], *bounds
        )
        return result, field.label_logits(result.hits)[0]

    for _ in range(steps):
        chosen = torch.randint(count, (512,))
        result, logits = rendered(chosen)
        hit = ball["hit"][chosen]
        loss = (result.rgb[0] - ball["rgb"][chosen]).square().mean()
        loss = loss + 0.05 * binary_cross_entropy(result.opacity[0].clamp(1e-5, 1 - 1e-5), hit.float())
        loss = loss + 0.02 * cross_entropy(logits, ball["labels"][chosen])
        if with_depth:
            loss = loss + 0.3 * (result.hits.distance[0] - ball["distance"][chosen])[hit].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(field.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    field.eval()
    with torch.no_grad():
        result, logits = rendered(torch.arange(count))
    error = float((result.rgb[0].clamp(0, 1) - ball["rgb"]).square().mean())
    labels = logits.argmax(dim=-1)
    iou = []
    for label in range(4):
        predicted, truth = labels == label, ball["labels"] == label
        iou.append(100 * float((predicted & truth).sum() / (predicted | truth).sum()))
    assert -10 * math.log10(error) >= (27 if with_depth else 23)
    assert min(iou) >= (90 if with_depth else 85)
