"""The files that a mesh is read from are those that it names, in any format."""

import json
import struct

import pytest

from mvdecor.shapes.named_files import files_of_mesh


def glb(content: dict) -> bytes:
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack("<I4s", len(text), b"JSON") + text


OBJ = b"\xef\xbb\xbfmtllib two words.mtl\nmtllib\tother.mtl\nv 0 0 0\n"
GLTF = {"images": [{"uri": "my%20wood.png"}, {"uri": "data:image/png;base64,AA=="}], "buffers": [{"uri": "box.bin"}]}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.glb", glb(GLTF), {"my wood.png", "box.bin"}),
        ("a.gltf", b"\xef\xbb\xbf" + json.dumps(GLTF).encode(), {"my wood.png", "box.bin"}),
        (
            "a.obj",
            b"\xef\xbb\xbfmtllib two words.mtl\nmtllib\tother.mtl\nv 0 0 0\n",
            {"two words.mtl", "wood.png", "other.mtl"},
        ),
        ("a.ply", b"ply\ncomment TextureFile wood.png\nend_header\ncomment TextureFile box.bin", {"wood.png"}),
        ("a.stl", b"solid", set()),
        ("a.glb", b"glTF", set()),
        ("a.gltf", b"{", set()),
    ],
)
def test_named_files_that_exist_are_found(tmp_path, name, content, expected):
    for other in ("my wood.png", "wood.png", "box.bin", "other.mtl", "nobody.png"):
        (tmp_path / other).write_bytes(b"")
    (tmp_path / "two words.mtl").write_text("newmtl a\nmap_Kd -s 1 1 1 wood.png\n")
    path = tmp_path / name
    path.write_bytes(content)
    found = files_of_mesh(path)
    assert found[0] == path and {file.name for file in found[1:]} == expected and len(found) == len(expected) + 1
