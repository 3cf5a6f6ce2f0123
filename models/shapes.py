"""Sizes of images on their way through a network, and which numbers can be sizes. Pure: it needs neither Keras nor TensorFlow."""

from typing import Literal, TypeAlias

Pair: TypeAlias = tuple[int, int]
Image: TypeAlias = tuple[int | None, int | None]  # height and width, None where they are not known
Padding: TypeAlias = Literal["same", "valid"] | int


def output_size(size: int, kernel: int, stride: int = 1, padding: Padding = "valid") -> int:
    """How many places a kernel (or a pooling window) has along an axis of `size`: floor((size + 2 P - kernel) / stride) + 1.

    Lecture 1.2, rounded down where it is silent. "valid" is P = 0; "same" gives ceil(size / stride), for which the right or lower
    end is padded by one more when the padding is odd. A result below 1 means that the kernel does not fit.
    """
    if padding == "same":
        return -(-size // stride)
    return (size + 2 * (0 if padding == "valid" else padding) - kernel) // stride + 1


def image_size(image: Image, kernel: Pair, stride: Pair, padding: Padding) -> Image:
    """`output_size` of height and width; None for what is not known yet. Raises ValueError when the kernel does not fit."""
    sizes = tuple(
        None if size is None else output_size(size, k, s, padding) for size, k, s in zip(image, kernel, stride, strict=True)
    )
    if any(size is not None and size < 1 for size in sizes):
        raise ValueError(f"a kernel of {kernel} with padding {padding!r} does not fit into {image}")
    return sizes[0], sizes[1]


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`; both from 1."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


def whole(name: str, value: object, low: int = 1) -> int:
    """`value` when it is a whole number from `low`; raises ValueError else."""
    if type(value) is not int or value < low:
        raise ValueError(f"{name} must be a whole number from {low}; got {value!r}")
    return value


def pair(name: str, value: int | tuple[int, ...] | list[int]) -> Pair:
    """Height and width from one number for both or from two; raises ValueError unless both are whole numbers from 1."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name} must be a whole number or two of them; got {value!r}")
    return whole(name, both[0]), whole(name, both[1])


def checked_padding(value: object, limit: int | None = None) -> Padding:
    """`value` when it is "same", "valid" or a whole number from 0, at most `limit`; raises ValueError else."""
    if value == "same" or value == "valid":
        return value
    if type(value) is not int or value < 0 or (limit is not None and value > limit):
        span = "0" if limit is None else f"0 to {limit}"
        raise ValueError(f'padding must be "same", "valid" or a whole number from {span}; got {value!r}')
    return value
