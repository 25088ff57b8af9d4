"""From the bytes of all kinds of image files to the right pixels, or to a plain refusal."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from image_files import encoded, picture
from PIL import Image

from convforge.errors import BadItemError
from convforge.serving.decode import Decoding, ImageFiles, RawPixels
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import decode_image

FILES = ImageFiles()


def decode(content: bytes, **wanted: Any) -> np.ndarray:
    return FILES.decode(content, Decoding(**wanted))


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


@pytest.mark.parametrize(("channels", "levels"), [(1, [119]), (3, [119, 119, 119])])
def test_lab_becomes_grey_or_rgb(channels: int, levels: list[int]) -> None:
    """L*=50 is a grey of 119 in sRGB."""
    content = encoded(Image.new("LAB", (2, 2), (128, 128, 128)), "TIFF")
    np.testing.assert_allclose(decode(content, channels=channels)[0, 0], levels, atol=3)


def test_one_bit_pixels_become_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert decode(encoded(image), channels=1).ravel().tolist() == [255, 0]


@pytest.mark.parametrize("background", [0, 100, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_parts_show_the_background(background: int, channels: int) -> None:
    """Pillow alone would show what lies hidden below them, mostly black."""
    alpha = np.array([[255, 0, 255], [0, 255, 128]], np.uint8)
    decoded = decode(
        encoded(Image.fromarray(np.dstack([SMALL, alpha]))),
        channels=channels,
        background=background,
    )
    plain = decode(encoded(Image.fromarray(SMALL)), channels=channels)
    np.testing.assert_array_equal(decoded[alpha == 255], plain[alpha == 255])
    np.testing.assert_array_equal(decoded[alpha == 0], background)
    np.testing.assert_allclose(decoded[1, 2], (255 * 128 + background * 127) / 255, atol=1.5)


def _with_transparency(mode: str) -> bytes:
    """The left pixel opaque and white, the right one transparent, in one of PNG's ways."""
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.putpixel((1, 0), 1)
        return encoded(image, transparency=1)
    white = 255 if mode == "L" else (255, 255, 255)
    if mode == "LA":
        image.putpixel((0, 0), (255, 255))
        return encoded(image)
    image.putpixel((0, 0), white)
    return encoded(image, transparency=0 if mode == "L" else (0, 0, 0))


@pytest.mark.parametrize("mode", ["P", "LA", "L", "RGB"])
def test_every_way_of_transparency_is_seen(mode: str) -> None:
    decoded = decode(_with_transparency(mode), channels=3, background=90)
    assert decoded[0, :, 0].tolist() == [255, 90]


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


def test_fractions_in_floating_point_reach_from_black_to_white() -> None:
    image = Image.fromarray(np.array([[0.0, 0.25, 0.5, 1.0]], np.float32))
    assert decode(encoded(image, "TIFF"), channels=1).ravel().tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize("levels", [[0.0, 255.0], [-0.5, 0.5], [0.0, 1.001]])
def test_floating_point_levels_that_are_no_fractions_are_refused(levels: list[float]) -> None:
    """Whether 255 or 65535 is white cannot be known, and must not be guessed for each image."""
    content = encoded(Image.fromarray(np.array([levels], np.float32)), "TIFF")
    expected = rf"floating-point pixels from {levels[0]:g} to {levels[1]:g}: scale them to 0 to 1"
    with pytest.raises(BadItemError, match=expected):
        decode(content, channels=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_taken_as_using_their_whole_range(kind: str) -> None:
    deep = np.array([[0, 4095, 32768, 65535]], np.uint16)
    content = encoded(Image.fromarray(deep), kind)
    assert decode(content, channels=1).ravel().tolist() == [0, 15, 128, 255]


@pytest.mark.parametrize(("white", "bits"), [(1023, 10), (4095, 12), (16383, 14)])
def test_a_tiff_that_says_how_many_of_its_bits_it_uses_is_as_light_as_it_was(
    white: int, bits: int
) -> None:
    deep = np.array([[0, 1 << (bits - 1), white]], np.uint16)
    content = encoded(Image.fromarray(deep), "TIFF", tiffinfo={281: white})
    assert decode(content, channels=1).ravel().tolist() == [0, 128, 255]


def test_a_highest_level_that_is_this_images_own_does_not_make_it_lighter() -> None:
    deep = np.array([[0, 5000, 20000]], np.uint16)
    content = encoded(Image.fromarray(deep), "TIFF", tiffinfo={281: 20000})
    assert decode(content, channels=1).ravel().tolist() == [0, 19, 78]


def test_a_level_above_the_highest_that_a_tiff_names_is_refused() -> None:
    deep = np.array([[0, 4096]], np.uint16)
    content = encoded(Image.fromarray(deep), "TIFF", tiffinfo={281: 4095})
    with pytest.raises(BadItemError, match="pixels from 0 to 4096: scale them to 0 to 4095"):
        decode(content, channels=1)


def test_twelve_bits_packed_in_a_tiff_reach_from_black_to_white() -> None:
    """Pillow writes no such file, so here is one by hand: the levels 0, 2048, 4095, 1024."""
    rows = bytes.fromhex("000800fff400")
    entries = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 0), (277, 1), (278, 1)]
    entries.append((279, len(rows)))
    start = 8 + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, value in entries:
        directory += struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value)
    content = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + rows
    assert decode(content, channels=1).ravel().tolist() == [0, 128, 255, 64]


@pytest.mark.parametrize("levels", [[-1, 7], [0, 65536]])
def test_whole_numbers_beyond_sixteen_bits_are_refused(levels: list[int]) -> None:
    content = encoded(Image.fromarray(np.array([levels], np.int32)), "TIFF")
    with pytest.raises(BadItemError, match=f"pixels from {levels[0]} to {levels[1]}: scale them"):
        decode(content, channels=1)


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
def test_exif_orientation_is_applied(orientation: int, undo: Callable[..., np.ndarray]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(SMALL), exif=exif)
    np.testing.assert_array_equal(decode(content, channels=3), undo(SMALL))
    assert FILES.probe(content, Decoding(3))[1:] == undo(SMALL).shape[:2]


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("L", (2, 2), level) for level in (10, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(content, channels=1)[0, 0, 0] == 10


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_formats_are_told_by_content(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.new("RGB", (40, 20), (200, 0, 0)), kind, **options)
    seen = FILES.probe(content, Decoding(3))
    assert (seen.format, seen.height, seen.width) == (kind, 20, 40)
    np.testing.assert_allclose(decode(content, channels=3)[10, 20], [200, 0, 0], atol=3)


def test_a_format_that_runs_other_programs_is_no_image() -> None:
    """Pillow hands PostScript to Ghostscript."""
    with pytest.raises(BadItemError, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", channels=3)


def test_resizing_averages_where_it_reduces() -> None:
    checks = np.indices((16, 16)).sum(0) % 2 * 255
    decoded = decode(encoded(Image.fromarray(checks.astype(np.uint8))), channels=1, size=(4, 8))
    assert decoded.shape == (4, 8, 1)
    assert np.abs(decoded[1:-1, 1:-1].astype(int) - 127).max() <= 8


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_png_is_refused(share: float) -> None:
    content = picture(1, 40, 40)
    with pytest.raises(BadItemError):
        decode(content[: int(len(content) * share)], channels=3)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg_is_refused(share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(pixels), "JPEG")
    with pytest.raises(BadItemError):
        decode(content[: int(len(content) * share)], channels=3)


@pytest.mark.parametrize("position", [20, 45, 80, 200, 1000])
def test_a_flipped_bit_is_refused_or_harmless_and_never_another_error(position: int) -> None:
    content = bytearray(picture(1, 40, 40))
    content[position] ^= 0x40
    with contextlib.suppress(BadItemError):
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
    with pytest.raises(BadItemError, match=reason):
        decode(content, channels=1)


def test_a_decompression_bomb_is_refused_before_it_fills_the_memory() -> None:
    file = io.BytesIO()
    Image.new("1", (14_000, 14_000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    for bound in (100_000_000, 178_000_000):
        with pytest.raises(BadItemError, match="more pixels"):
            decode(file.getvalue(), channels=1, max_pixels=bound)


def test_the_bound_of_pixels_is_the_configs() -> None:
    content = picture(1, 10, 10)
    assert decode(content, channels=3, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(BadItemError, match=r"10×10 are more pixels than data\.max_pixels=99"):
        FILES.probe(content, Decoding(3, max_pixels=99))


def test_pixels_that_are_no_numbers_are_refused() -> None:
    image = Image.fromarray(np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(BadItemError, match="not finite"):
        decode(encoded(image, "TIFF"), channels=1)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (256, 256), (90, 700)])
def test_a_centre_crop_is_alexnets(height: int, width: int) -> None:
    """The shorter side to 256, then the centre 256×256; here done in these two steps."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    decoded = decode(encoded(image), channels=3, size=(256, 256), geometry="center_crop")
    scale = 256 / min(height, width)
    wide, high = round(width * scale), round(height * scale)
    scaled = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (wide - 256) // 2, (high - 256) // 2
    expected = np.asarray(scaled.crop((left, top, left + 256, top + 256)), int)
    # The centre is exact here and to half a pixel there.
    assert np.abs(decoded - expected).mean() < 1.5


def test_a_centre_crop_of_another_shape_keeps_the_proportions() -> None:
    """Of 20×40, the centre 20×10 has the shape of 8×4; averages reach a little further."""
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 13:27] = 255
    decoded = decode(
        encoded(Image.fromarray(pixels)), channels=1, size=(8, 4), geometry="center_crop"
    )
    assert decoded.shape == (8, 4, 1)
    assert decoded.min() == 255


@pytest.mark.parametrize("geometry", ["resize", "center_crop"])
def test_a_model_sees_a_file_as_it_saw_those_that_it_learned_from(
    tmp_path: Path, geometry: Literal["resize", "center_crop"]
) -> None:
    clear = Image.open(io.BytesIO(picture(3, 30, 50))).convert("RGBA")
    clear.putalpha(90)
    (tmp_path / "photo.png").write_bytes(encoded(clear))
    card = ModelCard(
        name="net",
        classes=["a", "b"],
        image_shape=[8, 8, 3],
        geometry=geometry,
        background=7,
        data_digest="",
        version="",
    )
    expected = decode(encoded(clear), channels=3, size=(8, 8), geometry=geometry, background=7)
    np.testing.assert_array_equal(
        decode_image((tmp_path / "photo.png").read_bytes(), card), expected
    )


def test_as_it_is_nothing_is_resized() -> None:
    decoded = decode(picture(1, 5, 9), channels=3, size=(8, 8), geometry="as_is")
    assert decoded.shape == (5, 9, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_decoded_at_a_fraction_of_its_size_differs_little(
    orientation: int, channels: int
) -> None:
    """A photograph of 2048×1536 reduced to 256×256, once as JPEG decoders reduce, once whole."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8))
    fine = np.asarray(coarse.resize((2048, 1536), Image.Resampling.BICUBIC), int)
    noisy = Image.fromarray((fine + generator.normal(0, 12, fine.shape)).clip(0, 255).astype("u1"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(noisy, "JPEG", quality=90, exif=exif)
    wanted = {"channels": channels, "size": (256, 256), "geometry": "center_crop"}
    whole = decode(encoded(Image.open(io.BytesIO(content)), exif=exif), **wanted).astype(int)
    difference = np.abs(decode(content, **wanted) - whole)
    assert difference.mean() < 2
    assert difference.max() <= 16


def test_raw_pixels_arrive_as_they_are_planar_or_not() -> None:
    codec = RawPixels(2, 3, 3)
    np.testing.assert_array_equal(codec.decode(SMALL.tobytes(), Decoding(3)), SMALL)
    planar = SMALL.transpose(2, 0, 1).tobytes()
    decoded = RawPixels(2, 3, 3, planar=True).decode(planar, Decoding(3))
    np.testing.assert_array_equal(decoded, SMALL)


@pytest.mark.parametrize(
    "wanted", [Decoding(1), Decoding(3, (4, 6)), Decoding(3, (2, 2), "center_crop")]
)
def test_raw_pixels_are_coloured_and_resized_as_those_of_files(wanted: Decoding) -> None:
    np.testing.assert_array_equal(
        RawPixels(2, 3, 3).decode(SMALL.tobytes(), wanted),
        FILES.decode(encoded(Image.fromarray(SMALL)), wanted),
    )


def test_raw_pixels_with_alpha_show_the_background() -> None:
    clear = np.dstack([SMALL, np.zeros((2, 3), np.uint8)])
    decoded = RawPixels(2, 3, 4).decode(clear.tobytes(), Decoding(3, background=7))
    np.testing.assert_array_equal(decoded, 7)
