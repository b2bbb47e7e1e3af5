"""Decoding of every kind of image that users have; refusal of damaged files and of masks that are none."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as npst
from PIL import Image, ImageOps

from wsss.data.images import read_mask, read_rgb, read_size, verify, write_mask
from wsss.errors import UserError
from wsss.ops.palette import voc_palette

VOC_MINI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "voc_mini"


@pytest.fixture
def photo():
    """A smooth image with a different corner each, 61 wide and 47 high."""
    y_HW, x_HW = np.mgrid[:47, :61]
    channels = [x_HW * 4, y_HW * 5, (x_HW + y_HW) * 2]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def saved(image, path, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["plain.jpg", "mit Leerzeichen.jpg", "图像 été.jpg", "UPPER.JPEG"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 97}])
def test_jpeg_equals_pil_bit_for_bit(photo, tmp_path, name, options):
    path = saved(photo, tmp_path / name, **options)
    assert np.array_equal(read_rgb(path), np.asarray(Image.open(path)))
    assert read_size(path) == (61, 47)


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="the photographs of ../shared/data/voc_mini are not there")
def test_real_photographs_equal_pil_bit_for_bit():
    for path in sorted((VOC_MINI / "JPEGImages").glob("*.jpg"))[::20]:
        image_HW3 = read_rgb(path)
        assert np.array_equal(image_HW3, np.asarray(Image.open(path)))
        assert read_size(path) == image_HW3.shape[1::-1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(photo, tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(photo, tmp_path / f"turned.{suffix}", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    image_HW3 = read_rgb(path)
    assert np.array_equal(image_HW3, expected)
    assert read_size(path) == image_HW3.shape[1::-1] == ((47, 61) if orientation >= 5 else (61, 47))


def test_grey_jpeg_has_three_equal_channels(photo, tmp_path):
    path = saved(photo.convert("L"), tmp_path / "grey.jpg")
    grey_HW = np.asarray(Image.open(path))
    assert np.array_equal(read_rgb(path), np.repeat(grey_HW[..., None], 3, axis=2))


def test_16_bit_grey_keeps_the_high_byte(tmp_path):
    value_HW = np.array([[0, 255, 256, 511], [4096, 32768, 65280, 65535]], np.uint16)
    path = saved(Image.fromarray(value_HW), tmp_path / "deep.png")
    assert read_rgb(path)[..., 1].tolist() == [[0, 0, 1, 1], [16, 128, 255, 255]]


def test_palette_image_shows_its_colours(tmp_path):
    write_mask(tmp_path / "p.png", np.array([[0, 1], [15, 255]], np.uint8))
    assert read_rgb(tmp_path / "p.png").tolist() == voc_palette()[[[0, 1], [15, 255]]].tolist()


def test_cmyk_jpeg_becomes_rgb(photo, tmp_path):
    path = saved(photo.convert("CMYK"), tmp_path / "print.jpg", quality=95)
    difference = np.abs(read_rgb(path).astype(int) - np.asarray(photo))
    assert difference.mean() < 6


def test_transparent_pixels_become_white(tmp_path):
    pixel_HW4 = np.array([[[200, 10, 10, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    path = saved(Image.fromarray(pixel_HW4), tmp_path / "cut out.png")
    assert read_rgb(path).tolist() == [[[200, 10, 10], [255, 255, 255], [204, 204, 204]]]
    grey_HW2 = np.array([[[7, 255], [7, 0]]], np.uint8)
    assert read_rgb(saved(Image.fromarray(grey_HW2), tmp_path / "la.png")).tolist() == [[[7] * 3, [255] * 3]]


def thumbnail_jpeg(photo):
    """A JPEG that holds a whole small JPEG in its metadata, as cameras write it."""
    small = io.BytesIO()
    photo.resize((20, 16)).save(small, "JPEG")
    full = io.BytesIO()
    photo.save(full, "JPEG")
    payload = b"Exif\0\0thumbnail" + small.getvalue()
    segment = b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload
    return full.getvalue()[:2] + segment + full.getvalue()[2:], 2 + len(segment)


def test_thumbnails_and_trailing_bytes_do_not_matter(photo, tmp_path):
    data, _ = thumbnail_jpeg(photo)
    plain = saved(photo, tmp_path / "plain.jpg")
    (tmp_path / "camera.jpg").write_bytes(data)
    (tmp_path / "trailer.jpg").write_bytes(data + b"\xff\xda movie \xff\xd8 data")
    for name in ("camera.jpg", "trailer.jpg"):
        assert np.array_equal(read_rgb(tmp_path / name), read_rgb(plain))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.95])
def test_truncated_files_are_named(photo, tmp_path, suffix, share):
    path = saved(photo, tmp_path / f"half way.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="half way"):
        verify(path)


def test_jpeg_truncated_anywhere_is_refused(photo, tmp_path):
    data, start = thumbnail_jpeg(photo)
    path = tmp_path / "cut.jpg"
    for length in (*range(1, len(data) - 2, 37), start, start - 2, len(data) - 2):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"cut\.jpg"):
            read_rgb(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("reader", [read_rgb, read_size, verify, read_mask])
def test_what_is_no_image_is_named(tmp_path, content, reader):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"photo\.jpg: " + ("is empty" if not content else "")) as caught:
        reader(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [read_rgb, read_size, verify, read_mask])
def test_missing_file_is_named(tmp_path, reader):
    with pytest.raises(UserError, match=r"nowhere\.jpg.*No such file"):
        reader(tmp_path / "nowhere.jpg")


@settings(max_examples=25, deadline=None)
@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_masks_survive_writing(tmp_path_factory, label_HW):
    path = tmp_path_factory.mktemp("mask") / "mäsk 1.png"
    write_mask(path, label_HW)
    assert np.array_equal(read_mask(path), label_HW)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert bytes(image.getpalette()) == voc_palette().tobytes()


def test_grey_and_two_colour_masks_are_read(tmp_path):
    label_HW = np.array([[0, 1, 255]], np.uint8)
    assert read_mask(saved(Image.fromarray(label_HW), tmp_path / "l.png")).tolist() == [[0, 1, 255]]
    small = Image.fromarray(np.array([[0, 1, 3]], np.uint8))
    small.putpalette(voc_palette().tobytes())
    assert read_mask(saved(small, tmp_path / "p2.png", bits=2)).tolist() == [[0, 1, 3]]
    two = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_mask(saved(two, tmp_path / "one.png")).tolist() == [[0, 1]]


def test_wrong_arrays_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_mask(tmp_path / "m.png", np.zeros((3, 3), np.int64))
    assert not list(tmp_path.iterdir())
