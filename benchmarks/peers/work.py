"""A peer's task and its answer, and the network that it fits: stock Keras layers, optimizers and `fit`.

Fair to `fit`: the rows are normalised once for all trials, the validation rows are one batch, and XLA stays off, which is faster
for networks of this size (benchmarks/results/solo_loop.txt).
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from tuner import data as sources
from tuner import spec as specs
from tuner.data import Data, Split
from tuner.space import Configuration, Space
from tuner.spec import StudySpec
from tuner.trial import Params

LENET5 = ((6, 16), (120, 84))  # filters and units of the preset of that name


@dataclass(frozen=True)
class Work:
    """A study whose rows were loaded at `begun` (since 1970); no trial begins `seconds` later, or when its trials are used up."""

    spec: StudySpec
    data: Data
    begun: float
    seconds: float
    answer: Path

    @classmethod
    def given(cls) -> Self:
        """From the command line: STUDY SECONDS ANSWER [DATA]."""
        file, seconds, answer, *place = sys.argv[1:]
        spec = specs.load(Path(file), data=place[0] if place else None)
        data = sources.load(spec.data, spec.seed, [Path(p) for p in place])
        return cls(spec, data, time.time(), float(seconds), Path(answer))

    @cached_property
    def space(self) -> Space:
        """The search space."""
        return Space(self.spec)

    @property
    def over(self) -> bool:
        """Whether no trial may begin any more."""
        return time.time() >= self.begun + self.seconds

    def normalised(self, split: Split) -> np.ndarray:
        """What a network sees: [N, D] where it is fully connected, else [N, H, W, C]."""
        x = (split.x - self.data.offset) * self.data.scale
        return x if self.space.network.convolutional else x.reshape(len(x), -1)

    @cached_property
    def rows(self) -> dict[str, Any]:
        """The rows as `fit` takes them."""
        held_out = self.data.validation
        return {
            "x": self.normalised(self.data.train),
            "y": self.data.train.y,
            "validation_data": (self.normalised(held_out), held_out.y),
            "validation_batch_size": len(held_out.y),
        }

    def compiled(self, params: Params) -> tuple[keras.Model, int]:
        """A new network for these parameters, ready to be fitted, and its batch size."""
        chosen = self.space.configuration(params)
        model = network(self.spec.model.name, chosen.network, self.rows["x"].shape[1:], self.data.facts.outputs)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer(chosen), loss, metrics=["accuracy"])
        return model, chosen.batch_size

    def fit(self, params: Params, **options: Any) -> dict[str, list[float]]:
        """Train from the beginning to the end; the metrics of every epoch."""
        keras.backend.clear_session()
        model, batch_size = self.compiled(params)
        return model.fit(**self.rows, batch_size=batch_size, epochs=self.spec.train.epochs, verbose=0, **options).history

    def finish(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Write the answer: when the search began, and of each trial `ended`, `value` and `params`."""
        self.answer.write_text(json.dumps({"begun": self.begun, "trials": list(trials)}))


def ended(value: float, params: Params) -> dict[str, Any]:
    """What the answer says of a trial that ends now."""
    return {"ended": time.time(), "value": float(value), "params": dict(params)}


def optimizer(chosen: Configuration) -> keras.optimizers.Optimizer:
    """Keras' version of a method."""
    rate = chosen.learning_rate
    rows = {
        "sgd": lambda: keras.optimizers.SGD(rate),
        "momentum": lambda: keras.optimizers.SGD(rate, momentum=0.9),
        "nesterov": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        "adagrad": lambda: keras.optimizers.Adagrad(rate),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate),
        "adadelta": lambda: keras.optimizers.Adadelta(rate),
        "adam": lambda: keras.optimizers.Adam(rate),
        "nadam": lambda: keras.optimizers.Nadam(rate),
    }
    return rows[chosen.optimizer]()


def network(name: str, its: Mapping[str, Any], shape: tuple[int, ...], outputs: int) -> keras.Model:
    """The network of that name as a person would write it."""
    hidden = {"mlp": perceptron, "lenet": lenet, "convnet": convnet}[name](its)
    return keras.Sequential([keras.Input(shape), *hidden, keras.layers.Dense(outputs)])


def perceptron(its: Mapping[str, Any]) -> list[keras.Layer]:
    """Fully connected layers, each with dropout where it is searched."""
    widths = [its.get(f"width_{layer}", its["width"]) for layer in range(1, its["depth"] + 1)]
    return [layer for width in widths for layer in full(width, its)]


def lenet(its: Mapping[str, Any]) -> list[keras.Layer]:
    """LeNet-5 on images of 28×28."""
    (first, second), units = LENET5
    maps = [*convolved(first, "same", its), *convolved(second, "valid", its)]
    return [*maps, keras.layers.Flatten(), *(layer for width in units for layer in full(width, its))]


def convnet(its: Mapping[str, Any]) -> list[keras.Layer]:
    """Convolutions of one size with pooling, then fully connected layers."""
    maps = [layer for _ in range(its["convolutions"]) for layer in convolved(its["filters"], its["padding"], its)]
    return [*maps, keras.layers.Flatten(), *(layer for _ in range(its["dense"]) for layer in full(its["units"], its))]


def convolved(filters: int, padding: str, its: Mapping[str, Any]) -> list[keras.Layer]:
    """A convolution and the pooling behind it."""
    options = {"padding": padding, "use_bias": its["bias"], "kernel_initializer": initial(its)}
    return [keras.layers.Conv2D(filters, its["kernel"], activation=its["activation"], **options), keras.layers.MaxPooling2D()]


def full(width: int, its: Mapping[str, Any]) -> list[keras.Layer]:
    """A fully connected layer and its dropout."""
    layer = keras.layers.Dense(width, its["activation"], kernel_initializer=initial(its))
    return [layer, keras.layers.Dropout(its["dropout"])] if its["dropout"] else [layer]


def initial(its: Mapping[str, Any]) -> str:
    """What suits the activation, as in our networks."""
    return "glorot_uniform" if its["activation"] == "tanh" else "he_normal"
