"""From the bytes of all kinds of image files to the right pixels, or to a plain refusal."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from image_files import encoded, picture
from PIL import Image

from convforge.data.decode import BadImageError, decode

# Two rows of three pixels: red, green, blue; black, grey, white.
SMALL = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[0, 0, 0], [128, 128, 128], [255, 255, 255]],
    ],
    np.uint8,
)


def test_rgb_pixels_arrive_as_they_are() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(SMALL)), channels=3), SMALL)


def test_grey_pixels_arrive_as_they_are() -> None:
    grey = SMALL[..., 0]
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(grey)), channels=1), grey[..., None]
    )


def test_grey_becomes_rgb_with_three_equal_channels() -> None:
    grey = SMALL[..., 1]
    decoded = decode(encoded(Image.fromarray(grey)), channels=3)
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=-1))


def test_rgb_becomes_grey_by_luminance() -> None:
    decoded = decode(encoded(Image.fromarray(SMALL)), channels=1)[..., 0]
    luminance = SMALL @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded, luminance, atol=1)


def test_a_palette_gives_its_colours_and_not_its_indices() -> None:
    image = Image.fromarray(SMALL).quantize(6)
    decoded = decode(encoded(image), channels=3)
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))
    assert decoded.max() == 255


def test_one_bit_pixels_become_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert decode(encoded(image), channels=1).ravel().tolist() == [255, 0]


def test_an_alpha_channel_is_dropped() -> None:
    with_alpha = np.dstack([SMALL, np.full((2, 3), 255, np.uint8)])
    decoded = decode(encoded(Image.fromarray(with_alpha)), channels=3)
    np.testing.assert_array_equal(decoded, SMALL)


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (2, 2), (0, 255, 255, 0))  # Full magenta and yellow are red.
    red, green, blue = decode(encoded(image, "JPEG", quality=100), channels=3)[0, 0].tolist()
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_grey_keeps_its_brightness(channels: int) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    decoded = decode(encoded(Image.fromarray(deep)), channels=channels)
    assert decoded.shape == (1, 5, channels)
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bit_rgb_keeps_its_brightness() -> None:
    """Pillow writes no such file, so here is one by hand."""
    pixels = np.array([[[65535, 32768, 0], [0, 256, 65535]]], ">u2")

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + pixels.tobytes())
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert decode(png, channels=3).tolist() == [[[255, 128, 0], [0, 1, 255]]]


def test_grey_above_one_bit_in_floating_point_is_not_wrapped_around() -> None:
    image = Image.fromarray(np.array([[0.0, 255.0, 300.0]], np.float32))
    assert decode(encoded(image, "TIFF"), channels=1).ravel().tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(orientation: int, undo: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(Image.fromarray(SMALL), exif=exif), channels=3)
    np.testing.assert_array_equal(decoded, undo(SMALL))  # type: ignore[operator]


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (2, 2), level) for level in (10, 200)]
    content = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert decode(content, channels=1)[0, 0, 0] == 10


def test_resizing_averages_where_it_reduces() -> None:
    checks = np.indices((16, 16)).sum(0) % 2 * 255
    decoded = decode(encoded(Image.fromarray(checks.astype(np.uint8))), channels=1, size=(4, 8))
    assert decoded.shape == (4, 8, 1)
    assert np.abs(decoded[1:-1, 1:-1].astype(int) - 127).max() <= 8


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_png_is_refused(share: float) -> None:
    content = picture(1, 40, 40)
    with pytest.raises(BadImageError):
        decode(content[: int(len(content) * share)], channels=3)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg_is_refused(share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(pixels), "JPEG")
    with pytest.raises(BadImageError):
        decode(content[: int(len(content) * share)], channels=3)


@pytest.mark.parametrize("position", [20, 45, 80, 200, 1000])
def test_a_flipped_bit_is_refused_or_harmless_and_never_another_error(position: int) -> None:
    content = bytearray(picture(1, 40, 40))
    content[position] ^= 0x40
    with contextlib.suppress(BadImageError):
        assert decode(bytes(content), channels=3).shape[2] == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"To whom it may concern\n" * 40, "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"\0" * 5000, "not an image"),
    ],
    ids=["empty", "text", "signature alone", "zeros"],
)
def test_what_is_no_image_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        decode(content, channels=1)


def test_a_decompression_bomb_is_refused_before_it_fills_the_memory() -> None:
    file = io.BytesIO()
    Image.new("1", (14_000, 14_000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    with pytest.raises(BadImageError, match="more pixels"):
        decode(file.getvalue(), channels=1)
