"""Damaged files of every format are read or refused with one message, without a warning."""

import random
import warnings
from pathlib import Path

import numpy as np
import pytest

from mvdecor.captures import COLMAP, LLFF, NSVF, SRN, Transforms
from mvdecor.errors import InputError
from tests.capture_files import written

READERS = {"srn": SRN, "nsvf": NSVF, "transforms": Transforms, "llff": LLFF, "colmap": COLMAP}
INSERTED = [b"nan", b"-", b"1e999", b"0 ", b"null", b"\n", b'"', b"[]", b"9" * 25, b"\0"]


def damaged(content: bytes, random: random.Random) -> bytes:
    """Cut short, changed in some bytes, with something inserted, or with something left out."""
    result, at = bytearray(content), random.randrange(len(content))
    how = random.randrange(4)
    if how == 0:
        return content[:at]
    if how == 1:
        for _ in range(random.randrange(1, 4)):
            result[random.randrange(len(result))] = random.randrange(256)
    elif how == 2:
        result[at:at] = random.choice(INSERTED)
    else:
        del result[at : at + random.randrange(1, 40)]
    return bytes(result)


def read_all(format: str, folder: Path) -> None:
    capture = READERS[format](folder).load("scene")
    capture.images()
    capture.alpha()
    if capture.labelled:
        capture.labels()
    capture.rays()


@pytest.mark.parametrize("format", READERS)
def test_damaged_files_are_read_or_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    if format == "srn":
        (tmp_path / "scene" / "seg").mkdir()
        np.save(tmp_path / "scene" / "seg" / "000000.npy", np.zeros((24, 32), np.int64))
        (tmp_path / "Chair-level-1.txt").write_text("1 a b\n2 c d\n")
    if format == "nsvf":
        (tmp_path / "scene" / "bbox.txt").write_text("-1 -1 -1 1 1 1 0.4")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    generator, refused = random.Random(7), 0
    for _ in range(120):
        path = generator.choice(files)
        sound = path.read_bytes()
        path.write_bytes(damaged(sound, generator))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read_all(format, tmp_path)
        except InputError as error:
            refused += 1
            assert str(tmp_path) in str(error)
        path.write_bytes(sound)
    read_all(format, tmp_path)
    assert refused > 30
