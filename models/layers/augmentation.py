"""Images that are a little different every time a network is trained on them."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import keras.ops as ops
import tensorflow as tf

from models import AUGMENTATION, random
from models.layers.base import Shape, Tensor, sizes_of
from models.layers.chance import Chance

# The numbers drawn for an image, each for one purpose: a change in one strength moves no draw of another.
_SHIFT_Y, _SHIFT_X, _FLIP, _ANGLE, _SIDE, _CROP_Y, _CROP_X, _CUTOUT_Y, _CUTOUT_X = range(9)
_DRAWS = 9


@keras.saving.register_keras_serializable(package="tuner")
class Augmentation(Chance):
    """While training every image is mirrored, rotated, shifted, cropped and covered, in this order, each by chance.

    flip        probability of being mirrored, left to right
    rotation    degrees: by an angle between -rotation and rotation, about the centre
    shift       share of height and width: by whole pixels, every number of them up to the nearest to that share equally likely
    crop        a window with sides of 1 - crop to 1 of the image's, at any place inside it, enlarged to the image's size
    cutout      share of the shorter side: a square of the nearest number of pixels, its centre anywhere, is covered (DeVries and
                Taylor 2017, *Improved Regularization of Convolutional Neural Networks with Cutout*, section 3.2)

    The strengths' ranges are in `models.AUGMENTATION`. One that is None is not in the graph; one of 0 changes no bit of an image.
    Nor do mirror and shift change a pixel that they move: one resampling does all four movements, bilinear if there is rotation
    or crop, else without arithmetic. Beyond the border, and under the square, is 0. A network sees normalised pixels, so that is
    black, or the mean colour if the mean was subtracted: what a padded convolution takes to be there as well.

    [B, H, W, C] keeps its shape; with lanes [B, H, W, C] or [K, B, H, W, C] -> [K, B, H, W, C]. What happens to row b of a batch
    follows from (key, step, b). Raises ValueError for other strengths, and in `build` for what is not an image of known size.
    """

    stream = random.AUGMENTATION

    def __init__(
        self,
        *,
        shift: float | None = None,
        flip: float | None = None,
        crop: float | None = None,
        cutout: float | None = None,
        rotation: float | None = None,
        **layer: Any,
    ) -> None:
        given = {"shift": shift, "flip": flip, "crop": crop, "cutout": cutout, "rotation": rotation}
        strengths = {name: value for name, value in given.items() if value is not None}
        for name, value in strengths.items():
            if problem := AUGMENTATION[name].refuses(value):
                raise ValueError(f"{name}: {value!r} {problem}")
        super().__init__(**layer)
        self._strengths = strengths

    def build(self, input_shape: Shape) -> None:
        """Create the strengths and what the draws follow from."""
        own = self.within(input_shape)
        if len(own) != 4 or None in own[1:]:
            raise ValueError(f"{self.name} takes images of a known size, not {input_shape}")
        for name, value in self._strengths.items():
            self.add_hyper(name, value)
        self.create_state()

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        if not training:
            return self.fill(self.face(x))
        drawn = tf.cast(self.draw((ops.shape(x)[-4], _DRAWS)), self.number_dtype)
        return _augmented(x, drawn, {name: self.spread(tf.convert_to_tensor(v), 4) for name, v in self.hyper.items()})

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same, with the lanes in front."""
        return self.laned(*self.within(input_shape))

    def to_keras(self) -> keras.layers.Identity:
        """What it is outside training. Raises ValueError with lanes."""
        return keras.layers.Identity(**self.as_twin())

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), **self._strengths}


Strengths = Mapping[str, Tensor]  # each () or [K, 1, 1, 1]


@tf.function(jit_compile=True, autograph=False)
def _augmented(x: Tensor, drawn: Tensor, strengths: Strengths) -> Tensor:
    """Images [..., B, H, W, C] by the numbers [..., B, _DRAWS].

    XLA runs it, also inside a graph: a gather and the small operations around it take a fifth of the time as one loop.
    """
    draws = [number[..., None, None] for number in tf.unstack(drawn, axis=-1)]  # [..., B, 1, 1]
    moved = _moved(x, draws, strengths) if strengths.keys() - {"cutout"} else x
    return _covered(moved, draws, strengths["cutout"]) if "cutout" in strengths else moved


def _numbered(x: Tensor, dtype: tf.DType) -> tuple[int, int, Tensor, Tensor]:
    """Height and width of images, their rows [H, 1] and their columns [1, W]."""
    H, W = x.shape[-3:-1]
    return H, W, tf.range(H, dtype=dtype)[:, None], tf.range(W, dtype=dtype)[None, :]


def _moved(x: Tensor, draws: Sequence[Tensor], strengths: Strengths) -> Tensor:
    rows, columns = _origins(x, draws, strengths)
    pixels = _Pixels(x)
    top, left = tf.floor(rows), tf.floor(columns)
    if not strengths.keys() & {"rotation", "crop"}:
        return pixels.at(top, left)
    down, right = (tf.cast(part[..., None], x.dtype) for part in (rows - top, columns - left))
    upper = (1 - right) * pixels.at(top, left) + right * pixels.at(top, left + 1)
    lower = (1 - right) * pixels.at(top + 1, left) + right * pixels.at(top + 1, left + 1)
    return (1 - down) * upper + down * lower


def _origins(images: Tensor, draws: Sequence[Tensor], strengths: Strengths) -> tuple[Tensor, Tensor]:
    """Where each pixel [..., B, H, W] comes from: its place about the centre after every movement is undone, last first."""
    H, W, i, j = _numbered(images, draws[0].dtype)
    y, x = i - (H - 1) / 2, j - (W - 1) / 2
    if "crop" in strengths:
        side = 1 - strengths["crop"] * draws[_SIDE]
        y = side * y + (draws[_CROP_Y] - 0.5) * (1 - side) * H
        x = side * x + (draws[_CROP_X] - 0.5) * (1 - side) * W
    if "shift" in strengths:
        y, x = (p - _whole_shift(draws[d], strengths["shift"] * n) for p, d, n in ((y, _SHIFT_Y, H), (x, _SHIFT_X, W)))
    if "rotation" in strengths:
        # In float64: the last bits of a float32 cosine depend on the place among the numbers that a processor takes at once.
        angle = tf.cast(strengths["rotation"] * (2 * draws[_ANGLE] - 1), tf.float64) * (math.pi / 180)
        cos, sin = (tf.cast(function(angle), draws[_ANGLE].dtype) for function in (tf.cos, tf.sin))
        y, x = cos * y - sin * x, sin * y + cos * x
    if "flip" in strengths:
        x = tf.where(draws[_FLIP] < strengths["flip"], -x, x)
    return y + (H - 1) / 2, x + (W - 1) / 2


def _whole_shift(draw: Tensor, highest: Tensor) -> Tensor:
    most = _nearest(highest)
    return tf.floor(draw * (2 * most + 1)) - most


def _covered(x: Tensor, draws: Sequence[Tensor], share: Tensor) -> Tensor:
    H, W, i, j = _numbered(x, share.dtype)
    side = _nearest(share * min(H, W))

    def inside(place: Tensor, draw: Tensor, size: int) -> Tensor:
        behind = place - (tf.floor(draw * size) - tf.floor(side / 2))
        return (behind >= 0) & (behind < side)

    square = inside(i, draws[_CUTOUT_Y], H) & inside(j, draws[_CUTOUT_X], W)
    return tf.where(square[..., None], tf.zeros([], x.dtype), x)


class _Pixels:
    """The pixels of images [..., H, W, C], and 0 outside of them."""

    def __init__(self, x: Tensor) -> None:
        *leading, H, W, C = sizes_of(x)
        self._size = (H, W)
        self._flat = tf.reshape(tf.pad(x, [*[[0, 0]] * len(leading), [1, 1], [1, 1], [0, 0]]), (-1, C))
        images = tf.range(tf.reduce_prod(tf.shape(x)[:-3])) * ((H + 2) * (W + 2))
        self._first = tf.reshape(images, (*leading, 1, 1))

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """[..., H, W, C] from whole numbers that broadcast to [..., H, W]."""
        (H, W), places = self._size, (tf.cast(rows, tf.int32), tf.cast(columns, tf.int32))
        y, x = (tf.clip_by_value(place, -1, size) + 1 for place, size in zip(places, (H, W), strict=True))
        return tf.gather(self._flat, self._first + y * (W + 2) + x)


def _nearest(number: Tensor) -> Tensor:
    """The nearest whole number; a half goes up."""
    return tf.floor(number + 0.5)


def augment(x: Tensor, params: Mapping[str, Any], tensors: Collection[str] = (), lanes: int | None = None) -> Tensor:
    """`x` [B, H, W, C], augmented as the parameters of a network say: `x` itself when none of them asks for it.

    A strength is in the graph when its value is not 0, or when it is in `tensors`, as in the builders of networks.
    """
    strengths = {name: params[name] for name in AUGMENTATION if params[name] != 0 or name in tensors}
    return Augmentation(**strengths, lanes=lanes)(x) if strengths else x
