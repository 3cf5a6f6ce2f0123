"""Rules of whole weights, which see a matrix as one, equal the papers' formulas in float64, with a copy of each point.

50 steps; gradients from 1e-6 to 1e3; equal to 1e-10 after every step.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, load, load_schedule

pytestmark = pytest.mark.usefixtures("double_precision")
STEPS = 50
START, STIFFNESS = np.linspace(-2.0, 2.0, 40), np.geomspace(0.1, 10.0, 40)
SHAPES = [(5, 5), (2, 1, 2, 3), (6,), (4, 3), (3, 4)]


def starts():
    rng = np.random.default_rng(5)
    return [rng.normal(size=shape) for shape in SHAPES]


def matrix_gradients(*, one_size=False):
    """Each number of its own size, 1e-6 to 1e3; with `one_size` all numbers of a step of one size."""
    rng = np.random.default_rng(6)
    sizes = 10.0 ** rng.uniform(-6, 3, STEPS)
    return [
        [rng.normal(size=shape) * (size if one_size else 10.0 ** rng.uniform(-6, 3, shape)) for shape in SHAPES] for size in sizes
    ]


def ours_on_matrices(optimizer, steps):
    """The points of all weights to be evaluated, after every step."""
    variables, path = [keras.Variable(start, dtype="float64") for start in starts()], []
    for grads in steps:
        optimizer.apply([tf.constant(g) for g in grads], variables)
        optimizer.swap_to_evaluation()
        path.append([x.numpy() for x in variables])
        optimizer.swap_to_training()
    return path


def assert_equal_paths(path, expected):
    for step, ours_then in enumerate(path):
        for ours_now, theirs in zip(ours_then, expected[step], strict=True):
            np.testing.assert_allclose(ours_now, theirs, rtol=1e-10, atol=1e-10, err_msg=f"step {step + 1}")


def averages_by_defazio(directions, rates, beta, power, decay):
    """x after every step; `directions` gives a weight's direction of step k from its gradients of all steps."""
    paths = []
    for index, start in enumerate(starts()):
        x, z, total, largest, path = start.copy(), start.copy(), 0.0, 0.0, []
        for k, rate in enumerate(rates, start=1):
            y = (1 - beta) * z + beta * x
            z = z - rate * (directions(index, k) + decay * y)
            largest = max(largest, rate)
            weight = k**power * largest**2
            total += weight
            x = (1 - weight / total) * x + weight / total * z
            path.append(x)
        paths.append(path)
    return list(zip(*paths, strict=True))


def warm_rates(rate):
    return [rate * min(k / 10, 1.0) * (1 + np.cos(np.pi * max(k - 11, 0) / 40)) / 2 for k in range(1, STEPS + 1)]


@pytest.mark.parametrize(("beta", "power", "decay"), [(0.9, 0.0, 0.0), (0.6, 1.5, 0.1), (1.0, 0.0, 0.1), (0.0, 2.0, 0.0)])
def test_schedule_free_sgd_equals_defazio(beta, power, decay):
    schedule = load_schedule("cosine")(0.1, STEPS, warmup=0.2)
    optimizer = load("schedule_free_sgd")(schedule, momentum=beta, averaging_power=power, weight_decay=decay)
    steps = matrix_gradients()
    expected = averages_by_defazio(lambda index, k: steps[k - 1][index], warm_rates(0.1), beta, power, decay)
    assert_equal_paths(ours_on_matrices(optimizer, steps), expected)


@pytest.mark.parametrize(("beta", "power", "decay"), [(0.9, 0.0, 0.004), (0.6, 1.5, 0.1)])
def test_schedule_free_adamw_equals_defazio(beta, power, decay):
    beta_2, epsilon = 0.99, 1e-8
    schedule = load_schedule("cosine")(0.01, STEPS, warmup=0.2)
    options = {"beta_1": beta, "beta_2": beta_2, "averaging_power": power, "weight_decay": decay}
    steps = matrix_gradients()

    def direction(index, k):
        v = sum((1 - beta_2) * beta_2 ** (k - i) * steps[i - 1][index] ** 2 for i in range(1, k + 1))
        return steps[k - 1][index] / (np.sqrt(v / (1 - beta_2**k)) + epsilon)

    expected = averages_by_defazio(direction, warm_rates(0.01), beta, power, decay)
    assert_equal_paths(ours_on_matrices(load("schedule_free_adamw")(schedule, **options), steps), expected)


def test_schedule_free_takes_its_gradient_at_y_and_a_changed_momentum_moves_y_only():
    optimizer, variable = load("schedule_free_sgd")(0.05), keras.Variable(START, dtype="float64")
    x, z = START.copy(), START.copy()
    for k in range(1, STEPS + 1):
        beta = 0.9 if k <= 20 else 0.5
        np.testing.assert_allclose(variable.numpy(), (1 - beta) * z + beta * x, rtol=1e-10, atol=1e-13)
        z = z - 0.05 * STIFFNESS * ((1 - beta) * z + beta * x)
        x = (1 - 1 / k) * x + z / k
        optimizer.set_hyper("momentum", 0.9 if k < 20 else 0.5)
        optimizer.apply([STIFFNESS * variable.value], [variable])
    optimizer.swap_to_evaluation()
    np.testing.assert_allclose(variable.numpy(), x, rtol=1e-10, atol=1e-13)


def prodigy_by_mishchenko(steps, rate, d0, d_coef, decay):
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8
    x, x0, d, r, path = starts(), starts(), d0, 0.0, []
    m, v, s = ([np.zeros(shape) for shape in SHAPES] for _ in range(3))
    for grads in steps:
        product = sum(np.sum(g * (a - b)) for g, a, b in zip(grads, x0, x, strict=True))
        m = [beta_1 * a + (1 - beta_1) * d * g for a, g in zip(m, grads, strict=True)]
        v = [beta_2 * a + (1 - beta_2) * d**2 * g**2 for a, g in zip(v, grads, strict=True)]
        r = np.sqrt(beta_2) * r + (1 - np.sqrt(beta_2)) * rate * d**2 * product
        s = [np.sqrt(beta_2) * a + (1 - np.sqrt(beta_2)) * rate * d**2 * g for a, g in zip(s, grads, strict=True)]
        x = [w - rate * d * (a / (np.sqrt(b) + d * epsilon) + decay * w) for w, a, b in zip(x, m, v, strict=True)]
        d = max(d, d_coef * r / sum(np.abs(a).sum() for a in s))
        path.append(x)
    return path, d


@pytest.mark.parametrize(("rate", "d0", "d_coef", "decay"), [(1.0, 1e-6, 1.0, 0.0), (0.5, 1e-2, 0.5, 0.1)])
def test_prodigy_equals_mishchenko_and_its_d_grows(rate, d0, d_coef, decay):
    steps = [[np.abs(g) for g in grads] for grads in matrix_gradients()]
    expected, d = prodigy_by_mishchenko(steps, rate, d0, d_coef, decay)
    optimizer = load("prodigy")(rate, d0=d0, d_coef=d_coef, weight_decay=decay)
    assert_equal_paths(ours_on_matrices(optimizer, steps), expected)
    np.testing.assert_allclose(float(optimizer._carried["d"]), d, rtol=1e-10)
    assert d > 2 * d0


def adam_step(g, m, v, k, beta_1, beta_2, epsilon=1e-8):
    """Adam's next averages, and its step without the rate."""
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    return m, v, m / (1 - beta_1**k) / (np.sqrt(v / (1 - beta_2**k)) + epsilon)


def newton_schulz_by_jordan(matrix):
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon_by_jordan(steps, adam, rate=1e-3, momentum=0.95, decay=0.004):
    """The weights whose index is in `adam` by AdamW."""
    x, path = starts(), []
    m, v = [np.zeros(shape) for shape in SHAPES], [np.zeros(shape) for shape in SHAPES]
    for k, grads in enumerate(steps, start=1):
        for i, g in enumerate(grads):
            if i in adam:
                m[i], v[i], step = adam_step(g, m[i], v[i], k, 0.9, 0.999)
            else:
                m[i] = momentum * m[i] + g
                update = (g + momentum * m[i]).reshape(-1, g.shape[-1])
                step = 0.2 * max(update.shape) ** 0.5 * newton_schulz_by_jordan(update).reshape(g.shape)
            x[i] = x[i] - rate * (step + decay * x[i])
        path.append(list(x))
    return path


@pytest.mark.parametrize(("exclude", "adam"), [(None, {2, 4}), ((), {2}), (("variable",), {0, 1, 2, 3, 4})])
def test_muon_equals_jordan(exclude, adam):
    optimizer = load("muon")(exclude=exclude)
    assert_equal_paths(ours_on_matrices(optimizer, matrix_gradients()), muon_by_jordan(matrix_gradients(), adam))
    matrices = [len(slot.shape) == 0 for slot in optimizer._slots["mean_square"]]
    assert matrices == [i not in adam for i in range(len(SHAPES))]


def test_muon_on_a_matrix_is_keras_muon():
    x, y = (keras.Variable(starts()[3], dtype="float64") for _ in range(2))
    peer, optimizer = keras.optimizers.Muon(), load("muon")()
    for grads in matrix_gradients():
        optimizer.apply([tf.constant(grads[3])], [x])
        peer.apply([tf.constant(grads[3])], [y])
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)


def soap_by_vyas(steps, frequency, longest, rate=3e-3, beta_1=0.95, beta_2=0.95, decay=0.01):
    path = []
    for index, start in enumerate(starts()):
        x = start.reshape(-1, start.shape[-1])
        grads = [step[index].reshape(x.shape) for step in steps]
        matrix, (n, m) = start.ndim >= 2, x.shape
        left, right = matrix and n <= longest, matrix and m <= longest
        mean, square, points = np.zeros(x.shape), np.zeros(x.shape), []
        statistics, bases = [np.zeros((n, n)), np.zeros((m, m))], [np.eye(n), np.eye(m)]
        for k, g in enumerate(grads, start=1):
            x = x * (1 - rate * decay)
            preconditioned = left or right
            if not preconditioned or k > 1:
                q_left, q_right = bases
                done = k - 1 if preconditioned else k
                mean = beta_1 * mean + (1 - beta_1) * g
                square = beta_2 * square + (1 - beta_2) * (q_left.T @ g @ q_right) ** 2
                hat = q_left.T @ mean @ q_right / (1 - beta_1**done)
                x = x - rate * q_left @ (hat / (np.sqrt(square / (1 - beta_2**done)) + 1e-8)) @ q_right.T
            for side, (kept, outer) in enumerate([(left, g @ g.T), (right, g.T @ g)]):
                statistics[side] = beta_2 * statistics[side] + (1 - beta_2) * outer
                if kept and k == 1:
                    bases[side] = np.linalg.eigh(statistics[side])[1][:, ::-1]
                elif kept and (k - 1) % frequency == 0:
                    bases[side] = np.linalg.qr(statistics[side] @ bases[side])[0]
            points.append(x.reshape(start.shape))
        path.append(points)
    return list(zip(*path, strict=True))


@pytest.mark.parametrize(("frequency", "longest"), [(10, 1024), (3, 1024), (1, 3), (10, 4), (10, 0)])
def test_soap_equals_vyas(frequency, longest):
    steps = matrix_gradients(one_size=True)
    optimizer = load("soap")(precondition_frequency=frequency, max_precond_dim=longest)
    assert_equal_paths(ours_on_matrices(optimizer, steps), soap_by_vyas(steps, frequency, longest))


@pytest.mark.parametrize("longest", [1024, 3])
def test_the_first_step_of_soap_moves_a_matrix_by_decay_alone(longest):
    optimizer = load("soap")(max_precond_dim=longest)
    for start, x in zip(starts(), ours_on_matrices(optimizer, matrix_gradients()[:1])[0], strict=True):
        moved = not np.allclose(x, start * (1 - 3e-3 * 0.01), rtol=1e-14, atol=0)
        assert moved == (start.ndim < 2 or min(start.size // start.shape[-1], start.shape[-1]) > longest)


def lookahead_by_zhang(steps, every, pull, rate=1e-3, decay=0.1):
    slow, fast, path = starts(), starts(), []
    m, v = [np.zeros(shape) for shape in SHAPES], [np.zeros(shape) for shape in SHAPES]
    for k, grads in enumerate(steps, start=1):
        for i, g in enumerate(grads):
            m[i], v[i], step = adam_step(g, m[i], v[i], k, 0.9, 0.999)
            fast[i] = fast[i] - rate * (step + decay * fast[i])
            if k % every == 0:
                slow[i] = slow[i] + pull * (fast[i] - slow[i])
                fast[i] = slow[i]
        path.append(list(slow))
    return path


@pytest.mark.parametrize(("every", "pull"), [(6, 0.5), (5, 0.8), (1, 0.3)])
def test_lookahead_around_adam_equals_zhang(every, pull):
    path = ours_on_matrices(load("lookahead:adam")(every=every, pull=pull, weight_decay=0.1), matrix_gradients())
    assert_equal_paths(path, lookahead_by_zhang(matrix_gradients(), every, pull))


@pytest.mark.parametrize("method", [name for name, row in OPTIMIZERS.items() if row.requires == {"gradient"}])
def test_lookahead_that_never_looks_back_is_the_rule_itself(method):
    optimizer, alone = load(f"lookahead:{method}")(every=1, pull=1.0, weight_decay=0.1), load(method)(weight_decay=0.1)
    steps = matrix_gradients(one_size=True)[:20]
    assert_equal_paths(ours_on_matrices(optimizer, steps), ours_on_matrices(alone, steps))
