import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.shapes import PartNetE, PartNetMobility, Shape
from mvdecor.shapes.partnet_mobility import label_of_path
from mvdecor.shapes.point_labels import carry_to_faces
from tests.partnet_e_files import face_colours, sample_surface, save_labels, write_partnet_e_like, write_points

RED, BLUE, GREY = (200, 10, 20), (10, 20, 200), (204, 204, 204)
BOXES = {
    "original-7": ((0, 0, 0), (2, 0.2, 1)),  # the pot's base
    "new-0": ((0.6, 0.4, 0.2), (1.4, 1.4, 0.8)),
    "original-2": ((0.8, 1.6, 0.3), (1.2, 1.8, 0.7)),
    "new-3": ((0.9, 2.0, 0.45), (1.1, 2.1, 0.55)),
    "spare": ((1.7, 0.4, 0.2), (1.9, 0.8, 0.4)),
}
"""Lowest and highest corner of each part; "spare" is not in the tree."""
TREE = {
    "id": 0,
    "name": "pot",
    "text": "Pot",
    "objs": ["new-0", "original-2", "new-3", "original-7"],
    "children": [
        {"id": 1, "name": "body", "text": "Body", "objs": ["new-0"]},
        {
            "id": 2,
            "name": "lid",
            "text": "Lid",
            "children": [
                {"id": 3, "name": "handle", "text": "Handle", "objs": ["new-3"]},
                {"id": 4, "name": "cover", "text": "Cover", "objs": ["original-2"]},
            ],
        },
        {"id": 5, "name": "base", "text": "Base", "objs": ["original-7"]},
    ],
}
ORDER = ["new-0", "original-2", "new-3", "original-7", "spare"]
"""Part files as the tree first names them, then the other one."""


def box(name):
    """Vertices [8, 3] and 12 faces of a part."""
    low, high = (np.array(corner, dtype=float) for corner in BOXES[name])
    mesh = trimesh.creation.box(bounds=[low, high])
    return mesh.vertices, mesh.faces


def write_pot(folder):
    """The pot as a PartNet-Mobility model: every part file calls its own material `material_0`; "spare" has none."""
    (folder / "textured_objs").mkdir(parents=True)
    (folder / "images").mkdir()
    for number, colour in enumerate((RED, BLUE)):
        Image.new("RGB", (2, 2), colour).save(folder / "images" / f"texture_{number}.png")
    images = {"original-7": 0, "new-0": 1, "original-2": 0, "new-3": 1}
    for name in BOXES:
        vertices, faces = box(name)
        lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["vt 0 0", "vt 1 0", "vt 0 1"]
        lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in faces]
        if name in images:
            lines = [f"mtllib {name}.mtl", "usemtl material_0", *lines]
            material = f"newmtl material_0\nKd 0.5 0.5 0.5\nmap_Kd ../images/texture_{images[name]}.png\n"
            (folder / "textured_objs" / f"{name}.mtl").write_text(material)
        (folder / "textured_objs" / f"{name}.obj").write_text("\n".join(lines) + "\n")
    (folder / "result.json").write_text(json.dumps([TREE]))
    (folder / "meta.json").write_text(json.dumps({"model_cat": "KitchenPot", "anno_id": folder.name}))
    (folder / "semantics.txt").write_text("link_0 heavy body\nlink_1 slider lid\n")
    (folder / "mobility.urdf").write_text("<robot/>")


def pot_shape():
    """The pot in its files' frame, with the number in `ORDER` of each face's part file."""
    boxes = [box(name) for name in ORDER]
    vertices = np.concatenate([vertices for vertices, _ in boxes])
    faces = np.concatenate([faces + 8 * number for number, (_, faces) in enumerate(boxes)])
    return Shape("pot", torch.from_numpy(vertices).float(), torch.from_numpy(faces).long()), np.repeat(np.arange(5), 12)


PARTS = np.array([1, 0, 0, -1, -1])
"""PartNetE's labels of the part files in `ORDER`: 0 "lid", 1 "body", -1 none."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("partnet_e")
    shape, part = pot_shape()
    for id, split in (("100", "few_shot"), ("9", "few_shot"), ("30", "test"), ("31", None)):
        write_pot(root / "meshes" / id)
        if split is not None:
            points, face = sample_surface(shape, 6000)
            write_points(root / split / "KitchenPot" / id, points, PARTS[part[face]])
    for split, id in (("few_shot", "50"), ("test", "51")):
        (root / split / "Bottle" / id).mkdir(parents=True)
        write_pot(root / "meshes" / id)
    (root / "PartNetE_meta.json").write_text(json.dumps({"Bottle": ["lid"], "KitchenPot": ["lid", "body"]}))
    return root


@pytest.fixture
def root(written, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(written, tmp_path / "root")


# PartNet-Mobility


def test_all_parts_are_one_shape_in_the_order_of_the_tree(root):
    shape = PartNetMobility(root / "meshes").load("9")
    expected, _ = pot_shape()
    assert torch.equal(shape.faces, expected.faces)
    assert torch.allclose(shape.vertices, expected.normalized().vertices, atol=1e-6)
    assert (shape.face_labels, shape.category, shape.id) == (None, "KitchenPot", "9")


def test_each_face_has_the_image_of_its_own_part_file(root):
    shape = PartNetMobility(root / "meshes").load("9")
    assert face_colours(shape).tolist() == np.repeat([BLUE, RED, BLUE, RED, GREY], 12, axis=0).tolist()
    assert len(shape.texture.images) == 3  # two files use each image
    assert max(PartNetMobility(root / "meshes", texture_size=1).load("9").texture.images[0].shape[:2]) == 1
    for material in (root / "meshes/9/textured_objs").glob("*.mtl"):
        material.unlink()
    for mesh in (root / "meshes/9/textured_objs").glob("*.obj"):
        mesh.write_text(mesh.read_text().replace("mtllib", "# mtllib"))
    assert PartNetMobility(root / "meshes").load("9").texture is None


def test_labels_of_the_tree_and_lists_of_a_file(root):
    meshes = root / "meshes"
    lists = {"labels": ["lid", "body", "lid/handle"], "train": ["100", "9"], "test": ["30"]}
    (meshes / "split.json").write_text(json.dumps(lists))
    data = PartNetMobility(meshes)
    assert data.label_names == ("lid", "body", "lid/handle")
    assert data.load("9").face_labels.tolist() == np.repeat([1, 0, 2, -1, -1], 12).tolist()
    assert (data.ids("train"), data.ids("test")) == (["100", "9"], ["30"])
    assert data.ids("unlabelled") == ["9", "31", "50", "51", "100"]
    assert data.ids("all") == ["9", "30", "31", "50", "51", "100"]
    with pytest.raises(InputError, match="has no list 'val'"):
        data.ids("val")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("chair/base/leg", 1),
        ("chair/arm/leg", 0),
        ("chair/base/leg/foot", 1),
        ("chair/base", -1),
        ("chair/peg_leg", -1),
        ("chair/seat", 2),
        (None, -1),
    ],
)
def test_a_part_name_is_the_end_of_a_path(path, label):
    assert label_of_path(path, ("leg", "base/leg", "chair/seat")) == label


def test_every_file_of_a_model_counts(root):
    data = PartNetE(root, "KitchenPot")
    model = root / "meshes" / "9"
    of_model = {path for path in model.rglob("*") if path.suffix in (".obj", ".mtl", ".png", ".json")}
    files = [path.resolve() for path in data.files("9", labels=False)]
    assert len(files) == len(set(files)) and set(files) == of_model
    points = root / "few_shot/KitchenPot/9"
    assert set(data.files("9")) - set(data.files("9", labels=False)) == {
        *(points / name for name in ("pc.ply", "label.npy")),
        root / "PartNetE_meta.json",
    }
    assert PartNetMobility(root / "meshes").files("9") == data.files("9", labels=False) == data.files("9", False)


# PartNetE


def test_points_give_back_the_labels_that_they_were_labelled_from(root):
    data = PartNetE(root, "KitchenPot")
    assert data.label_names == ("lid", "body", "other")
    shape = data.load("9")
    assert shape.face_labels.tolist() == np.repeat([1, 0, 0, 2, 2], 12).tolist()
    assert face_colours(shape)[0].tolist() == list(BLUE)
    without = PartNetE(root, "KitchenPot", other=False)
    assert without.label_names == ("lid", "body")
    assert without.load("9").face_labels.tolist() == np.repeat([1, 0, 0, -1, -1], 12).tolist()


def test_the_lists_are_the_folders(root):
    data = PartNetE(root, "KitchenPot")
    assert [data.ids(split) for split in ("train", "test", "all")] == [["9", "100"], ["30"], ["9", "100", "30"]]
    assert data.ids("unlabelled") == ["9", "31", "50", "100"]
    assert data.load("31").face_labels is None  # a model without points
    everything = PartNetE(root, "all")
    assert everything.label_names == () and everything.load("9").face_labels is None
    assert (everything.ids("train"), everything.ids("test")) == (["50", "9", "100"], ["51", "30"])
    with pytest.raises(InputError, match="PartNetE has no list 'val'"):
        data.ids("val")
    with pytest.raises(InputError, match="unknown split 'everything'"):
        data.ids("everything")


def test_a_made_up_data_set_is_read_as_it_was_written(made_up_people, tmp_path):
    root = write_partnet_e_like(made_up_people, tmp_path / "chairs")
    data = PartNetE(root, "Chair")
    for id in (data.ids("train")[0], data.ids("test")[0]):
        shape = data.load(id)
        (tree,) = json.loads((root / "meshes" / id / "result.json").read_text())
        expected = []
        for child in tree["children"]:
            label = data.label_names.index("other" if child["name"] == "none" else child["name"])
            file = root / "meshes" / id / "textured_objs" / f"{child['objs'][0]}.obj"
            expected += [label] * file.read_text().count("\nf ")
        expected = torch.tensor(expected)
        right = (shape.face_labels == expected).double()
        assert (right * shape.face_areas).sum() / shape.face_areas.sum() > 0.9  # 4000 points, and parts that touch


# From points to faces


def soup(rng, count):
    """Triangles of all sizes in general position."""
    corners = rng.uniform(-1, 1, (count, 1, 3)) + rng.uniform(0.02, 0.5, (count, 1, 1)) * rng.normal(size=(count, 3, 3))
    vertices = torch.from_numpy(corners.reshape(-1, 3)).float()
    return Shape("soup", vertices, torch.arange(3 * count).reshape(-1, 3))


def test_votes_are_those_of_the_exactly_nearest_faces():
    rng = np.random.default_rng(3)
    shape = soup(rng, 25)
    face = np.repeat(np.arange(25), 120)
    points = (rng.dirichlet((1, 1, 1), 3000)[..., None] * shape.vertices[shape.faces].double().numpy()[face]).sum(
        axis=1
    )
    labels = np.where(rng.random(3000) < 0.8, face % 4, rng.integers(0, 4, 3000))
    points = points + 0.002 * rng.normal(size=points.shape)
    corners = shape.vertices[shape.faces].double().numpy()
    distance = np.stack(
        [
            np.linalg.norm(trimesh.triangles.closest_point(np.repeat(c[None], 3000, 0), points) - points, axis=1)
            for c in corners
        ]
    )
    nearest = distance.argmin(axis=0)
    expected = [np.bincount(labels[nearest == number], minlength=4).argmax() for number in range(25)]
    assert (np.bincount(nearest, minlength=25) > 5).all()  # no face without a vote
    assert carry_to_faces(shape, points, labels, 4, 0.02).tolist() == expected


def test_what_lies_before_the_middle_of_a_face_does_not_label_it():
    """A handle at the middle of a door of two triangles hides the points of the door that are nearest to their centres."""
    rectangles = ((0.0, 1.0, 0.0), (0.2, 0.8, 0.03))  # least and greatest x and y, and z
    corners = [[x, y, z] for a, b, z in rectangles for x, y in ((a, a), (b, a), (b, b), (a, b))]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    shape = Shape("door", torch.tensor(corners), faces)
    points, face = sample_surface(shape, 5000)
    hidden = (face < 2) & ((points[:, :2] > 0.2) & (points[:, :2] < 0.8)).all(axis=1)
    assert carry_to_faces(shape, points[~hidden], (face >= 2)[~hidden].astype(int), 2, 0.035).tolist() == [0, 0, 1, 1]


def test_a_face_without_points_takes_the_nearest_one_within_reach():
    """Faces of one plane at three distances from the only points, which lie on the first; diagonal of about 10."""
    rows = [0.0, 0.12, 10.0]
    vertices = torch.tensor([[x, y, 0.0] for y in rows for x in (0.0, 0.05, 0.0)])
    vertices[2::3, 1] += 0.05
    shape = Shape("strip", vertices, torch.arange(9).reshape(3, 3))
    points = np.array([[0.01, 0.01, 0.0], [0.01, 0.03, 0.0], [0.02, 0.01, 0.0]])
    assert carry_to_faces(shape, points, np.array([1, 0, 1]), 2, 0.02).tolist() == [1, 0, -1]


def test_twins_have_one_label():
    shape, part = pot_shape()
    doubled = Shape("twins", shape.vertices, torch.cat([shape.faces, shape.faces.flip(1)]))
    points, face = sample_surface(shape, 4000)
    assert carry_to_faces(doubled, points, part[face], 5).tolist() == [*part, *part]


# Bad input


class Command:
    def __reduce__(self):
        return os.mkdir, ("run_by_a_pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Command(), r"it asks for (posix|nt)\.mkdir, which is not allowed"),
        ({"semantic_seg": Command()}, r"it asks for (posix|nt)\.mkdir, which is not allowed"),
        ({"instance_seg": np.zeros(6000, dtype=int)}, "'semantic_seg' is missing or no array"),
        ({"semantic_seg": [0] * 6000}, "'semantic_seg' is missing or no array"),
        ({"semantic_seg": np.full(6000, 0.5)}, "holds no integers"),
        ({"semantic_seg": np.full(6000, np.nan)}, "holds no integers"),
        ({"semantic_seg": np.zeros(6000, dtype=bool)}, "holds no numbers"),
        ({"semantic_seg": np.array(["lid"] * 6000)}, "holds no numbers"),
        ({"semantic_seg": np.zeros((6000, 1), dtype=int)}, "not one number per point"),
        ({"semantic_seg": np.array([], dtype=int)}, "not one number per point"),
        ({"semantic_seg": np.zeros(10, dtype=int)}, "10 labels for 6000 points"),
        ({"semantic_seg": np.full(6000, 2)}, r"labels span 2\.\.2, but there are 2 part names"),
        ({"semantic_seg": np.full(6000, -2)}, r"labels span -2\.\.-2"),
        (np.zeros(6000, dtype=int), r"it holds int64 \[6000\] and no dictionary"),
        ("text", "no dictionary"),
        (None, "holds no dictionary"),
    ],
)
def test_bad_labels_are_named_and_never_run(root, monkeypatch, tmp_path, content, message):
    monkeypatch.chdir(tmp_path)
    save_labels(root / "few_shot/KitchenPot/9", content)
    with pytest.raises(InputError, match=message) as error:
        PartNetE(root, "KitchenPot").load("9")
    assert str(root / "few_shot/KitchenPot/9/label.npy") in str(error.value)
    assert not (tmp_path / "run_by_a_pickle").exists()


@pytest.mark.parametrize("dtype", ["<i8", "<i4", ">i4", "i2", "i1", "f8"])
def test_integers_of_every_type_are_labels(root, dtype):
    labels = PARTS[pot_shape()[1][sample_surface(pot_shape()[0], 6000)[1]]]
    save_labels(root / "few_shot/KitchenPot/9", {"semantic_seg": labels.astype(dtype)})
    assert PartNetE(root, "KitchenPot").load("9").face_labels.tolist() == np.repeat([1, 0, 0, 2, 2], 12).tolist()


def test_labels_that_an_older_numpy_wrote_are_read(root):
    path = root / "few_shot/KitchenPot/9/label.npy"
    content = np.load(path, allow_pickle=True)
    old = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in old
    path.write_bytes(path.read_bytes()[:128] + old)
    assert PartNetE(root, "KitchenPot").load("9").face_labels.tolist() == np.repeat([1, 0, 0, 2, 2], 12).tolist()


def test_damaged_labels_are_named(root):
    path = root / "few_shot/KitchenPot/9/label.npy"
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[:20], whole[:200], whole[: len(whole) // 2], whole[:128] + b"\x00" * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"label\.npy: cannot be read"):
            PartNetE(root, "KitchenPot").load("9")
    path.unlink()
    with pytest.raises(InputError, match=r"label\.npy: cannot be read \(No such file"):
        PartNetE(root, "KitchenPot").load("9")


@pytest.mark.parametrize(
    "moved",
    [
        lambda points: points[:, [0, 2, 1]],  # z up
        lambda points: points - points.mean(axis=0),
        lambda points: 1.2 * points,
        lambda points: points[points[:, 1] < 1.5],  # the lid is missing
        lambda points: np.concatenate([points[1:], [[2.0, 1.0, 2.0]]]),
    ],
)
def test_points_in_another_frame_are_refused(root, moved):
    shape, _ = pot_shape()
    points = moved(sample_surface(shape, 2000)[0])
    write_points(root / "few_shot/KitchenPot/9", points, np.zeros(len(points), dtype=int))
    with pytest.raises(InputError, match=r"pc\.ply: its points reach from .* they are not in one frame"):
        PartNetE(root, "KitchenPot").load("9")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("few_shot/KitchenPot/9/pc.ply", None, "cannot be read as points"),
        ("few_shot/KitchenPot/9/pc.ply", "ply\n", "cannot be read as points"),
        ("few_shot/KitchenPot/9/pc.ply", "no ply", "cannot be read as points"),
        ("meshes/9/result.json", None, "cannot be read"),
        ("meshes/9/result.json", "[]", "should be a list of one root node"),
        ("meshes/9/result.json", '[{"name": "pot", "children": 5}]', "'children' of pot should be a list"),
        ("meshes/9/result.json", '[{"name": "pot", "objs": ["gone"]}]', r"gone\.obj, which is missing"),
        ("meshes/9/result.json", '[{"name": "pot", "objs": ["../new-0"]}]', "no plain name"),
        ("meshes/9/meta.json", "{}", "has no 'model_cat'"),
        ("meshes/9/textured_objs/new-0.obj", "f 1 2 3", "not a valid OBJ file"),
        ("meshes/9/textured_objs/new-0.mtl", None, r"new-0\.mtl: material file cannot be read"),
        ("meshes/9/images/texture_1.png", None, r"texture_1\.png.* (missing|outside of its folder)"),
        ("meshes/9/images/texture_1.png", "no picture", r"texture_1\.png: texture image cannot be read"),
    ],
)
def test_bad_files_are_named(root, file, content, message):
    (root / file).unlink()
    if content is not None:
        (root / file).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        PartNetE(root, "KitchenPot").load("9")
    assert "/9/" in str(error.value)


def test_points_that_are_none_are_refused(root):
    for points, message in ((np.zeros((0, 3)), "has no points"), (np.full((2, 3), np.nan), "NaN or infinite")):
        write_points(root / "few_shot/KitchenPot/9", points, np.zeros(len(points), dtype=int))
        with pytest.raises(InputError, match=message):
            PartNetE(root, "KitchenPot").load("9")


def test_bad_arguments_and_folders_each_give_one_clear_message(root):
    cases = [
        (lambda: PartNetE(root / "none", "KitchenPot"), "none: no such folder; download PartNetE"),
        (lambda: PartNetE(root, "KitchenPot", "none"), "none: no such folder; download PartNet-Mobility"),
        (lambda: PartNetE(root, "Kettle"), "has no category 'Kettle'; choose one of Bottle, KitchenPot"),
        (lambda: PartNetE(root, "KitchenPot", texture_size=0), "texture_size"),
        (lambda: PartNetE(root, "KitchenPot").load("999"), "999: PartNet-Mobility model 999 is not there"),
        (lambda: PartNetE(root, "KitchenPot").load("../9"), "not a valid shape id"),
        (lambda: PartNetMobility(root / "none"), "none: no such folder; download PartNet-Mobility"),
        (lambda: PartNetMobility(root / "meshes", splits="own.json"), "own.json: cannot be read"),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)
    (root / "PartNetE_meta.json").write_text(json.dumps({"KitchenPot": ["lid", "other"]}))
    with pytest.raises(InputError, match=r"named 'other': set data\.other=false"):
        PartNetE(root, "KitchenPot")
    for content in ("[]", '{"KitchenPot": "lid"}'):
        (root / "PartNetE_meta.json").write_text(content)
        with pytest.raises(InputError, match=r"PartNetE_meta\.json"):
            PartNetE(root, "KitchenPot")


def test_a_model_is_in_one_list_only(root):
    (root / "test/KitchenPot/9").mkdir()
    with pytest.raises(InputError, match="9 is both in few_shot and in test"):
        PartNetE(root, "all")
    (root / "test/KitchenPot/9").rmdir()
    (root / "few_shot/Bottle/9").mkdir()
    with pytest.raises(InputError, match="9 is both in Bottle and in KitchenPot"):
        PartNetE(root, "all")
    shutil.rmtree(root / "few_shot")
    with pytest.raises(InputError, match="few_shot: no such folder; download PartNetE"):
        PartNetE(root, "KitchenPot")


def test_a_category_without_models_is_named(root):
    shutil.rmtree(root / "test" / "KitchenPot")
    with pytest.raises(InputError, match=r"test/KitchenPot: holds no models"):
        PartNetE(root, "KitchenPot").ids("test")
