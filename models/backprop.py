"""Back-propagation written out: the gradients of a perceptron and of a convolution by formula, without automatic differentiation.

Lecture part II, with its indices corrected. For one sample x_0 with its target y the forward pass is, for l = 1, ..., L,

    u_l = W_l x_{l-1} + b_l,    x_l = σ(u_l),

and the loss f is a function of x_L, by default ½‖x_L - y‖². Wanted are ∂f/∂W_l and ∂f/∂b_l.

The derivation (LeCun, "A theoretical framework for back-propagation", 1988). Minimising f over the weights is a problem with
constraints: the two equations of every layer. Take u_l, x_l, W_l, b_l as free variables, and give each equation a vector of
multipliers, λ_l and μ_l:

    𝓛 = f(x_L) + Σ_l λ_lᵀ (W_l x_{l-1} + b_l - u_l) + Σ_l μ_lᵀ (σ(u_l) - x_l).

Its derivatives with respect to the multipliers, to u and to x are all zero exactly if

    ∂𝓛/∂λ_l = 0, ∂𝓛/∂μ_l = 0      u_l = W_l x_{l-1} + b_l,  x_l = σ(u_l)             the forward pass
    ∂𝓛/∂x_L = 0                    μ_L = ∂f/∂x_L, which is x_L - y for ½‖x_L - y‖²    its end
    ∂𝓛/∂u_l = 0                    λ_l = μ_l ⊙ σ'(u_l)                                } the backward pass,
    ∂𝓛/∂x_l = 0, l < L             μ_l = W_{l+1}ᵀ λ_{l+1}                             } l = L, ..., 1

Each line gives what the next needs, so the equations are solved by one pass forward and one backward. What remains,

    ∂𝓛/∂W_l = λ_l x_{l-1}ᵀ,    ∂𝓛/∂b_l = λ_l,

are the gradients of f. For on the constraints 𝓛 = f whatever the multipliers are; so along a change of the weights, which moves
u and x with it, df = d𝓛 = ∂𝓛/∂W dW + ∂𝓛/∂b db + ∂𝓛/∂u du + ∂𝓛/∂x dx, and the multipliers were chosen to make the last two
terms vanish. Moving a constraint by ε, u_l = W_l x_{l-1} + b_l + ε, changes f by λ_lᵀ ε, and x_l = σ(u_l) + ε by μ_lᵀ ε: they are

    λ_l = ∂f/∂u_l,    μ_l = ∂f/∂x_l.

Without μ this is the lecture's summary, where it prints W_l for W_{l+1} and x_l for x_{l-1}, whose shapes do not fit:

    ∂f/∂u_L = (x_L - y) ⊙ σ'(u_L),    ∂f/∂u_l = (W_{l+1}ᵀ ∂f/∂u_{l+1}) ⊙ σ'(u_l),    ∂f/∂W_l = ∂f/∂u_l x_{l-1}ᵀ,    y ∈ R^{n_L}.

A mini-batch of m samples as columns, X_l = [x_l ...] and D_l = [λ_l ...], has the gradients (1/m) D_l X_{l-1}ᵀ and (1/m) D_l 1.

Here samples are rows and the kernel of a layer is the transpose of the lecture's W_l; everything above is read transposed:

    lecture         W_l [n_l, n_{l-1}]   X_l [n_l, m]   W_l X_{l-1}       W_lᵀ D_l          D_l X_{l-1}ᵀ
    here            W   [D, F]           x   [B, F]     x W               λ Wᵀ              xᵀ λ

Shapes: B samples (the lecture's m), D inputs of a layer, F its units or filters, O outputs of the network (n_L); H, W height and
width of an image, C its channels; FH, FW height and width of a kernel, OH, OW of what it returns. All functions are pure and
made of Keras operations: they run eagerly, in graphs, and under XLA.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import keras.ops as ops
import numpy as np

from models.layers import Flatten, FullyConnected
from models.shapes import output_size

Tensor = Any

# Activations and their derivatives ---------------------------------------------------------------------------------------------

# TensorFlow has these two of leaky_relu and gelu in float32 whatever it computes in; σ' is the derivative of its σ.
LEAK, ROOT_HALF = float(np.float32(0.2)), float(np.float32(math.sqrt(0.5)))
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # λ and α of Klambauer et al. 2017


def _gelu(u: Tensor, x: Tensor) -> Tensor:
    """Φ(u) + u φ(u), with the distribution function and the density of the normal distribution."""
    del x  # x / u would be Φ(u), but not at 0
    z = u * ROOT_HALF
    return 0.5 * (1 + ops.erf(z)) + z * ops.exp(-z * z) / math.sqrt(math.pi)


def _silu(u: Tensor, x: Tensor) -> Tensor:
    """s + u s (1 - s), s = sigmoid(u)."""
    s = ops.sigmoid(u)
    return s + x * (1 - s)


def _inside(u: Tensor, bound: float) -> Tensor:
    """1 where |u| < bound, else 0."""
    return ops.cast(ops.abs(u) < bound, u.dtype)


# name → σ'(u) as a function of u and x = σ(u), elementwise. At a kink it is the one-sided derivative that TensorFlow takes.
DERIVATIVES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "relu": lambda u, x: ops.cast(u > 0, u.dtype),
        "leaky_relu": lambda u, x: ops.where(u > 0, ops.ones_like(u), LEAK),
        "elu": lambda u, x: ops.where(u < 0, x + 1, ops.ones_like(u)),
        "selu": lambda u, x: ops.where(u < 0, x + SELU_SCALE * SELU_ALPHA, SELU_SCALE),
        "gelu": _gelu,
        "silu": _silu,
        "sigmoid": lambda u, x: x * (1 - x),
        "tanh": lambda u, x: 1 - x * x,
        "softplus": lambda u, x: ops.sigmoid(u),
        "hard_sigmoid": lambda u, x: _inside(u, 3) / 6,
        "hard_tanh": lambda u, x: ops.cast(ops.abs(u) <= 1, u.dtype),
        "hard_silu": lambda u, x: ops.hard_sigmoid(u) + u * _inside(u, 3) / 6,
        "linear": lambda u, x: ops.ones_like(u),
    }
)


# The perceptron ----------------------------------------------------------------------------------------------------------------


class Dense(NamedTuple):
    """One layer: the kernel [D, F], the bias [F] or None, and the name of σ."""

    kernel: Tensor
    bias: Tensor | None
    activation: str


class Trace(NamedTuple):
    """A value for every variable of the forward pass: `u` is (u_1, ..., u_L), `x` is (x_0, x_1, ..., x_L); all [B, ...]."""

    u: tuple[Tensor, ...]
    x: tuple[Tensor, ...]


def forward(layers: Sequence[Dense], x: Tensor) -> Trace:
    """The forward pass from x_0 [B, D]: u_l = W_l x_{l-1} + b_l, x_l = σ(u_l). Lecture 1.1."""
    us, xs = [], [x]
    for kernel, bias, activation in layers:
        u = ops.matmul(xs[-1], kernel)
        us.append(u if bias is None else u + bias)
        xs.append(keras.activations.get(activation)(us[-1]))
    return Trace(tuple(us), tuple(xs))


def multipliers(layers: Sequence[Dense], trace: Trace, slope: Tensor) -> Trace:
    """The backward pass from `slope` = μ_L = ∂f/∂x_L [B, O]: λ_l = ∂f/∂u_l in the place of u_l, μ_l = ∂f/∂x_l in that of x_l.

    Lecture 2.2, 1 and 2. μ_0, the gradient with respect to the input, goes on to whatever computed the input.
    """
    lambdas: list[Tensor] = []
    mus = [slope]
    for (kernel, _, activation), u, x in zip(layers[::-1], trace.u[::-1], trace.x[:0:-1], strict=True):
        lambdas.append(mus[-1] * DERIVATIVES[activation](u, x))
        mus.append(ops.matmul(lambdas[-1], ops.transpose(kernel)))
    return Trace(tuple(lambdas[::-1]), tuple(mus[::-1]))


def backward(
    layers: Sequence[Dense], trace: Trace, slope: Tensor, share: Tensor | None = None
) -> list[tuple[Tensor, Tensor | None]]:
    """∂f/∂W_l [D, F] and ∂f/∂b_l [F] (None without a bias) of every layer, for the loss f = Σ_i share_i f_i of a batch.

    `slope` [B, O] is ∂f_i/∂x_L of each sample; `share` [B] is 1/m each where it is None: (1/m) D_l X_{l-1}ᵀ and (1/m) D_l 1.
    """
    # D_l is linear in D_L: the factor is put there once, and not into every layer.
    lambdas = multipliers(layers, trace, _weighted(slope, share)).u
    sums = (None if layer.bias is None else ops.sum(lam, axis=0) for layer, lam in zip(layers, lambdas, strict=True))
    return [(ops.matmul(ops.transpose(x), lam), db) for x, lam, db in zip(trace.x[:-1], lambdas, sums, strict=True)]


def _weighted(slope: Tensor, share: Tensor | None) -> Tensor:
    """Every row times its share in the loss of the batch."""
    if share is None:
        return slope / ops.cast(ops.shape(slope)[0], slope.dtype)
    return slope * ops.cast(share, slope.dtype)[:, None]


# The losses --------------------------------------------------------------------------------------------------------------------


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """∂f/∂x_L = x_L - y of the lecture's f = ½‖x_L - y‖²; `x`, `y` and the result [B, O]. Lecture 2.1."""
    return x - ops.cast(y, x.dtype)


def cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    """∂f/∂x_L = p - y of f = -Σ_k y_k log p_k, p = softmax(x_L), Σ_k y_k = 1 (one-hot classes); all [B, O].

    The softmax belongs to the loss and the last layer is linear, so that λ_L = p - y too. For ∂ log p_k / ∂x_j = [j = k] - p_j,
    hence ∂f/∂x_j = -Σ_k y_k ([j = k] - p_j) = p_j - y_j.
    """
    return ops.softmax(x, axis=-1) - ops.cast(y, x.dtype)


# Keras models ------------------------------------------------------------------------------------------------------------------


def gradients(
    model: keras.Model,
    x: Tensor,
    y: Tensor,
    slope: Callable[[Tensor, Tensor], Tensor] = squared_error,
    share: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The outputs x_L [B, O] of a multilayer perceptron, and the gradients of its loss in the order of `trainable_variables`.

    `x` [B, ...] are inputs, `y` targets as `slope` takes them; `slope(x_L, y)` is ∂f_i/∂x_L [B, O]; `share` [B] is each sample's
    part in the loss, 1/B each where it is None. Raises ValueError for a network that is more than these formulas; see `covered`.
    """
    layers = [_dense(layer) for layer in covered(model)]
    kernel = layers[0].kernel
    trace = forward(layers, ops.cast(ops.reshape(x, (-1, kernel.shape[0])), kernel.dtype))
    pairs = backward(layers, trace, slope(trace.x[-1], y), share)
    found = [gradient for pair in pairs for gradient in pair if gradient is not None]
    return trace.x[-1], [ops.cast(g, v.dtype) for g, v in zip(found, model.trainable_variables, strict=True)]


def covered(model: keras.Model) -> list[FullyConnected]:
    """The fully connected layers of a network from input to output.

    Raises ValueError unless the network is a chain of `Flatten` and `FullyConnected` layers that have W and b alone, all of
    them trainable: not for dropout, penalties l1 and l2, normalisation, branches, or mixed precision.
    """
    reasons = [reason for layer in model.layers if (reason := _refuses(layer))]
    if not reasons and not _is_chain(model):
        reasons = ["branches, or a layer that is used twice"]
    if reasons:
        raise ValueError(
            "explicit back-propagation takes a chain of Flatten and FullyConnected layers, trainable, without dropout, "
            f"l1, l2 and normalisation; this network has {', '.join(reasons)}"
        )
    return [layer for layer in model.layers if isinstance(layer, FullyConnected)]


def _refuses(layer: keras.layers.Layer) -> str:
    """What in a layer the formulas do not cover; empty when they cover it."""
    if isinstance(layer, keras.layers.InputLayer | keras.layers.Flatten | Flatten):
        return ""
    if not isinstance(layer, FullyConnected):
        return f"{layer.name} ({type(layer).__name__})"
    more = [variable.name for variable in layer.variables if variable is not layer.kernel and variable is not layer.bias]
    if more:
        return f"{layer.name} with {' and '.join(more)}"
    if len(layer.trainable_variables) < len(layer.variables):
        return f"{layer.name}, which is not trainable"
    if layer.compute_dtype != layer.variable_dtype:
        return f"{layer.name} in mixed precision"
    return "" if len(layer.output.shape) == 2 else f"{layer.name} on more than rows"


def _is_chain(model: keras.Model) -> bool:
    """Whether every layer takes what the layer before it gives, and nothing else goes in or out."""
    linked = all(after.input is before.output for before, after in itertools.pairwise(model.layers))
    return linked and len(model.outputs) == 1 and model.outputs[0] is model.layers[-1].output


def _dense(layer: FullyConnected) -> Dense:
    """The weights of a layer in the dtype that it computes in."""
    kernel, bias = (None if v is None else ops.cast(v, layer.compute_dtype) for v in (layer.kernel, layer.bias))
    return Dense(kernel, bias, layer.activation)


# The convolution ---------------------------------------------------------------------------------------------------------------


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """u(i, j, f) = b_f + Σ_{p<FH} Σ_{q<FW} Σ_c w(p, q, c, f) x(iS + p - P, jS + q - P, c), with zeros around the image.

    S is the stride, P the padding; `x` [B, H, W, C], kernel [FH, FW, C, F], bias [F] or None, result [B, OH, OW, F]. Lecture 1.2,
    where the sums run one tap too far and channels, stride and padding are left out. The kernel is not turned round: it is a
    fully connected layer, the same one for every patch of the image.
    """
    u = ops.einsum("bijpqc,pqcf->bijf", _patches(x, _taken(x, kernel, stride, padding)), kernel)
    return u if bias is None else u + bias


def convolution_backward(
    x: Tensor, kernel: Tensor, slope: Tensor, *, stride: int = 1, padding: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """∂f/∂x [B, H, W, C], ∂f/∂w [FH, FW, C, F] and ∂f/∂b [F] from `slope` = ∂f/∂u [B, OH, OW, F].

    "The principle is the same" (lecture 2.2): λ xᵀ for the kernel, summed over the patches because they share it; and Wᵀ λ for
    every patch, whose elements are added where they were taken from.
    """
    taken = _taken(x, kernel, stride, padding)
    to_kernel = ops.einsum("bijpqc,bijf->pqcf", _patches(x, taken), slope)
    to_patches = ops.einsum("bijf,pqcf->bijpqc", slope, kernel)
    return ops.einsum("pih,qjw,bijpqc->bhwc", *taken, to_patches), to_kernel, ops.sum(slope, axis=(0, 1, 2))


def _patches(x: Tensor, taken: tuple[Tensor, Tensor]) -> Tensor:
    """What the kernel sees of `x` [B, H, W, C] from each place: [B, OH, OW, FH, FW, C]."""
    return ops.einsum("pih,qjw,bhwc->bijpqc", *taken, x)


def _taken(x: Tensor, kernel: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """1 where output i takes input h = iS + p - P with tap p, else 0: [FH, OH, H] for the height, [FW, OW, W] for the width."""

    def along(extent: int, taps: int) -> Tensor:
        p, i, h = np.ogrid[:taps, : output_size(extent, taps, stride, padding), :extent]
        return ops.cast(h == i * stride + p - padding, x.dtype)

    return along(x.shape[1], kernel.shape[0]), along(x.shape[2], kernel.shape[1])
