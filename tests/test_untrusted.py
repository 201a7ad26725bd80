"""Files from elsewhere through the readers of a whole run: no code in them is run, and no number in them is believed."""

import io
import json
import pickle
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from octants import save_octants

from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError
from mvdecor.networks import load_checkpoint
from mvdecor.shapes import MeshFolder, PartNet
from mvdecor.shapes.shape import Shape
from mvdecor.views import CachedViews, sphere_cameras

HUGE = 10**12


class Evil:
    """Writes a file if it is unpickled."""

    def __init__(self, written: Path) -> None:
        self.written = written

    def __reduce__(self):
        return (open, (str(self.written), "w"))


def read_labels(root: Path, payload: Evil) -> None:
    write_folder(root)
    np.save(root / "mesh_labels.npy", np.array([payload] * 20, dtype=object), allow_pickle=True)
    MeshFolder(root).load("mesh")


def read_weights(root: Path, payload: Evil) -> None:
    model = save_octants(root / "model")
    torch.save({"state": payload}, model / "model.safetensors")
    load_checkpoint(model)


def read_views(root: Path, payload: Evil) -> None:
    mesh = trimesh.creation.icosphere(1)
    shape = Shape("ball", torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces).long())
    file = CachedViews(root, "embree", shape, sphere_cameras(2, 8))
    file.path.write_bytes(pickle.dumps(payload))
    file.read()


def write_folder(root: Path) -> None:
    trimesh.creation.icosphere(0).export(root / "mesh.ply")
    (root / "labels.json").write_text(json.dumps({"labels": ["a", "b"]}))


@pytest.mark.parametrize("read", [read_labels, read_weights, read_views])
def test_pickles_are_not_opened(read, tmp_path):
    payload = Evil(tmp_path / "written")
    pickle.loads(pickle.dumps(payload)).close()
    payload.written.unlink()  # the payload works
    with pytest.raises(InputError) as info:
        read(tmp_path, payload)
    assert "\n" not in str(info.value) and str(tmp_path) in str(info.value)
    assert not payload.written.exists()


def test_a_pickled_state_is_passed_over(tmp_path):
    payload = Evil(tmp_path / "written")
    torch.save({"step": 2, "state": payload}, tmp_path / "step_000000002.pt")
    assert Snapshots(tmp_path).step == 0 and not payload.written.exists()


def claimed_labels() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (HUGE,)})
    return stream.getvalue() + bytes(160)


def claimed_ply(kind: str) -> bytes:
    lines = f"ply\nformat {kind} 1.0\nelement vertex {HUGE}\nproperty float x\nproperty float y\nproperty float z\n"
    return f"{lines}element face 1\nproperty list uchar int vertex_indices\nend_header\n".encode() + b"0 0 0\n" * 9


def claimed_glb() -> bytes:
    """A box whose accessors say that they hold more than the file does."""
    data = trimesh.creation.box().export(file_type="glb")
    (length,) = struct.unpack("<I", data[12:16])
    tree, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    for accessor in tree["accessors"]:
        accessor["count"] = HUGE
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([data[:8], struct.pack("<II", 20 + len(text) + len(rest), len(text)), data[16:20], text, rest])


def claimed_png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


TEXTURED = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl skin\nf 1/1 2/2 3/3\n"


@pytest.mark.parametrize(
    "files",
    [
        {"mesh_labels.npy": claimed_labels()},
        {"mesh.ply": claimed_ply("binary_little_endian")},
        {"mesh.ply": claimed_ply("ascii")},
        {"mesh.stl": bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(50)},
        {"mesh.off": f"OFF\n{HUGE} {HUGE} 0\n0 0 0\n".encode()},
        {"mesh.obj": f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 {HUGE}\n".encode()},
        {"mesh.glb": claimed_glb()},
        {"mesh.obj": TEXTURED.encode(), "m.mtl": b"newmtl skin\nmap_Kd skin.png\n", "skin.png": claimed_png()},
    ],
    ids=["labels", "ply", "ascii ply", "stl", "off", "obj", "glb", "png"],
)
def test_sizes_that_a_file_only_claims_are_refused(files, tmp_path):
    """What is claimed would be terabytes; there are some hundred bytes."""
    write_folder(tmp_path)
    if "mesh_labels.npy" not in files:
        (tmp_path / "mesh.ply").unlink()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as info:
        MeshFolder(tmp_path).load("mesh")
    assert "\n" not in str(info.value) and str(tmp_path) in str(info.value)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "objs/../../../secret", ".."])
def test_part_files_of_partnet_stay_in_their_shape(name, made_up_partnet, tmp_path):
    """A tree that names a file elsewhere is refused, even if that is a mesh."""
    root = Path(shutil.copytree(made_up_partnet, tmp_path / "partnet"))
    shape = sorted((root / "data_v0").iterdir())[0]
    for place in (root / "secret.obj", root / "data_v0" / "secret.obj", shape / "secret.obj"):
        place.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    tree = json.loads((shape / "result_after_merging.json").read_text())
    leaf = tree[0]
    while leaf.get("children"):
        leaf = leaf["children"][0]
    leaf["objs"] = [name]
    (shape / "result_after_merging.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=shape.name):
        PartNet(root, "Chair", "leaf").load(shape.name)


@pytest.mark.parametrize("id", ["../mesh", "/etc/passwd", "..", "a/b"])
def test_ids_of_splits_stay_in_the_folder(id, tmp_path):
    (tmp_path / "meshes").mkdir()
    write_folder(tmp_path / "meshes")
    write_folder(tmp_path)
    (tmp_path / "meshes" / "split.json").write_text(json.dumps({"train": [id], "test": []}))
    with pytest.raises(InputError):
        data = MeshFolder(tmp_path / "meshes")
        data.load(data.ids("train")[0])
