"""Making the classes that have no file of their own: `wrapper:method` and `system:Method`."""

import keras

from optimizers import Row
from optimizers.base import Rule


def around(wrapper: type[Rule], method: type[Rule], row: Row) -> type[Rule]:
    """The class of `row`: the wrapper, whose `super()` is the method, with what both state. Registered with Keras.

    The slots of the method come first.
    """
    stated = {part: {**getattr(method, part), **getattr(wrapper, part)} for part in ("slots", "carried")}
    members = {"row": row, "__module__": wrapper.__module__, "__doc__": f"{row.name}: {row.source}.", **stated}
    made = type(wrapper.__name__ + method.__name__, (wrapper, method), members)
    return keras.saving.register_keras_serializable(package="tuner")(made)


def preset(method: type[Rule], row: Row) -> type[Rule]:
    """The class of `row`, another system's version of a method: other defaults, and options that are settled."""
    settled = {name: (value,) for name, value in row.settled.items()}
    members = {
        "row": row,
        "__module__": method.__module__,
        "__doc__": f"{row.name}: {row.source}.",
        "choices": {**method.choices, **settled},
    }
    return keras.saving.register_keras_serializable(package="tuner")(type(row.name.replace(":", ""), (method,), members))
