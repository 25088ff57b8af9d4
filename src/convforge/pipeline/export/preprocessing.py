"""What happens to an image before the network sees it, as TensorFlow operations of a graph.

It is `convforge.serving.decode` again, to the last bit: a graph that was exported knows no Pillow.
Whole numbers are computed in double precision, which holds them exactly, since other formats shift
and divide whole numbers each in their own way.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from convforge.augment.window import centre_window
from convforge.serving.decode import REDUCED_AT_LEAST
from convforge.serving.model_card import ModelCard

# Pillow's weights are whole numbers of this many bits, and its sums are rounded after each pass.
_WEIGHT = float(2**22)
# Rec. 601 luminance, in 65536ths.
_RED, _GREEN, _BLUE = 19595.0, 38470.0, 7471.0
_JPEG_RATIOS = (1, 2, 4, 8)


def network_input(images: Any, card: ModelCard) -> Any:
    """What the model takes of images of any size.

    Colours become grey where the model takes grey and the other way round, transparent parts show
    the background; then the image gets the size that the data had (bilinear, averaged over what is
    reduced), stretched or by its centre as they did, and the centre window is taken where the model
    sees one.

    Shapes:
        in `(batch, height, width, 1 to 4)` uint8: grey, grey with alpha, RGB, or RGB with alpha;
        out float32 `(batch, *card.image_shape)` of whole numbers 0 to 255.
    """
    import tensorflow as tf

    rows, columns, channels = card.image_shape
    size = card.stored_size or (rows, columns)
    colours = _coloured(tf.cast(images, tf.float64), channels, float(card.background))
    fitted = _resized(colours, (size[0], size[1]), is_cropped=card.geometry == "center_crop")
    fitted.set_shape((None, *size, channels))
    return tf.cast(centre_window(fitted, (rows, columns)), tf.float32)


def network_input_of_files(files: Any, card: ModelCard) -> Any:
    """The same of JPEG, PNG, GIF and BMP files `(batch,)`, as strings of their bytes.

    EXIF orientation is not applied, since TensorFlow does not read it.
    """
    import tensorflow as tf

    shape = tf.TensorSpec(tuple(card.image_shape), tf.float32)
    return tf.map_fn(
        lambda content: network_input(_decoded(content, card)[None], card)[0],
        files,
        fn_output_signature=shape,
    )


def _coloured(images: Any, channels: int, background: float) -> Any:
    """RGB or grey; see `network_input`. Without a branch: not every format has one."""
    import tensorflow as tf

    given = tf.shape(images)[3]
    has_colours = tf.cast(given >= 3, tf.int32)
    colours = tf.gather(images, tf.range(3) * has_colours, axis=3)
    has_alpha = tf.equal(given % 2, 0)
    alpha = tf.where(has_alpha, tf.gather(images, [given - 1], axis=3), tf.cast(255, tf.float64))
    # Pillow's alpha_composite over an opaque ground.
    mixed = (colours * alpha + background * (255 - alpha) + 128) * 128
    colours = tf.floor(tf.floor((tf.floor(mixed / 256) + mixed) / 256) / 128)
    if channels == 3:
        return colours
    weighted = tf.reduce_sum(colours * tf.constant([_RED, _GREEN, _BLUE], tf.float64), 3, True)
    return tf.floor((weighted + 32768) / 65536)


def _resized(images: Any, size: tuple[int, int], *, is_cropped: bool) -> Any:
    """Pillow's bilinear resizing: first the rows, then the columns, each as a matrix product."""
    import tensorflow as tf

    given = [tf.cast(side, tf.float64) for side in tf.unstack(tf.shape(images)[1:3])]
    parts = given
    if is_cropped:
        scale = tf.minimum(given[0] / size[0], given[1] / size[1])
        parts = [scale * side for side in size]
    down, across = (
        _weights(side, (side - part) / 2, wanted)
        for side, part, wanted in zip(given, parts, size, strict=True)
    )
    maps = tf.transpose(images, (0, 3, 1, 2))
    maps = _rounded(tf.matmul(maps, across, transpose_b=True))
    maps = _rounded(tf.matmul(down, maps))
    return tf.transpose(maps, (0, 2, 3, 1))


def _weights(side: Any, start: Any, wanted: int) -> Any:
    """A triangle as wide as what one of the `wanted` pixels covers: `(wanted, side)`.

    From `start` to as far from the other end; both are Pillow's, in single precision.
    """
    import tensorflow as tf

    first, last = tf.cast(start, tf.float32), tf.cast(side - start, tf.float32)
    step = tf.cast(last - first, tf.float64) / wanted
    centres = tf.cast(first, tf.float64) + (tf.range(wanted, dtype=tf.float64) + 0.5) * step
    places = tf.range(side, dtype=tf.float64)
    apart = (places[None] - centres[:, None] + 0.5) / tf.maximum(step, 1.0)
    weights = tf.maximum(1 - tf.abs(apart), 0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return tf.floor(0.5 + weights * _WEIGHT)


def _rounded(sums: Any) -> Any:
    import tensorflow as tf

    return tf.clip_by_value(tf.floor(sums / _WEIGHT + 0.5), 0, 255)


def _decoded(content: Any, card: ModelCard) -> Any:
    """The pixels `(height, width, channels)` of a file, as many channels as it has or as wanted."""
    import tensorflow as tf

    def jpeg() -> Any:
        height, width, components = tf.unstack(tf.io.extract_jpeg_shape(content))
        size = card.stored_size or card.image_shape[:2]
        least = [ceil(REDUCED_AT_LEAST * side) for side in size]
        larger = tf.minimum(height // least[0], width // least[1])
        # How often it is halved as it is decoded.
        halved = tf.reduce_sum(tf.cast(larger >= _JPEG_RATIOS[1:], tf.int32))
        # Of four inks there is no direct way to grey.
        return tf.cond(
            components == 4,
            lambda: reduced_jpeg(halved, 3),
            lambda: reduced_jpeg(halved, card.image_shape[2]),
        )

    def reduced_jpeg(halved: Any, channels: int) -> Any:
        def decoder(ratio: int) -> Any:
            return lambda: tf.io.decode_jpeg(
                content, channels, ratio=ratio, dct_method="INTEGER_ACCURATE"
            )

        return tf.switch_case(halved, [decoder(ratio) for ratio in _JPEG_RATIOS])

    def png() -> Any:
        return tf.io.decode_png(content, channels=4)

    def other() -> Any:
        return tf.io.decode_image(content, channels=3, expand_animations=False)

    is_png = tf.equal(tf.strings.substr(content, 0, 4), b"\x89PNG")
    pixels = tf.cond(tf.io.is_jpeg(content), jpeg, lambda: tf.cond(is_png, png, other))
    pixels.set_shape((None, None, None))
    return pixels
