"""Networks of our layers as networks of Keras' own, with the same weights: what is served needs nothing of this package."""

import keras

from models.layers.base import Layer


def to_keras(model: keras.Model) -> keras.Model:
    """The functional `model` with every layer of ours replaced by Keras' layer of the same meaning, and the weights copied.

    Layers of Keras stay what they are. Raises ValueError for a layer with lanes.
    """

    def twin(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.to_keras() if isinstance(layer, Layer) else type(layer).from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=twin)
    for mine, its in zip(model.layers, clone.layers, strict=True):
        if not isinstance(mine, Layer):
            its.set_weights(mine.get_weights())
    return clone
