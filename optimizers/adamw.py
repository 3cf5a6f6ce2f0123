"""Adam with decoupled weight decay."""

import keras

from optimizers import OPTIMIZERS
from optimizers.adam import Adam


@keras.saving.register_keras_serializable(package="tuner")
class AdamW(Adam):
    """x ← x - α λ x, then Adam's step; λ is `weight_decay`, here with a default.

    Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019, algorithm 2, line 12, where their η is our α and their α
    is 1: the decay follows the learning rate, as in PyTorch and Keras.
    """

    row = OPTIMIZERS["adamw"]
