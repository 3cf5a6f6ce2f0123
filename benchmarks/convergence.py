"""Claims: the rates of convergence that the lecture states (3.2-3.4), shown by the rules of `optimizers`

Bounds must hold at every step that is looked at. A slope is that of a line through the logarithms in a window that was fixed in
advance, and only on problems that were designed to keep their rate; where there is chance, it is that of the mean over seeds,
with a bootstrap interval of 95 %, and holds when the interval meets the band around the theory. Each claim has a control that
breaks its condition and must fail. Chance is drawing rows with replacement, as the theorems have it; `fit` shuffles instead.

M², the bound of the squared gradient in the theorem on SGD, is the largest mean along the trajectory: an empirical one, since no
strongly convex function has bounded gradients everywhere.

Seeds are lanes: one rule with `lanes=K` descends K times at once. Everything is float64.

Command: python -m benchmarks.convergence [folder for the plots]. Two CPU cores, about three minutes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import matplotlib as mpl
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import problems
from benchmarks.environment import describe
from optimizers import load
from optimizers.closure import Closure
from optimizers.schedules import InverseSqrt, InverseTime

Array = NDArray[np.float64]
Tensor = Any
SEEDS, STEPS = 400, 20_000


@dataclass(frozen=True)
class Claim:
    """What was found and whether it is what the theory says; a control must not be."""

    name: str
    found: str
    wanted: str
    holds: bool


@dataclass(frozen=True)
class Curve:
    """f(x^k) - f*, or another error, at the steps `k`; a theory is drawn dashed."""

    label: str
    k: Array
    error: Array
    theory: bool = False


@dataclass(frozen=True)
class Shown:
    """One plot and the claims that it carries; `x` names its axis, which is linear for rates that are."""

    name: str
    title: str
    curves: Sequence[Curve]
    claims: Sequence[Claim]
    x: str = "step"
    linear: bool = False


def looks(last: int, count: int = 60) -> Array:
    """The steps that are looked at: about `count`, evenly on a logarithmic axis, from 1 to `last`."""
    return np.unique(np.geomspace(1, last, count).round()).astype(float)


def descend(rule: Any, start: Array, gradient: Callable[[Tensor, Tensor], Tensor], k: Array) -> Array:
    """The points to be evaluated after the steps `k`, [len(k), ...]; `gradient(x, step)` counts steps from 0."""
    x = keras.Variable(start, dtype="float64")
    rule.build([x])

    @tf.function(jit_compile=True)
    def advance(begin: Tensor, end: Tensor) -> None:
        def step(number: Tensor) -> tuple[Tensor]:
            rule.apply([gradient(x.value, number)], [x])
            return (number + 1,)

        tf.while_loop(lambda number: number < end, step, (begin,))

    points = []
    for begin, end in zip([0, *k[:-1]], k, strict=True):
        advance(tf.constant(int(begin)), tf.constant(int(end)))
        rule.swap_to_evaluation()
        points.append(x.numpy())
        rule.swap_to_training()
    return np.stack(points)


def gaps(problem: problems.Quadratic, rule: Any, k: Array) -> Array:
    """f(x^k) - f* on the way of a rule that sees the full gradient."""
    return problem.gap(descend(rule, problem.start, lambda x, _: problem.gradient(x), k)).numpy()


def values(problem: problems.Logistic, rule: Any, k: Array) -> Array:
    """f(x^k) on the way of a rule that sees the full gradient, from x = 0."""
    points = descend(rule, np.zeros(problem.margins.shape[1]), lambda x, _: problem.gradient(x), k)
    return np.array([float(problem.value(tf.constant(x))) for x in points])


def slope(k: Array, error: Array) -> float:
    """Of the line through (log k, log error)."""
    return float(np.polyfit(np.log(k), np.log(error), 1)[0])


def interval(k: Array, errors: Array, times: int = 200) -> tuple[float, float]:
    """The bootstrap interval of 95 % of the slope of the mean over seeds; `errors` [len(k), seeds]."""
    rng = np.random.default_rng(0)
    picks = (rng.integers(errors.shape[1], size=errors.shape[1]) for _ in range(times))
    low, high = np.quantile([slope(k, errors[:, pick].mean(1)) for pick in picks], [0.025, 0.975])
    return float(low), float(high)


def in_band(name: str, ends: tuple[float, float], middle: float, width: float) -> Claim:
    """Whether an interval meets the band around the theory's slope."""
    holds = ends[0] <= middle + width and ends[1] >= middle - width
    return Claim(name, f"{ends[0]:.2f} to {ends[1]:.2f}", f"{middle:g} ± {width:g}", holds)


def below(name: str, error: Array, bound: Array) -> Claim:
    """Whether a bound holds everywhere, and which share of it was used at most."""
    used = float(np.max(error / bound))
    return Claim(name, f"{100 * used:.3g} % of it used", "100 % or less", used <= 1)


def within(name: str, found: float, wanted: float, tolerance: float) -> Claim:
    """Whether a number is what it should be."""
    return Claim(name, f"{found:.6f}", f"{wanted:.6f} ± {tolerance:g}", abs(found - wanted) <= tolerance)


# Deterministic gradients ------------------------------------------------------------


def linear_rate() -> Shown:
    """Gradient descent on strongly convex functions: f(x^k) - f* ≤ (1 - μ/L)^k (f(x⁰) - f*), and exactly (1 - μ/L)² a step."""
    curves, claims = [], []
    for problem in (problems.spread(), problems.diabetes()):
        k, kappa = np.arange(1.0, 1501.0, 10), problem.smoothness / problem.convexity
        first, name = float(problem.gap(problem.start)), problem.name
        error = gaps(problem, load("sgd")(1 / problem.smoothness), k)
        best = gaps(problem, load("sgd")(2 / (problem.smoothness + problem.convexity)), k)
        bound = first * (1 - 1 / kappa) ** k
        curves += [Curve(f"1/L, {name}", k, error), Curve(f"bound, {name}", k, bound, theory=True)]
        last = (error[-1] / error[-2]) ** 0.1
        claims += [
            below(f"bound (1-μ/L)^k, {name}", error, bound),
            within(f"ratio of a step at 1/L, {name}", last, (1 - 1 / kappa) ** 2, 1e-5),
            within(f"ratio of a step at 2/(μ+L), {name}", (best[60] / best[50]) ** 0.01, ((kappa - 1) / (kappa + 1)) ** 2, 1e-5),
        ]
    problem = problems.spread()
    far = gaps(problem, load("sgd")(2.02 / problem.smoothness), np.array([100.0, 200.0]))
    claims.append(
        Claim("control: grows at a rate above 2/L", f"{far[1] / far[0]:.1f} times in 100 steps", "more than 1", far[1] > far[0])
    )
    return Shown("gradient-descent", "Gradient descent, strongly convex", curves, claims, linear=True)


def sublinear_rates() -> Shown:
    """Convex functions: gradient descent 1/k, Nesterov 1/k², on a function that keeps these rates."""
    problem, k = problems.power_law(), looks(2000)
    L, D = problem.smoothness, problem.distance
    ways = {
        "gradient descent": load("sgd")(1 / L),
        "Nesterov, (k+2)/(k+5)": load("nesterov")(1 / L),
        "Nesterov, FISTA": load("nesterov")(1 / L, schedule="fista"),
        "Nesterov, μ = 0.9": load("nesterov")(1 / L, schedule="constant"),
    }
    error = {name: gaps(problem, rule, k) for name, rule in ways.items()}
    shown = k >= 50
    slopes = {name: slope(k[shown], of[shown]) for name, of in error.items()}
    plain, lecture, fista, constant = slopes.values()
    bounds = {
        "L D²/(2k)": L * D / (2 * k),
        "10 L D²/(k+4)²": 10 * L * D / (k + 4) ** 2,
        "2 L D²/(k+1)²": 2 * L * D / (k + 1) ** 2,
    }
    claims = [
        below("bound L D²/(2k), gradient descent", error["gradient descent"], bounds["L D²/(2k)"]),
        within("slope, gradient descent", plain, -1, 0.15),
        below("bound 10 L D²/(k+4)², Nesterov", error["Nesterov, (k+2)/(k+5)"], bounds["10 L D²/(k+4)²"]),
        Claim(
            "slope, Nesterov, (k+2)/(k+5)", f"{lecture:.2f}", "-2.2 to -1.7", -2.2 <= lecture <= -1.7 and lecture <= plain - 0.7
        ),
        below("bound 2 L D²/(k+1)², FISTA", error["Nesterov, FISTA"], bounds["2 L D²/(k+1)²"]),
        Claim("slope, Nesterov, FISTA", f"{fista:.2f}", "-2.2 to -1.7", -2.2 <= fista <= -1.7),
        Claim("control: no 1/k² with a constant μ = 0.9", f"{constant:.2f}", "above -1.3", constant > -1.3),
    ]
    curves = [Curve(name, k, of) for name, of in error.items()]
    curves += [Curve(name, k, of, theory=True) for name, of in bounds.items()]
    return Shown("accelerated", "Gradient descent and Nesterov, convex", curves, claims)


def without_minimum() -> Shown:
    """Logistic regression on separable data: f* = 0 lies at infinity, so the bound is the least over all comparison points."""
    problem, k = problems.separable(), looks(2000)
    L = problem.smoothness
    plain, fast = (values(problem, load(name)(1 / L), k) for name in ("sgd", "nesterov"))
    ray = descend(load("nesterov")(1 / L), np.zeros(5), lambda x, _: problem.gradient(x), np.array([20_000.0]))[0]
    lengths = np.geomspace(0.1, 100, 200)
    along = np.array([float(problem.value(tf.constant(ray / np.linalg.norm(ray) * length))) for length in lengths])
    bounds = [np.min(along + weight[:, None] * lengths**2, axis=1) for weight in (L / (2 * k), 10 * L / (k + 4) ** 2)]
    claims = [
        below("bound min_u f(u) + L‖u‖²/(2k), gradient descent", plain, bounds[0]),
        below("bound min_u f(u) + 10 L‖u‖²/(k+4)², Nesterov", fast, bounds[1]),
    ]
    curves = [Curve("gradient descent", k, plain), Curve("Nesterov, (k+2)/(k+5)", k, fast)]
    curves += [Curve("bound, gradient descent", k, bounds[0], theory=True), Curve("bound, Nesterov", k, bounds[1], theory=True)]
    return Shown("separable", "Logistic regression, iris (setosa against the rest)", curves, claims)


# Stochastic gradients ------------------------------------------------------------


def drawn(rows: int, steps: int, lanes: int) -> Tensor:
    """Which row each lane sees at each step, [steps, lanes], with replacement."""
    return tf.constant(np.random.default_rng(3).integers(rows, size=(steps, lanes), dtype=np.int32))


def stochastic(problem: Any, rule: Any, start: Array, k: Array) -> Array:
    """The points of all lanes after the steps `k`, [len(k), K, d]."""
    rows_TK = drawn(len(problem.A if isinstance(problem, problems.LeastSquares) else problem.margins), int(k[-1]), rule.lanes)
    return descend(rule, np.tile(start, (rule.lanes, 1)), lambda x, step: problem.row_gradient(x, rows_TK[step]), k)


def diminishing_steps() -> Shown:
    """SGD with β/(k+γ): E Δ²_k ≤ ν/(k+γ) where β > 1/(2μ), and 1/k is lost where it is not."""
    problem, k, start = problems.noisy_rows(), looks(STEPS), np.zeros(5)
    mu, L = problem.eigenvalues[0], problem.eigenvalues[-1]
    curves, claims = [], []
    for product in (2.0, 1.0, 0.25):
        beta = product / mu
        gamma = max(2 * beta * mu, beta * problem.steepest) - 1
        rate = InverseTime(beta / (1 + gamma), 1, gamma=gamma)
        points = stochastic(problem, load("sgd")(rate, lanes=SEEDS), start, k)
        distance = problem.distance(points)
        late = k > 10 * gamma
        ends, name = interval(k[late] + gamma, problem.gap(points)[late]), f"βμ = {product:g}"
        curves.append(Curve(f"E f(x^k) - f*, {name}", k, problem.gap(points).mean(1)))
        if product < 0.5:
            claims.append(
                Claim(f"control: slower than 1/k, {name}", f"{ends[0]:.2f} to {ends[1]:.2f}", "above -0.8", ends[0] > -0.8)
            )
            continue
        M = float(problem.square_gradient(points).mean(1).max())
        first = float(problem.distance(start))
        nu = max(beta**2 * M / (2 * beta * mu - 1), (gamma + 1) * first)
        claims += [
            below(f"bound E Δ²_k ≤ ν/(k+γ), {name}", distance.mean(1), nu / (k + gamma)),
            in_band(f"slope, {name}", ends, -1, 0.15),
        ]
        curves.append(Curve(f"bound L ν/(2(k+γ)), {name}", k, L * nu / (2 * (k + gamma)), theory=True))
    return Shown("sgd", "SGD with β/(k+γ), least squares", curves, claims)


def fixed_steps() -> Shown:
    """SGD with a fixed step stays at a noise floor in proportion to the step."""
    problem, k, start = problems.noisy_rows(), looks(STEPS), np.zeros(5)
    curves, floors = [], []
    for share in (0.2, 0.1, 0.05):
        points = stochastic(problem, load("sgd")(share / problem.steepest, lanes=SEEDS), start, k)
        error = problem.gap(points).mean(1)
        curves.append(Curve(f"α = {share:g}/L", k, error))
        floors.append(float(error[k > STEPS / 4].mean()))
    ratios = [floors[0] / floors[1], floors[1] / floors[2]]
    claims = [
        Claim(f"floor(α)/floor(α/2), {name}", f"{ratio:.2f}", "2 ± 0.25", abs(ratio - 2) <= 0.25)
        for name, ratio in zip(("α = 0.2/L", "α = 0.1/L"), ratios, strict=True)
    ]
    return Shown("fixed-steps", "SGD with a fixed step, least squares", curves, claims)


def absolute_value() -> Shown:
    """The stochastic subgradient method with c/√k on |x| under unit noise: 1/√k for the last iterate and for the averages."""
    k, lanes, start = looks(10_000), 2000, np.ones((2000, 1))
    noise_TK = tf.constant(np.random.default_rng(4).normal(size=(int(k[-1]), lanes, 1)))
    ways = {
        "last iterate": load("sgd")(InverseSqrt(1.0, 1), lanes=lanes),
        "average of Polyak and Ruppert": load("averaged:sgd")(InverseSqrt(1.0, 1), lanes=lanes),
        "average weighted by the step": load("averaged:sgd")(InverseSqrt(1.0, 1), rate_power=1.0, lanes=lanes),
        "last iterate, fixed step": load("sgd")(0.1, lanes=lanes),
    }
    curves, claims, shown = [], [], k >= 100
    for name, rule in ways.items():
        error = np.abs(descend(rule, start, lambda x, step: tf.sign(x) + noise_TK[step], k)[..., 0])
        curves.append(Curve(f"E |x|, {name}", k, error.mean(1)))
        ends = interval(k[shown], error[shown])
        if "fixed" in name:
            claims.append(
                Claim("control: no rate with a fixed step", f"{ends[0]:.2f} to {ends[1]:.2f}", "above -0.2", ends[0] > -0.2)
            )
        elif "Ruppert" in name:  # faster than the theorem: around its kink |x| with noise is a smooth function
            claims.append(Claim(f"slope, {name}", f"{ends[0]:.2f} to {ends[1]:.2f}", "-0.43 or less", ends[1] <= -0.43))
        else:
            claims.append(in_band(f"slope, {name}", ends, -0.5, 0.07))
    curves.append(Curve("1/√k", k, 1 / np.sqrt(k), theory=True))
    return Shown("subgradient", "Stochastic subgradient with c/√k, |x| and noise", curves, claims)


def support_vector_machine() -> Shown:
    """The same method on the hinge loss: (D² + G² Σα²)/(2 Σα) bounds the gap of the average weighted by the step."""
    problem, k, lanes = problems.support_vectors(), looks(STEPS), 100
    (solution, least), G2 = problem.optimum, float(np.max(np.sum(problem.margins**2, axis=1)))
    c = float(np.linalg.norm(solution) / np.sqrt(G2))
    rule = load("averaged:sgd")(InverseSqrt(c, 1), rate_power=1.0, lanes=lanes)
    points = stochastic(problem, rule, np.zeros(len(solution)), k)
    gap = np.array([problem.value(x).mean() for x in points]) - least
    rates = c / np.sqrt(np.arange(1, STEPS + 1))
    sums = [np.cumsum(of)[k.astype(int) - 1] for of in (rates, rates**2)]
    bound = (np.sum(solution**2) + G2 * sums[1]) / (2 * sums[0])
    claims = [below("bound (D² + G² Σα²)/(2 Σα), weighted average", gap, bound)]
    curves = [Curve("E f(x̄) - f*", k, gap), Curve("bound", k, bound, theory=True)]
    return Shown("svm", "Stochastic subgradient, support vector machine, breast cancer", curves, claims)


def variance_reduction() -> Shown:
    """SVRG contracts once an epoch by ρ = 1/(μα(1-2Lα)m) + 2Lα/(1-2Lα) or faster; SGD at the same step stays at its floor."""
    curves, claims = [], []
    for ridge, epochs in ((0.1, 8), (0.01, 10)):
        problem, name = problems.tumours(ridge), f"λ = {ridge:g}"
        N, rate = len(problem.margins), 0.1 / problem.steepest
        m, k = 2 * N, np.arange(epochs + 1.0)
        reduced, plain = (epoch_gaps(problem, rule, epochs, m) for rule in (load("svrg:sgd")(rate), load("sgd")(rate)))
        seen = reduced > 1e-13
        ratio = float((reduced[seen][-1] / reduced[0]) ** (1 / (seen.sum() - 1)))
        bound = 1 / (ridge * rate * (1 - 0.2) * m) + 0.2 / (1 - 0.2)
        fit = np.corrcoef(k[seen], np.log(reduced[seen]))[0, 1] ** 2
        higher = plain[-1] / reduced[seen][-1]
        claims += [
            Claim(f"contraction of an epoch, {name}", f"{ratio:.4f}", f"{bound:.3f} or less", ratio <= bound),
            Claim(f"linear: R² of log gap against epoch, {name}", f"{fit:.3f}", "0.98 or more", fit >= 0.98),
            Claim(f"control: SGD ends higher, {name}", f"{higher:.0e} times", "1000 or more", higher >= 1e3),
        ]
        curves += [Curve(f"SVRG, {name}", k, reduced), Curve(f"SGD, {name}", k, plain)]
        curves.append(Curve(f"bound, {name}", k, reduced[0] * bound**k, theory=True))
    return Shown("svrg", "SVRG, logistic regression, breast cancer", curves, claims, x="epoch of 2N steps", linear=True)


def row_memory() -> Shown:
    """SAG and SAGA contract in N steps by (1 - 1/(8N))^N and (1 - 1/(4N))^N or faster, where N is large against L/μ.

    Early and late: a rate that is less than linear slows down. The theorems have the penalty inside each row's function; here its
    gradient is exact, which is no worse. Means over paths.
    """
    curves, claims, epochs, paths = [], [], 24, 20
    for ridge in (0.1, 0.01):
        problem, k = problems.tumours(ridge), np.arange(epochs + 1.0)
        N, L = len(problem.margins), problem.steepest
        plain = epoch_gaps(problem, load("sgd")(1 / (3 * L)), epochs, N, paths)
        curves.append(Curve(f"SGD, λ = {ridge:g}", k, plain))
        ways = [("sag", 16 * L, min(ridge / (16 * L), 1 / (8 * N))), ("saga", 3 * L, min(ridge / (3 * L), 1 / (4 * N)))]
        for method, inverse, least in ways:
            name = f"{method.upper()}, λ = {ridge:g}"
            gap = epoch_gaps(problem, load(method)(1 / inverse), epochs, N, paths)
            last = int(np.sum(gap > 1e-13)) - 1
            middle, bound, higher = last // 2, (1 - least) ** N, plain[last] / gap[last]
            for part, begin, end in (("first", 0, middle), ("second", middle, last)):
                ratio = float((gap[end] / gap[begin]) ** (1 / (end - begin)))
                told = f"contraction of an epoch, {part} half, {name}"
                claims.append(Claim(told, f"{ratio:.4f}", f"{bound:.3f} or less", ratio <= bound))
            claims.append(Claim(f"control: SGD ends higher, {name}", f"{higher:.0e} times", "1000 or more", higher >= 1e3))
            curves += [Curve(name, k, gap), Curve(f"bound, {name}", k, gap[0] * bound**k, theory=True)]
    title = "SAG and SAGA, logistic regression, breast cancer"
    return Shown("row-memory", title, curves, claims, x="epoch of N steps", linear=True)


def epoch_gaps(problem: problems.Logistic, rule: Any, epochs: int, m: int, paths: int = 1) -> Array:
    """f - f* at the start and after every epoch of `m` steps with single rows, drawn with replacement; 1e-17 for less.

    The mean over so many `paths` with other rows.
    """
    x = keras.Variable(np.zeros(problem.margins.shape[1]), dtype="float64")
    rule.build([x])
    if "linear_model" in rule.row.requires:
        rule.remember(len(problem.margins), 1)
    rows = drawn(len(problem.margins), paths * epochs * m, 1)

    @tf.function(jit_compile=True)
    def epoch(begin: Tensor) -> None:
        if "snapshot" in rule.row.requires:
            rule.take_snapshot([x], [problem.gradient(x.value)])

        def step(number: Tensor) -> tuple[Tensor]:
            if "closure" in rule.row.requires:
                rule.descend(Closure(lambda: (problem.value(x.value, rows[number]), ()), [x]), [x])
            elif "linear_model" in rule.row.requires:
                rule.descend(problem.rows_at(tf.identity(x.value), rows[number]), [x])
            else:
                rule.apply([problem.gradient(x.value, rows[number])], [x])
            return (number + 1,)

        tf.while_loop(lambda number: number < begin + m, step, (begin,))

    gaps = np.zeros((paths, epochs + 1))
    for path in range(paths):
        rule.reset()
        x.assign(tf.zeros_like(x.value))
        for number in range(epochs + 1):
            gaps[path, number] = float(problem.value(x.value)) - problem.least
            if number < epochs:
                epoch(tf.constant((path * epochs + number) * m))
    return np.maximum(gaps.mean(axis=0), 1e-17)


def line_search() -> Shown:
    """Armijo's rule: every step decreases f enough, none is shorter than min(α₀, 2b(1-c)/L), and the evaluations are counted."""
    problem, first, last = problems.tumours(1e-3), 1024.0, 60
    b, c = 0.5, 1e-4
    rule = load("armijo")(first, backtrack=b, decrease=c)
    x = keras.Variable(np.zeros(problem.margins.shape[1]), dtype="float64")
    rule.build([x])
    kept, steps, gaps = [], [], []
    for _ in range(last):
        before, gradient = float(problem.value(x.value)), problem.gradient(x.value).numpy()
        rule.descend(Closure(lambda: (problem.value(x.value), ()), [x]), [x])
        after = float(problem.value(x.value))
        kept.append((before - after) / (rule.step * float(gradient @ gradient)))
        steps.append(rule.step)
        gaps.append(after - problem.least)
    k, least = np.arange(1.0, last + 1), min(first, 2 * b * (1 - c) / problem.smoothness)
    each = rule.evaluations / last
    claims = [
        Claim("least decrease of a step, in units of α‖∇f‖²", f"{min(kept):.3f}", f"{c:g} or more", min(kept) >= c),
        Claim("shortest accepted step", f"{min(steps):.2f}", f"{least:.2f} or more", min(steps) >= least),
        Claim("evaluations a step, that of the gradient included", f"{each:.2f}", "4 or less", each <= 4),
    ]
    plain = values(problem, load("sgd")(1 / problem.smoothness), k) - problem.least
    curves = [Curve("Armijo", k, np.array(gaps)), Curve("fixed step 1/L", k, plain)]
    return Shown("line-search", "Gradient descent with Armijo's rule, logistic regression, breast cancer", curves, claims)


def report(shown: Shown) -> Iterator[str]:
    """A table of claims."""
    yield shown.title
    for claim in shown.claims:
        yield f"  {claim.name:58} {claim.found:>24}   wanted {claim.wanted:22} {'pass' if claim.holds else 'SHORT'}"
    yield ""


def draw(shown: Shown, folder: Path) -> None:
    """Write `<name>.png`."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for curve in shown.curves:
        axes.plot(curve.k, curve.error, "--" if curve.theory else "-", lw=1.2 if curve.theory else 1.8, label=curve.label)
    axes.set(title=shown.title, xlabel=shown.x, ylabel="error", yscale="log", xscale="linear" if shown.linear else "log")
    axes.grid(color="#dde1e6", lw=0.6)
    axes.legend(fontsize=8)
    figure.savefig(folder / f"{shown.name}.png", dpi=120)


EXPERIMENTS = (
    linear_rate,
    sublinear_rates,
    without_minimum,
    line_search,
    diminishing_steps,
    fixed_steps,
    absolute_value,
    support_vector_machine,
    variance_reduction,
    row_memory,
)


def main(folder: Path) -> None:
    """All experiments."""
    keras.config.set_floatx("float64")
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{describe()}\n")
    held = []
    for experiment in EXPERIMENTS:
        shown = experiment()
        print("\n".join(report(shown)), flush=True)
        draw(shown, folder)
        held += [claim.holds for claim in shown.claims]
    print(f"{sum(held)} of {len(held)} hold")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/results/convergence"))
