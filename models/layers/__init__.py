"""Every layer once, with an optional lane axis; `base` says what they share and explains the letters of the shapes."""

from models.layers.augmentation import Augmentation, augment
from models.layers.base import Layer, entrance, initialise, put, set_hyper
from models.layers.batch import BatchNormalization
from models.layers.convolution import Convolution
from models.layers.dense import Activation, Flatten, FullyConnected
from models.layers.dropout import Dropout
from models.layers.group import GroupNormalization, LayerNormalization
from models.layers.pooling import AveragePooling, GlobalAveragePooling, MaxPooling

__all__ = [
    "Activation",
    "Augmentation",
    "AveragePooling",
    "BatchNormalization",
    "Convolution",
    "Dropout",
    "Flatten",
    "FullyConnected",
    "GlobalAveragePooling",
    "GroupNormalization",
    "Layer",
    "LayerNormalization",
    "MaxPooling",
    "augment",
    "entrance",
    "initialise",
    "put",
    "set_hyper",
]
