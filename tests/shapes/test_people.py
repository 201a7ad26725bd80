import json

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.shapes.people import RenderPeople

OBJ = """mtllib {name}.mtl
usemtl skin
v 0 0 0
v 2 0 0
v 2 2 0
v 0 2 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vt 0.5 0.5
f 1/1 2/2 3/3
f 1/5 3/3 4/4
"""


def write_person(root, name, labels=None, obj=None, folder=None):
    folder = root / (folder or name)
    (folder / "tex").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.obj").write_text(obj or OBJ.format(name=name))
    (folder / f"{name}.mtl").write_text(f"newmtl skin\nKd 1 1 1\nmap_Kd tex/{name}_dif.png\n")
    Image.new("RGB", (4, 2), (10, 20, 30)).save(folder / "tex" / f"{name}_dif.png")
    if labels is not None:
        np.save(folder / f"{name}_labels.npy", labels)
    return folder


@pytest.fixture
def people(tmp_path):
    write_person(tmp_path, "ann", np.array([1, 255], dtype=np.uint8))
    write_person(tmp_path, "bob", np.array([-1, 0]))
    write_person(tmp_path, "rp_cy_posed_001", folder="rp_cy_posed_001_OBJ")
    (tmp_path / "split.json").write_text(json.dumps({"labels": ["head", "foot"], "train": ["bob"], "test": ["ann"]}))
    return tmp_path


def test_a_labelled_person(people):
    shape = RenderPeople(people).load("ann")
    assert shape.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert torch.allclose(shape.vertices * 2**0.5, torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]))
    assert shape.face_labels.tolist() == [1, -1]
    assert shape.label_names == ("head", "foot")
    assert shape.texture.uv.tolist() == [[[0, 0], [1, 0], [1, 1]], [[0.5, 0.5], [1, 1], [0, 1]]]  # one vertex, two uv
    assert shape.texture.images[0].shape == (2, 4, 3)
    assert shape.texture.images[0][0, 0].tolist() == [10, 20, 30]
    assert shape.category == "person"
    assert RenderPeople(people).load("bob").face_labels.tolist() == [-1, 0]


def test_a_delivery_folder_of_another_name_without_labels(people):
    shape = RenderPeople(people).load("rp_cy_posed_001_OBJ")
    assert shape.face_labels is None
    assert shape.id == "rp_cy_posed_001_OBJ"
    assert shape.texture is not None


def test_the_obj_named_like_its_folder_is_preferred(people):
    write_person(people, "other", folder="ann", obj="v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert RenderPeople(people).load("ann").num_faces == 2
    write_person(people, "other", folder="rp_cy_posed_001_OBJ")
    with pytest.raises(InputError, match=r"several .obj files \(other.obj, rp_cy_posed_001.obj\)"):
        RenderPeople(people).load("rp_cy_posed_001_OBJ")


def test_splits(people):
    data = RenderPeople(people)
    assert (data.ids("train"), data.ids("test")) == (["bob"], ["ann"])
    assert data.ids("unlabelled") == ["bob", "rp_cy_posed_001_OBJ"]
    assert data.ids("all") == ["ann", "bob", "rp_cy_posed_001_OBJ"]
    (people / "split.json").unlink()
    bare = RenderPeople(people)
    assert bare.ids("unlabelled") == ["ann", "bob", "rp_cy_posed_001_OBJ"]
    with pytest.raises(InputError, match=r"split\.json: no such file, so there is no list 'train'; write this file"):
        bare.ids("train")
    with pytest.raises(InputError, match=r'split\.json: needs "labels"'):
        bare.load("ann")


def test_large_textures_can_be_reduced(people):
    assert RenderPeople(people, texture_size=2).load("ann").texture.images[0].shape == (1, 2, 3)
    with pytest.raises(InputError, match="texture_size"):
        RenderPeople(people, texture_size=0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1], dtype=np.uint8), "ann_labels.npy: 1 labels for a mesh of 2 faces"),
        (np.array([0, 2], dtype=np.uint8), "label 2 has no name"),
        (np.array([0.0, 1.0]), "must hold integers"),
        (np.array([[0, 1]]), "must hold integers"),
        (np.array(["head", "foot"], dtype=object), "not a readable .npy file"),
    ],
)
def test_bad_labels_are_named(people, labels, message):
    np.save(people / "ann/ann_labels.npy", labels, allow_pickle=True)
    with pytest.raises(InputError) as error:
        RenderPeople(people).load("ann")
    assert message in str(error.value)


def test_labels_of_a_mesh_of_polygons_count_either(people):
    quad = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
    for labels in ([0], [0, 0]):
        write_person(people, "ann", np.array(labels), obj=quad)
        assert RenderPeople(people).load("ann").face_labels.tolist() == [0, 0]
    write_person(people, "ann", np.array([0, 0, 0]), obj=quad)
    with pytest.raises(InputError, match="3 labels for a mesh of 1 faces, which are read as 2 triangles"):
        RenderPeople(people).load("ann")


def test_missing_and_empty_things_are_named(people):
    data = RenderPeople(people)
    (people / "ann/tex/ann_dif.png").unlink()
    with pytest.raises(InputError, match=r"ann_dif\.png: texture image is missing"):
        data.load("ann")
    (people / "bob/bob.obj").write_text("")
    with pytest.raises(InputError, match=r"bob\.obj: has no faces"):
        data.load("bob")
    (people / "bob/bob.obj").unlink()
    with pytest.raises(InputError, match=r"bob: holds no .obj file"):
        data.load("bob")
    with pytest.raises(InputError, match="dan: no such folder"):
        data.load("dan")
    with pytest.raises(InputError, match="not a valid shape id"):
        data.load("../people")
    with pytest.raises(InputError, match=r"none: no such folder; set data\.root"):
        RenderPeople(people / "none")
    with pytest.raises(InputError, match=r"other\.json: cannot be read"):
        RenderPeople(people, splits="other.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "should be an object"),
        ('{"train": "ann"}', "must be a list"),
        ('{"train": ["ann", "ann"]}', "names ann twice"),
        ('{"train": ["ann"], "test": ["ann"]}', "ann is both in train and in test"),
    ],
)
def test_bad_split_files_are_named(people, content, message):
    (people / "split.json").write_text(content)
    with pytest.raises(InputError, match=r"split\.json") as error:
        RenderPeople(people)
    assert message in str(error.value)


# Real data


@pytest.mark.parametrize("id", ["person_000", "person_030"])
def test_real_people_against_a_plain_reading(people_root, id):
    shape = RenderPeople(people_root).load(id)
    lines = (people_root / id / f"{id}.obj").read_text().splitlines()
    corners = [line.split()[1:] for line in lines if line.startswith("f ")]
    uvs = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], dtype=float)
    assert shape.num_faces == len(corners)
    assert shape.faces.tolist() == [[int(c.split("/")[0]) - 1 for c in face] for face in corners]
    expected = np.array([[uvs[int(c.split("/")[1]) - 1] for c in face] for face in corners[::50]])
    assert np.allclose(shape.texture.uv[::50], expected)
    labels = np.load(people_root / id / f"{id}_labels.npy")
    assert np.array_equal(shape.face_labels.numpy(), labels)
    assert shape.label_names == tuple(json.loads((people_root / "split.json").read_text())["labels"])
    with Image.open(people_root / id / "tex" / f"{id}_dif.jpg") as image:
        assert np.array_equal(shape.texture.images[0], np.asarray(image.convert("RGB")))


def test_real_splits(people_root):
    data = RenderPeople(people_root)
    assert (len(data.ids("train")), len(data.ids("test"))) == (24, 16)
    assert data.ids("unlabelled") == sorted(data.ids("train"))
