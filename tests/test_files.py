"""A file is written whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from mvdecor.errors import InputError
from mvdecor.files import named_file, text_of, write_atomically, write_json
from mvdecor.shapes.annotations import SplitFile


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.bin: No space left"):
        write_atomically(path, b"new content")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["a.bin"]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        write_atomically(tmp_path / "a.bin", b"half")
    assert not (tmp_path / "a.bin").exists()
    write_atomically(tmp_path / "a.bin", b"whole")
    assert os.listdir(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("tex/b.png", "tex/b.png"),
        ("tex\\b.png", "tex/b.png"),
        ("b.png", "tex/b.png"),
        ("C:\\work\\a.png", "a.png"),
        ("/home/someone/b.png", "tex/b.png"),
        ("tex/../a.png", "a.png"),
        ("missing.png", "missing.png"),
    ],
)
def test_names_in_files_are_found_in_their_folder(tmp_path: Path, name: str, found: str) -> None:
    source = tmp_path / "inside" / "mesh.mtl"
    for file in ("inside/a.png", "inside/tex/b.png", "secret.png"):
        write_atomically(tmp_path / file, b"x")
    assert named_file(name, source, (".", "tex")) == source.parent / found


def test_capital_letters_and_composed_accents_of_names(tmp_path):
    """The only file that Windows or macOS would take for the name; the exact name goes first."""
    source = tmp_path / "mesh.mtl"
    for name in ("Wood.PNG", "ho\u0308lz.png", "a.png", "A.PNG", "Two.png", "TWO.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    for name, expected in (
        ("wood.png", "Wood.PNG"),
        ("C:\\work\\WOOD.png", "Wood.PNG"),
        ("h\u00f6lz.png", "ho\u0308lz.png"),
        ("a.png", "a.png"),
        ("A.PNG", "A.PNG"),
        ("two.png", "two.png"),  # two of them: none
        ("Folder.png", "Folder.png"),
        ("gone.png", "gone.png"),
    ):
        assert named_file(name, source) == tmp_path / expected


@pytest.mark.parametrize("name", ["../secret.png", "tex/../../secret.png", "/etc/passwd", "..", "..\\secret.png"])
def test_names_that_lead_out_are_not_followed(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / "secret.png", b"x")
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match=r"mesh\.mtl: names the file .*outside of its folder"):
        named_file(name, tmp_path / "inside" / "mesh.mtl", (".", "tex"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../images/a.png", "shape/images/a.png"),
        ("..\\images\\a.PNG", "shape/images/a.PNG"),
        ("../../textures/wood/a.jpg", "textures/wood/a.jpg"),
        ("sub/../../images/a.png", "shape/images/a.png"),
        ("../materials/a.mtl", "shape/materials/a.mtl"),
    ],
)
def test_images_and_materials_beside_the_folder_are_found(tmp_path: Path, name: str, found: str) -> None:
    source = tmp_path / "shape" / "models" / "mesh.mtl"
    for file in (found, "shape/models/mesh.mtl"):
        write_atomically(tmp_path / file, b"x")
    assert named_file(name, source).samefile(tmp_path / found)
    linked = tmp_path / "elsewhere"
    linked.symlink_to(tmp_path / "shape", target_is_directory=True)
    if not name.startswith("../../"):  # a data set may be a link itself
        assert named_file(name, linked / "models" / "mesh.mtl").samefile(tmp_path / found)


@pytest.mark.parametrize(
    "name",
    [
        "../../../other/a.png",  # three levels
        "../secret.txt",  # no image
        "../private/secret.txt",
        "../private/secret",
        "../private/../../../other/a.png",
        "../link/a.png",  # a folder that is a link to elsewhere
        "../images/link.png",  # a file that is one
        "../images/loop.png",
        "../private/\0.png",
    ],
)
def test_nothing_else_beside_the_folder_is_read(tmp_path: Path, name: str) -> None:
    source = tmp_path / "data" / "shape" / "models" / "mesh.mtl"
    for file in ("other/a.png", "data/shape/private/secret.txt", "data/shape/private/secret", "data/shape/secret.txt"):
        write_atomically(tmp_path / file, b"x")
    write_atomically(source, b"x")
    images = tmp_path / "data" / "shape" / "images"
    images.mkdir()
    (images / "link.png").symlink_to(tmp_path / "data" / "shape" / "private" / "../../../other/a.png")
    (images / "loop.png").symlink_to(images / "loop.png")
    (tmp_path / "data" / "shape" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match=r"mesh\.mtl: names the file .*outside of its folder"):
        named_file(name, source)


def test_no_name_leads_up_to_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda path: str(path).endswith("home/picture.png"))
    with pytest.raises(InputError, match="outside of its folder"):
        named_file("../home/picture.png", Path("/tmp/mesh.obj"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_of_any_program(encoding: str, ends: str) -> None:
    assert text_of(f"Größe{ends}a b{ends}".encode(encoding)) == "Größe\na b\n"


def test_text_in_latin_1_keeps_its_ascii() -> None:
    assert text_of("Größe\nv 1".encode("latin-1")).endswith("e\nv 1")


def test_json_of_any_program_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "split.json").write_bytes('{"labels": ["Füße"], "train": ["a"]}'.encode(encoding))
        split = SplitFile(tmp_path / "split.json")
        assert split.label_names == ("Füße",) and split.ids("train") == ["a"]


def test_json_is_valid_whatever_the_numbers_are(tmp_path: Path) -> None:
    content = {"a": [1.5, float("nan"), {"b": float("-inf")}], "c": (float("inf"), 2), "d": None}
    write_json(tmp_path / "a.json", content)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"a": [1.5, "nan", {"b": "-inf"}], "c": ["inf", 2], "d": None}


def test_endless_messages_lose_their_middle() -> None:
    message = str(InputError(f"a.obj: the material {'x' * 50_000} is in none of its files; add it there"))
    assert (
        len(message) <= 1003
        and message.startswith("a.obj: the material xx")
        and message.endswith("xx is in none of its files; add it there")
    )
    assert str(InputError("short")) == "short"
