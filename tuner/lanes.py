"""The engine for many trials at a time: packs of K lanes, each pack one compiled graph, each lane equal to its trial alone.

Shapes: K lanes, N training rows, V validation rows, B batch, T steps of an epoch, C outputs of the network. Every weight, slot,
statistic and hyper-parameter has the lanes as its first axis, and nothing is ever summed across it, so a lane cannot tell who is
beside it.

A pack's loss is the sum over lanes of each lane's mean over its batch: a mean over lanes would divide every gradient by K. The
order of the rows is a function of (study seed, epoch), as alone. Where nothing is pruned all lanes of a pack begin together and
share each batch, so that the first layer is one wide product; else each lane has the batch of its own epoch.

A lane whose trial has left takes the next trial of the same form (`tuner.packing.Form`) at the end of the epoch, without anything
being compiled.
"""

import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import models
from models.layers import initialise, put, set_hyper
from tuner import checkpoints, rules
from tuner.costs import costs
from tuner.data import Data, order
from tuner.objective import Objective, at_evaluation, precision
from tuner.packing import Form, Packing, lane_values
from tuner.space import Configuration, Space
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Failed, Failure, Params, Trial

ROUNDS, SHARE = 3, 4  # times its lanes that a pack takes in before another form has its turn, in so small a part of the budget
GRAPHS = 32  # packs without a trial that are kept for the next of their form
PARKED = 4  # packs' worth of trials that may be inside
COMPILING, OPERATIONS = 3.0, 3e10  # seconds; a second; both about, on two CPU cores
WON_BACK = 5.0  # times what compiling takes, that the trials of a turn train together
CHUNK = 2048  # rows that are predicted at once, over all lanes


class Lanes:
    """A `tuner.trial.Run` with room for several packs, of which the fullest trains."""

    def __init__(self, spec: StudySpec, data: Data, lanes: int) -> None:
        self._spec, self._data, self.K = spec, data, lanes
        self._space = Space(spec)
        self._packing = Packing(self._space)
        self._study = Objective(spec, data)
        self._aligned = _aligned(spec)
        self._packs: dict[Form, _Pack] = {}
        self._compiler = ThreadPoolExecutor(1, "compiler")
        self._ahead: dict[Form, Future[_Pack]] = {}
        self._waiting: dict[Form, deque[Trial]] = {}
        self._traced: Counter[str] = Counter()
        self._forms: dict[int, Form] = {}
        self._limits: dict[Form, int] = {}
        self._saved: dict[int, Checkpoint] = {}
        self._weights: dict[int, int] = {}
        self._focus: Form | None = None
        self._first: int | None = None
        self._served = self._taken = 0
        self._busy = self._seats = 0

    def __str__(self) -> str:
        share, sizes = 100 * self._busy / max(1, self._seats), sorted({pack.K for pack in self._packs.values()}) or [self.K]
        graphs = f"{self.traces} graph{'s' if self.traces != 1 else ''}"
        return f"packs of {' and '.join(map(str, sizes))} lanes, {share:.1f} % of them busy, {graphs}"

    @property
    def traces(self) -> int:
        """How many functions were traced, and compiled, so far."""
        return self._traced.total()

    @property
    def room(self) -> int:
        """How many trials may be added now: those that fill the pack in focus, or one that decides on the next form."""
        return self._wanted()[0]

    @property
    def like(self) -> int | None:
        """The trial that decided on the form in focus, also when it has left; None when another form has its turn."""
        return self._wanted()[1]

    @property
    def soon(self) -> int:
        """How many more of the form in focus will be taken in; a pack of the next form when it has had its turn."""
        room, like = self._wanted()
        if like is None or self._focus is None:
            return self.K
        return min(self._quota - self._served, self._most(self._focus)) - room

    def _wanted(self) -> tuple[int, int | None]:
        inside = Counter(self._forms.values())
        if self._focus is not None and self._served < self._quota:
            full = any(2 * count > self._most(form) for form, count in inside.items() if form != self._focus)
            missing = max(0, self._most(self._focus) - inside[self._focus])
            return 0 if full else min(missing, self._quota - self._served), self._first
        return int(len(self._forms) <= (PARKED - 1) * self.K), None

    @property
    def _quota(self) -> int:
        """How many trials of the form in focus are taken in before another has its turn.

        A full pack, and as many as win back what compiling its graph costs. Where lanes that are pruned are refilled it is some
        packs' worth, but a search that kept to one form for most of its budget would learn nothing of the others.
        """
        if self._focus is None:
            return self.K
        facts = self._data.facts
        weights = self._packing.weights(self._focus, facts.input_shape, facts.outputs)
        a_trial = self._spec.train.epochs * _seconds(weights, self._study.rows)
        turn = max(self._most(self._focus), min(self.K, math.ceil(WON_BACK * COMPILING / a_trial)))
        return turn if self._aligned else max(turn, min(ROUNDS * turn, self._spec.budget.trials // SHARE))

    def _inside(self, form: Form) -> int:
        """How many trials of a form are inside."""
        return sum(other == form for other in self._forms.values())

    def _most(self, form: Form) -> int:
        """The lanes of a full pack: as many as were asked for, or fit into the cache, or into the memory."""
        if form not in self._limits:
            self._limits[form] = self.K
            if self._spec.train.lanes == "auto":
                self._limits[form] = min(
                    self.K, self._packing.fitting(form, self._data.facts.input_shape, self._data.facts.outputs)
                )
        return self._limits[form]

    def add(self, trial: Trial) -> None:
        """Take a trial in; it begins when a lane is free.

        Raises `BadCheckpoint`, and ValueError for a number that its optimizer does not take; the trial is not inside then.
        """
        rules.check(self._space.configuration(trial.params))
        form = self._packing.form(trial.params)
        if trial.checkpoint is not None:
            checkpoints.read(trial.checkpoint, self._labels(trial, form, trial.checkpoint.epoch))
        if self._wanted()[1] is None:
            self._focus, self._served, self._first = form, 0, trial.number
        self._served, self._taken = self._served + 1, self._taken + 1
        self._forms[trial.number], self._weights[trial.number] = form, self._count(trial.params)
        if trial.checkpoint is not None:
            self._saved[trial.number] = trial.checkpoint
        self._waiting.setdefault(form, deque()).append(trial)

    def advance(self) -> list[Epoch | Failed]:
        """Train the fullest pack for an epoch. A trial that fails is one whose lane alone does not fit into the memory."""
        if not self._forms:
            return []
        inside, dry = Counter(self._forms.values()), self.room > 0
        form = max(inside, key=lambda form: (min(1.0, inside[form] / self._most(form)), form == self._focus))
        try:
            return self._train(form, dry=dry)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            return self._shrunk(form, error) or self.advance()

    def stop(self, number: int) -> None:
        """Let a trial go; its lane is free."""
        form = self._forms.pop(number, None)
        self._saved.pop(number, None)
        self._weights.pop(number, None)
        if form is None:
            return
        if (pack := self._packs.get(form)) is not None:
            pack.leave(number)
        self._waiting[form] = deque(trial for trial in self._waiting[form] if trial.number != number)

    def save(self, number: int, folder: Path) -> Checkpoint | None:
        """Write `<number>-<epoch>.safetensors` durably; None for a trial that has not trained since it came."""
        form = self._forms[number]
        pack = self._packs.get(form)
        if pack is None or (seat := pack.seat_of(number)) is None or not seat.trained:
            return None
        checkpoint = checkpoints.write(folder, self._labels(seat.trial, form, seat.epoch), pack.state(seat.lane))
        self._saved[number] = checkpoint
        return checkpoint

    def _labels(self, trial: Trial, form: Form, epoch: int) -> dict[str, str]:
        return checkpoints.labels(trial.number, epoch, form.signature)

    def _train(self, form: Form, *, dry: bool) -> list[Epoch | Failed]:
        """An epoch of a pack; `dry` says that no trials come that could fill it."""
        begin = time.perf_counter()
        pack = self._pack(form, dry=dry)
        self._seat(form, pack)
        metrics = pack.train()
        share = (time.perf_counter() - begin) / len(metrics)
        self._busy, self._seats = self._busy + len(metrics), self._seats + pack.K
        epochs: list[Epoch | Failed] = []
        for seat, measured in metrics:
            last = seat.epoch == self._spec.train.epochs
            found = self._costs(seat.trial.params) if last else {}
            epochs.append(Epoch(seat.trial.number, seat.epoch, measured, share, self._weights[seat.trial.number], found))
            if last:
                self.stop(seat.trial.number)
        self._compile_ahead()
        return epochs

    def _compile_ahead(self) -> None:
        """Let the next form's pack be compiled while this one trains, if there will be trials for a full one.

        What trains when does not depend on how long it takes.
        """
        form = self._focus
        if form is None or form in self._packs or form in self._ahead:
            return
        inside, lanes = self._inside(form), self._most(form)
        if inside and 2 * (inside + self._spec.budget.trials - self._taken) > lanes:
            self._ahead[form] = self._compiler.submit(self._made, form, lanes, compiled=True)

    def _made(self, form: Form, lanes: int, *, compiled: bool = False) -> "_Pack":
        made = _Pack(form, lanes, self._packing, self._study, self._data, self._traced)
        if compiled:
            made.compile()
        return made

    def _pack(self, form: Form, *, dry: bool) -> "_Pack":
        """The pack of a form.

        A smaller one takes its place when lanes would stay empty for longer than compiling takes, a larger one when there are
        trials for it.
        """
        inside, most = self._inside(form), self._most(form)
        lanes = min(most, 1 << (inside - 1).bit_length()) if dry else most
        pack = self._packs.get(form)
        if pack is not None:
            if lanes < pack.K and pack.wasted(1 - lanes / pack.K, self._spec.train.epochs) < COMPILING:
                return pack
            if lanes == pack.K or inside <= pack.K < lanes or (lanes > pack.K and self._aligned and pack.seated):
                return pack
        made = self._ahead.pop(form).result() if form in self._ahead else self._made(form, lanes)
        if pack is not None and pack.seated:
            made.take_over(pack)
        empty = [other for other, its in self._packs.items() if not its.seated and other != form]
        for other in empty[: max(0, len(empty) - GRAPHS)]:
            del self._packs[other]
        self._packs[form] = made
        return made

    def _shrunk(self, form: Form, error: Exception) -> list[Epoch | Failed]:
        """What memory does not suffice for gets half as many lanes; the trials of all packs go on from where they were saved.

        The trial that fails when there was one lane.
        """
        lanes = self._packs[form].K if form in self._packs else self._most(form)
        for its, pack in self._packs.items():
            saved = (replace(seat.trial, checkpoint=self._saved.get(seat.trial.number)) for seat in pack.seated)
            self._waiting[its].extendleft(saved)
        self._packs.clear()
        self._ahead.clear()
        self._limits[form] = max(1, lanes // 2)
        if lanes > 1:
            return []
        number = self._waiting[form][0].number
        self.stop(number)
        return [Failed(number, Failure.OUT_OF_MEMORY, str(error).strip().splitlines()[0][:500])]

    def _seat(self, form: Form, pack: "_Pack") -> None:
        """Give the free lanes of a pack to trials that wait for them."""
        waiting = self._waiting[form]
        newcomers = list(itertools.islice(waiting, pack.free))
        if self._aligned and newcomers:
            epoch = _begun(newcomers[0]) if pack.epoch is None else pack.epoch
            newcomers = list(itertools.takewhile(lambda trial: _begun(trial) == epoch, newcomers))
        if newcomers:
            pack.take(newcomers, [self._state(trial, form) for trial in newcomers])
        for _ in newcomers:
            waiting.popleft()

    def _state(self, trial: Trial, form: Form) -> dict[str, NDArray[Any]] | None:
        checkpoint = trial.checkpoint
        return checkpoints.read(checkpoint, self._labels(trial, form, checkpoint.epoch)) if checkpoint else None

    def _costs(self, params: Params) -> dict[str, float]:
        """The costs of a trial's network, which has no lanes where it is used."""
        facts, its = self._data.facts, self._space.configuration(params).network
        build = models.load(self._spec.model.name)
        return costs(self._space, params, facts, lambda: build(its, facts.input_shape, facts.outputs))

    def _count(self, params: Params) -> int:
        """Trainable weights of a trial's network, without what its lane is padded with."""
        facts = self._data.facts
        size = self._space.network_size(params, facts.input_shape, facts.outputs, self._study.rows)
        return 0 if size is None else size.parameters


def _seconds(weights: int, rows: int) -> float:
    """What an epoch takes, about: by formula, as by the clock the same study could give other bits the next time."""
    return 6 * weights * rows / OPERATIONS


def _begun(trial: Trial) -> int:
    """The epoch from which a trial goes on."""
    return trial.checkpoint.epoch if trial.checkpoint else 0


def _aligned(spec: StudySpec) -> bool:
    """Whether the trials of a pack are always in the same epoch, and share each batch."""
    return spec.pruner.name == "none"


@dataclass
class _Seat:
    """A trial in its lane; `epoch` is the last that it has finished, `trained` whether it was trained here."""

    lane: int
    trial: Trial
    epoch: int
    trained: bool = False


class _Pack:
    """A network with lanes, its optimizer, their compiled epoch, and who sits where."""

    def __init__(self, form: Form, lanes: int, packing: Packing, study: Objective, data: Data, traced: Counter[str]) -> None:
        self.K, self._form, self._packing, self._study, self._traced = lanes, form, packing, study, traced
        self._seed, self._aligned = packing.space.spec.seed, _aligned(packing.space.spec)
        self._seats: dict[int, _Seat] = {}
        self._read: dict[str, NDArray[Any]] | None = None
        self._steps = study.steps(form.batch_size)
        self._model = self._built(data)
        self._rule = rules.lane_rule(packing.space.configuration({}), form.methods, self._steps, lanes, packing.common)
        self._rule.build(self._model.trainable_variables)
        T = math.ceil(study.rows / form.batch_size)
        shape = [T, form.batch_size] if self._aligned else [T, lanes, form.batch_size]
        jit = packing.space.spec.train.jit
        jit = not packing.space.network.convolutional if jit is None else jit  # type: ignore[union-attr]
        compiled = tf.function(self._epoch, jit_compile=jit, autograph=False)
        self._compiled = compiled.get_concrete_function(tf.TensorSpec(shape, tf.int32), tf.TensorSpec([], tf.int32))
        forget = tf.function(self._rule.reset, autograph=False)
        self._forget = forget.get_concrete_function(tf.TensorSpec([lanes], tf.int32))

    def _built(self, data: Data) -> Any:
        space, varying = self._packing.space, self._packing.varying
        params = {**space.network.defaults(), **dict(self._form.network)}  # type: ignore[union-attr]
        for name, kind in space.network.in_lanes.items():  # type: ignore[union-attr]
            if name in varying and kind == "chosen":
                params[name] = "either" if isinstance(params[name], bool) else self._packing.choices(name)
        build = models.load(space.spec.model.name)
        with precision(space.spec):
            return build(params, data.facts.input_shape, data.facts.outputs, varying, self.K, shared=self._aligned)

    # Who sits where ------------------------------------------------------------

    @property
    def seated(self) -> list[_Seat]:
        """Those who are inside."""
        return list(self._seats.values())

    def wasted(self, share: float, epochs: int) -> float:
        """The seconds, about, that a share of the lanes would cost until all inside have trained so many epochs."""
        weights: int = sum(math.prod(variable.shape) for variable in self._model.trainable_variables)
        return (
            share * _seconds(weights, self._study.rows) * max((epochs - seat.epoch for seat in self._seats.values()), default=0)
        )

    def take_over(self, other: "_Pack") -> None:
        """Let all who are in another pack of the form go on in this one, where they are."""
        seats = other.seated
        self.take([seat.trial for seat in seats], [other.state(seat.lane) for seat in seats])
        for mine, its in zip(self.seated, seats, strict=True):
            mine.epoch, mine.trained = its.epoch, its.trained

    @property
    def free(self) -> int:
        """How many lanes have no trial."""
        return self.K - len(self._seats)

    @property
    def epoch(self) -> int | None:
        """The last epoch of the trials inside, where all have the same; None when there are none."""
        return next(iter(self._seats.values())).epoch if self._seats else None

    def seat_of(self, number: int) -> _Seat | None:
        """Where a trial sits."""
        return next((seat for seat in self._seats.values() if seat.trial.number == number), None)

    def leave(self, number: int) -> None:
        """Free the trial's lane."""
        if (seat := self.seat_of(number)) is not None:
            del self._seats[seat.lane]

    def take(self, trials: Sequence[Trial], states: Sequence[Mapping[str, NDArray[Any]] | None]) -> None:
        """Let trials begin in free lanes, or go on from a state."""
        self._read = None
        lanes = [lane for lane in range(self.K) if lane not in self._seats][: len(trials)]
        configurations = [self._packing.space.configuration(trial.params) for trial in trials]
        self._settle(lanes, configurations)
        params = [{**c.network, **self._packing.widths(c)} for c in configurations]
        initialise(self._model, *(trial.seed for trial in trials), lanes=lanes, params=params)
        self._forget(tf.constant(lanes + lanes[-1:] * (self.K - len(lanes))))
        for lane, trial, state in zip(lanes, trials, states, strict=True):
            if state is not None:
                self._restore(lane, state)
            self._seats[lane] = _Seat(lane, trial, _begun(trial))

    def _settle(self, lanes: Sequence[int], configurations: Sequence[Configuration]) -> None:
        """Set the hyper-parameters of lanes, in the layers and in the optimizer."""
        layers = [lane_values(self._packing, c) for c in configurations]
        set_hyper(self._model, {name: [its[name] for its in layers] for name in layers[0]}, lanes)
        numbers = [rules.lane_numbers(c, self._form.methods, self._steps, self._packing.common) for c in configurations]
        for name in {name for its in numbers for name in its}:
            its = {lane: values[name] for lane, values in zip(lanes, numbers, strict=True) if name in values}
            put(self._rule.variable_of(name), list(its.values()), list(its))

    def state(self, lane: int) -> dict[str, NDArray[Any]]:
        """Every variable of a lane by its place."""
        return {place: np.array(rows[lane]) for place, rows in self._rows.items()}

    @property
    def _rows(self) -> dict[str, NDArray[Any]]:
        """Every variable of all lanes; read once an epoch, however many lanes are saved."""
        if self._read is None:
            self._read = {place: np.asarray(variable.value) for place, variable in self._variables()}
        return self._read

    def _restore(self, lane: int, state: Mapping[str, NDArray[Any]]) -> None:
        variables = dict(self._variables())
        checkpoints.check(state, {place: tuple(variable.shape)[1:] for place, variable in variables.items()})
        for place, variable in variables.items():
            put(variable, state[place][None], [lane])

    def _variables(self) -> Iterator[tuple[str, Any]]:
        for owner, variables in {"model": self._model.variables, "optimizer": self._rule.variables}.items():
            for place, variable in enumerate(variables):
                if variable.shape[:1] == (self.K,):  # all but the optimizer's own count of its steps
                    yield f"{owner}/{place}", variable

    # An epoch ------------------------------------------------------------

    def train(self) -> list[tuple[_Seat, dict[str, float]]]:
        """One epoch for every lane; those with a trial, and what was measured of it."""
        self._read = None
        order = self._order()
        means, predicted = (result.numpy() for result in self._compiled(tf.constant(order), tf.constant(len(order))))
        measured = []
        for lane, seat in sorted(self._seats.items()):
            seat.epoch, seat.trained = seat.epoch + 1, True
            trained = {"loss": float(means[0, lane]), self._study.task.measured: float(means[1, lane])}
            measured.append((seat, {**trained, **self._study.scores(predicted[lane])}))
        return measured

    def _order(self) -> NDArray[np.int32]:
        """The rows of each step, [T, B], or [T, K, B]; the last batch is filled up as it is for a trial alone."""
        N, B = self._study.rows, self._form.batch_size
        epochs = [self._seats[lane].epoch + 1 if lane in self._seats else 1 for lane in range(self.K)]
        known = {epoch: order(N, self._seed, epoch) for epoch in set(epochs)}
        filled = {epoch: np.resize(rows, (math.ceil(N / B), B)) for epoch, rows in known.items()}
        if self._aligned:
            return filled[(self.epoch or 0) + 1]
        return np.stack([filled[epoch] for epoch in epochs], axis=1)

    def compile(self) -> None:
        """What the first epoch would wait for; changes nothing."""
        self._compiled(tf.constant(self._order()), tf.constant(0))

    def _epoch(self, rows: tf.Tensor, T: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The first T steps of one epoch: means over its rows of loss and metric [2, K], and predictions afterwards [K, V, C]."""
        self._traced["epoch"] += 1
        part, share_T = self._study.shares(self._form.batch_size)

        def step(t: tf.Tensor, means: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return t + 1, means + share_T[t] * self._step(rows[t], part[t])

        means = tf.while_loop(lambda t, _: t < T, step, (0, tf.zeros([2, self.K])), parallel_iterations=1)[1]
        return means, self._held_out()

    def _step(self, rows: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        """Update the weights from a batch of `rows` [B] or [K, B]; `part` [B] is each row's in a mean. Loss and metric [2, K]."""
        variables, task = self._model.trainable_variables, self._study.task
        weights = tf.gather(self._study.weights, rows) * part[:, None]
        with tf.GradientTape() as tape:
            out = tf.cast(self._model(self._study.inputs(rows), training=True), tf.float32)
            y = tf.broadcast_to(tf.gather(self._study.y, rows), out.shape[:2])
            losses = tf.reduce_sum(weights[..., 0] * task.losses(y, out), axis=-1) + sum(self._model.losses)
            target = tf.reduce_sum(losses)
        self._rule.apply(tape.gradient(target, variables), variables)
        return tf.stack([losses, tf.reduce_sum(weights[..., 1] * task.measure(y, out), axis=-1)])

    def _held_out(self) -> tf.Tensor:
        """The predictions [K, V, C] at the point to be evaluated; the weights are the old ones afterwards, to the bit."""
        return at_evaluation(self._rule, self._model.trainable_variables, self._predicted)

    def _predicted(self) -> tf.Tensor:
        """The same with the weights as they are; in chunks of one shape when K V is large."""
        V, size = self._study.held_out, max(1, CHUNK // self.K)
        if size >= V:
            return self._predictions(tf.range(V))
        rows_TB = tf.reshape(tf.minimum(tf.range(math.ceil(V / size) * size), V - 1), [-1, size])
        predicted_TKBC = tf.map_fn(self._predictions, rows_TB, fn_output_signature=tf.float32)
        predicted = tf.transpose(predicted_TKBC, (1, 0, 2, 3))
        return tf.reshape(predicted, [self.K, -1, predicted.shape[-1]])[:, :V]

    def _predictions(self, rows: tf.Tensor) -> tf.Tensor:
        x = self._study.inputs(rows, held_out=True)
        x = x if self._aligned else tf.broadcast_to(x, [self.K, *x.shape])
        return self._study.task.predictions(tf.cast(self._model(x, training=False), tf.float32))
