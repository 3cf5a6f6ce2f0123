"""Rules made of a wrapper and a rule."""

from typing import Any

import keras

from optimizers import Row


def wrapped(row: Row, wrapper: type, rule: type) -> Any:
    """The class of `row`: the mixin `wrapper` in front of `rule`, with what both allow and remember; Keras knows it.

    The slots of the rule come first, those of the wrapper last.
    """
    name = wrapper.__name__ + rule.__name__
    merged = {field: {**getattr(rule, field), **vars(wrapper).get(field, {})} for field in ("allowed", "slots", "carried")}
    about = {"row": row, "__doc__": f"{wrapper.__doc__}\n\n    Around {rule.__name__}: {rule.__doc__}", "__module__": __name__}
    return keras.saving.register_keras_serializable(package="tuner")(type(name, (wrapper, rule), {**about, **merged}))
