"""LeNet: two convolutions with pooling, then fully connected layers.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998), as it is built today: every
map sees every map before it, pooling has no weights, the output is linear. With 10 outputs the presets have 61,706 and 431,080
weights on images of 28×28×1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.plan import Conv, Drop, Flat, Full, Plan, Pool, Shape, convolved

RETINA = 32  # height and width of LeCun's input; smaller images are padded by half a kernel


@dataclass(frozen=True)
class Preset:
    """Filters of the two convolutions, units of the hidden layers, and whether small images are padded."""

    filters: tuple[int, int]
    units: tuple[int, ...]
    padded: bool


PRESETS: Mapping[str, Preset] = {
    "lenet5": Preset((6, 16), (120, 84), padded=True),
    "caffe": Preset((20, 50), (500,), padded=False),  # examples/mnist/lenet_train_test.prototxt of Caffe
}


def plan(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """Twice: convolution, σ, pooling; then fully connected, σ, dropout for each of the preset's hidden layers."""
    preset, kernel, sigma = PRESETS[params["preset"]], params["kernel"], params["activation"]
    before = (kernel - 1) // 2 if preset.padded and min(input_shape[:2]) < RETINA else 0
    first, second = (
        Conv(filters, kernel, padding=padding, bias=params["bias"], activation=sigma)
        for filters, padding in zip(preset.filters, (before, 0), strict=True)
    )
    pool = Pool(params["pooling"])
    maps = (*convolved(first, params["normalisation"]), pool, *convolved(second, params["normalisation"]), pool)
    hidden = (piece for units in preset.units for piece in (Full(units, sigma), Drop()))
    return (*maps, Flat(), *hidden, Full(outputs))
