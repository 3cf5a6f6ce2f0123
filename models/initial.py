"""Initial weights, from our own random numbers: the same with and without lanes, whatever compiles the graph."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models import INITIALS as NAMES
from models.random import Key, normal, uniform

Array = NDArray[np.float64]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs reach an output and how many outputs an input, of a kernel [..., D, F]."""
    spatial = math.prod(shape[:-2])
    return spatial * shape[-2], spatial * shape[-1]


def _he_normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Variance 2 / inputs (He, Zhang, Ren and Sun 2015, eq. 10)."""
    return normal(key, shape) * math.sqrt(2 / _fans(shape)[0])


def _he_uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """The same variance between two ends."""
    return (2 * uniform(key, shape) - 1) * math.sqrt(6 / _fans(shape)[0])


def _glorot_normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Variance 2 / (inputs + outputs) (Glorot and Bengio 2010, eq. 12)."""
    return normal(key, shape) * math.sqrt(2 / sum(_fans(shape)))


def _glorot_uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """The same variance between two ends (Glorot and Bengio 2010, eq. 16)."""
    return (2 * uniform(key, shape) - 1) * math.sqrt(6 / sum(_fans(shape)))


def _lecun_normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Variance 1 / inputs (LeCun, Bottou, Orr and Müller 1998, eq. 16)."""
    return normal(key, shape) * math.sqrt(1 / _fans(shape)[0])


def _lecun_uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """The same variance between two ends."""
    return (2 * uniform(key, shape) - 1) * math.sqrt(3 / _fans(shape)[0])


def _orthogonal(key: Key, shape: tuple[int, ...]) -> Array:
    """Q of a normal matrix, [inputs, outputs], with the signs that make it uniform (Saxe, McClelland and Ganguli 2014)."""
    tall = normal(key, shape).reshape(-1, shape[-1])
    wide = len(tall) < shape[-1]
    q, r = np.linalg.qr(tall.T if wide else tall)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return (q.T if wide else q).reshape(shape)


_ROWS = {
    "he_normal": _he_normal,
    "he_uniform": _he_uniform,
    "glorot_normal": _glorot_normal,
    "glorot_uniform": _glorot_uniform,
    "lecun_normal": _lecun_normal,
    "lecun_uniform": _lecun_uniform,
    "orthogonal": _orthogonal,
}

INITIALS: Mapping[str, Callable[[Key, tuple[int, ...]], Array]] = MappingProxyType({name: _ROWS[name] for name in NAMES})
"""Kind → the initial values [..., D, F] of a kernel of that shape, from a key."""


def draw(kind: str, key: Key, shape: tuple[int, ...]) -> Array:
    """The initial values of a kernel [..., D, F]; raises KeyError for an unknown kind."""
    return INITIALS[kind](key, shape)
