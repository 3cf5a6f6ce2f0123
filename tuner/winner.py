"""The trained winner, from its file."""

import keras
import numpy as np

from tuner import checkpoints
from tuner.errors import BadInput
from tuner.trial import Checkpoint


def load(kept: Checkpoint) -> keras.Model:
    """The winner, [B, ...] -> [B, C], without running any code that its file may hold.

    Raises `BadCheckpoint` when the file is not what was recorded, `BadInput` when it needs code that nobody registered.
    """
    checkpoints.whole(kept)
    try:
        model = keras.models.load_model(kept.path, compile=False, safe_mode=True)
    except (TypeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0][:300]
        raise BadInput(f"{kept.path}: Keras cannot load it without code: {said}") from None
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras exports what was called
    return model
