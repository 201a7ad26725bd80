"""scripts/figures.py: what it writes and refuses, with a network whose embedding is the surface position."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from octants import save_octants
from PIL import Image

from mvdecor.apps.embeddings import run_figures, whole_views
from mvdecor.errors import InputError
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.percent import rounded
from mvdecor.systems.mvdecor.setup import make_shape_views, make_store

TWO = {"one_shape.png", "one_shape_matches.png", "two_shapes.png", "two_shapes_matches.png"}
FILES = {"embeddings.png", "transfer.png", "figures.json", "meshes"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three convex shapes, so that directions from their middle tell their surface points apart."""
    folder = tmp_path_factory.mktemp("shapes")
    for name, scale in {"egg": [0.7, 1.0, 0.6], "ball": [1.0, 1.0, 1.0], "pea": [0.1, 0.1, 0.1]}.items():
        mesh = trimesh.creation.icosphere(subdivisions=3)
        mesh.apply_scale(scale)
        mesh.export(folder / f"{name}.off")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_octants(tmp_path_factory.mktemp("octants") / "model", kind="pretrained")


@pytest.fixture
def figures(make_config, root, model, tmp_path):
    """Runs the stage into tmp_path / "out"."""

    def run(*overrides: str) -> dict:
        own = (
            *("data=folder", f"data.root={root}", f"checkpoint={model}", f"out={tmp_path / 'out'}", "device=cpu"),
            *("views.count=24", "views.size=48", "views.channels=[points]", "precision=32-true", "seed=1"),
            *("figures.shapes=[egg,ball]", "figures.pairs=2", "figures.points=200"),
        )
        return run_figures(make_config(*own, *overrides, name="figures"))

    return run


def test_everything_that_is_written(figures, tmp_path, capsys):
    result = figures("figures.views=[2,3]")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} - {"code.diff"} == FILES | TWO
    assert result == json.loads((out / "figures.json").read_text())
    assert result["shapes"] == ["egg", "ball"] and result["views"] == [2, 3] and result["without_pairs"] == []
    transfer = result["transfer"]
    assert 100 < transfer["points"] <= 2 * 2 * 200
    assert transfer["within"]["5"] > 99 and transfer["same_pixel"] > 95, "the position finds the point"
    assert transfer["chance"]["5"] < 25
    assert result["transfer_within_5"].keys() == {"egg", "ball"} and min(result["transfer_within_5"].values()) > 99
    printed = capsys.readouterr().out
    assert f"{rounded(transfer['within']['5'])} % of {transfer['points']} points land within 5 %" in printed
    for name in TWO | {"embeddings.png", "transfer.png"}:
        assert min(Image.open(out / name).size) > 200
    assert figures("figures.views=[2,3]") == result
    assert "finished before" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"other settings or inputs \(figures\."):
        figures("figures.views=[3,2]")


def test_colours_of_faces_agree_across_shapes(figures, tmp_path):
    """Where the egg and the ball lie in the same direction from their middle, the oracle gives them the same embedding."""
    result = figures("figures.pairs=1")
    colours, directions = {}, {}
    for name in ("egg", "ball"):
        (mesh,) = trimesh.load_scene(tmp_path / "out" / "meshes" / f"{name}.glb", process=False).geometry.values()
        assert len(mesh.faces) == 1280 and result["coverage"][name] > 95
        colours[name] = mesh.visual.to_color().vertex_colors[::3, :3].astype(int)
        middles = mesh.triangles.mean(axis=1)
        directions[name] = middles / np.linalg.norm(middles, axis=1, keepdims=True)
    nearest = (directions["egg"] @ directions["ball"].T).argmax(axis=1)
    grey = np.array([LIGHT_GREY])
    both = (colours["egg"] != grey).any(axis=1) & (colours["ball"][nearest] != grey).any(axis=1)
    off = np.abs(colours["egg"] - colours["ball"][nearest])[both]
    assert both.mean() > 0.8 and np.median(off) < 15
    assert colours["egg"].std(axis=0).min() > 20, "the surface is not all one colour"


def test_one_shape_and_a_random_pair(figures, tmp_path):
    result = figures("figures.shapes=pea")  # found small, normalised by the reader
    assert result["shapes"] == ["pea"] and len(set(result["views"])) == 2
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"code.diff"}
    assert names == FILES | {"one_shape.png", "one_shape_matches.png"}


def test_a_view_is_whole_where_no_pixel_at_its_edge_sees_the_shapes(make_config, root):
    cfg = make_config("data=folder", f"data.root={root}", "views.count=40", "views.fov=75", name="figures")
    shape_set = make_store(cfg, cfg.data.labelled)
    shape_views = make_shape_views(cfg, [shape_set.load(id) for id in ("egg", "ball")], torch.device("cpu"))
    whole = whole_views(shape_views, 0, 1)
    assert whole == sorted(set(whole_views(shape_views, 0)) & set(whole_views(shape_views, 1)))
    assert 0 < len(whole) < 40
    for view in range(40):
        seen = torch.stack([shape_views.views(shape, [view]).face_ids[0, 0] >= 0 for shape in shape_views])
        at_edge = int(seen[:, [0, -1]].sum() + seen[:, :, [0, -1]].sum())
        assert at_edge == 0 if view in whole else at_edge > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("checkpoint=null", "give checkpoint=FOLDER"),
        ("checkpoint=/nowhere/model", "/nowhere/model"),
        (
            "views.channels=[rgb]",
            r"was trained with \[points\], which cannot be changed after: set views.channels=\[points\]",
        ),
        ("figures.shapes=[egg,bird]", "has no shape bird; it has 3: ball, egg, pea"),
        ("figures.shapes=[egg,egg]", "names egg twice"),
        ("figures.shapes=[]", "list of ids is empty"),
        ("figures.shapes=null", "no list 'test'"),
        ("figures.views=[0,24]", r"two views, each from 0 to 23"),
        ("figures.views=[-1,2]", r"figures.views=\[-1,2\]"),
        ("figures.views=[1,2,3]", "two views"),
        ("figures.views=3", "two views"),
        ("figures.pairs=0", "figures.pairs=0: give a whole number"),
        ("figures.threshold=2", "cosine between -1 and 1"),
        ("training.matching.min_overlap=1.1", "give a share from 0 to 1"),
        ("training.matching.min_overlap=1", "no shape has two views that overlap"),
    ],
)
def test_bad_settings_leave_nothing(figures, tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        figures(override)
    assert not (tmp_path / "out").exists()


def test_other_weights_in_the_same_place(figures, model, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    first = figures(f"checkpoint={copy}")
    shutil.rmtree(copy)
    save_octants(copy)  # with a head
    assert first["weights_sha256"]
    with pytest.raises(InputError, match="the content of checkpoint"):
        figures(f"checkpoint={copy}")


def test_real_people_compose_with_their_experiment(make_config):
    cfg = make_config("experiment=people_cpu", name="figures")
    assert cfg.out == "outputs/figures" and cfg.views.size == 96 and cfg.figures.views is None
