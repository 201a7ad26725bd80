"""Pictures of every kind that Pillow reads in 8 bits; those of others are refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from mvdecor.captures import SRN
from mvdecor.captures.image_files import image_header, read_image, read_label_map, reduce_labels
from mvdecor.errors import InputError
from tests.capture_files import written

GREY = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("P", "png"), ("P", "bmp"), ("CMYK", "tif"), ("1", "png")])
def test_pictures_of_other_modes_become_colours(tmp_path, mode, suffix):
    original = Image.fromarray(GREY).convert(mode)
    original.save(tmp_path / f"a.{suffix}")
    image, alpha = read_image(tmp_path / f"a.{suffix}")
    assert alpha is None and image_header(tmp_path / f"a.{suffix}") == (6, 9, False)
    np.testing.assert_array_equal(image, np.asarray(original.convert("RGB")))


def test_transparent_palette_is_alpha(tmp_path):
    picture = Image.fromarray(GREY % 3)
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "a.png", transparency=1)
    image, alpha = read_image(tmp_path / "a.png")
    assert image_header(tmp_path / "a.png") == (6, 9, True)
    np.testing.assert_array_equal(alpha, np.where(GREY % 3 == 1, 0, 255))
    assert (image[GREY % 3 == 1] == 255).all() and (image[GREY % 3 == 2] == [0, 0, 200]).all()


@pytest.mark.parametrize("values", [GREY.astype(np.uint16) * 200, GREY.astype(np.float32)], ids=["16 bit", "float"])
def test_more_than_8_bits_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: has pixels of mode .*; save it with 8 bits per channel"):
        read_image(tmp_path / "a.tif")


def test_label_maps_of_pictures(tmp_path):
    Image.fromarray(np.array([[0, 1], [255, 2]], np.uint8)).save(tmp_path / "a.png")
    assert read_label_map(tmp_path / "a.png", "abc").tolist() == [[0, 1], [-1, 2]]
    with pytest.raises(InputError, match=r"a\.png: holds the labels \[2\], but only 0 to 1 have names \(a, b\)"):
        read_label_map(tmp_path / "a.png", "ab")
    Image.fromarray(GREY).convert("RGB").save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: a label map must be a grey or palette image, this is RGB"):
        read_label_map(tmp_path / "b.png", "ab")


def test_most_frequent_labels_by_counting(tmp_path):
    labels = np.random.default_rng(1).integers(-1, 4, (8, 12)).astype(np.int16)
    for i, row in enumerate(reduce_labels(labels, 4)):
        for j, label in enumerate(row):
            block = labels[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].reshape(-1).tolist()
            assert label == min(set(block), key=lambda value: (-block.count(value), value))


def test_capture_goes_to_another_process_without_its_pixels(tmp_path):
    written("srn", tmp_path / "scene")
    capture = SRN(tmp_path).load("scene")
    empty = len(pickle.dumps(capture))
    images = capture.images()
    sent = pickle.dumps(capture)
    assert len(sent) == empty
    np.testing.assert_array_equal(pickle.loads(sent).images(), images)
    assert len(SRN(tmp_path).files("scene")) == 9
