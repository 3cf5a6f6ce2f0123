"""The table of optimizers: rows, wrapped rows, names, and the classes behind them."""

import subprocess
import sys
from pathlib import Path

import pytest

from optimizers import ALIASES, OPTIMIZERS, WRAPPERS, find, load
from optimizers.base import Rule
from optimizers.closure import ClosureRule

ROOT = Path(__file__).parents[1]
PLAIN = [name for name, row in OPTIMIZERS.items() if row.requires == {"gradient"}]


def test_the_table_loads_without_keras():
    code = "import sys, optimizers; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


EVERY = [*OPTIMIZERS, *ALIASES, *(f"{wrapper}:{method}" for wrapper in WRAPPERS for method in PLAIN)]


@pytest.mark.parametrize("name", EVERY)
def test_row_and_class_agree(name):
    row, rule = find(name), load(name)
    assert issubclass(rule, ClosureRule if "closure" in row.requires else Rule)
    assert rule is load(name)
    assert rule.row is row is find(name)
    for hyper, (default, low, high, log, _, allowed) in row.numbers.items():
        assert all(map(allowed.holds, (low, high, low if default is None else default))), hyper
        assert low < high, hyper
        assert default is None or low <= default <= high, hyper
        assert not log or low > 0, hyper


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no optimizer is called 'adm'; there are sgd, momentum"):
        load("adm")
    with pytest.raises(ValueError, match=r"no optimizer is called 'behind:adam'; there are sgd, .*, lookahead:<method>"):
        load("behind:adam")


def test_a_wrapped_class_is_made_once_of_both():
    made = load("lookahead:adam")
    assert made is load("lookahead:adam")
    assert made.__name__ == "LookaheadAdam"
    assert issubclass(made, load("adam"))
    assert set(find("lookahead:adam").hyper) == {*OPTIMIZERS["adam"].hyper, "every", "pull"}
    assert list(made.slots) == [*load("adam").slots, "lead"]
    with pytest.raises(ValueError, match="gradients only; nesterov requires eval_swap and gradient"):
        load("lookahead:nesterov")


def test_a_wrapped_row_is_made_of_two():
    row, inside = find("svrg:adam"), OPTIMIZERS["adam"]
    assert (row.name, row.learning_rate, row.requires) == ("svrg:adam", inside.learning_rate, {"closure", "snapshot"})
    assert row.hyper == {**inside.hyper, **WRAPPERS["svrg"].hyper}
    assert "Johnson and Zhang 2013" in row.source
    assert inside.source in row.source
    assert (load("svrg:adam").__name__, load("sam:adam").__name__) == ("SVRGAdam", "SAMAdam")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sam:adm", "no optimizer is called 'sam:adm'; there are sgd, .*; and sam:<method>, svrg:<method>"),
        ("sma:adam", "no optimizer is called 'sma:adam'"),
        ("adam:", "no optimizer is called 'adam:'"),
        ("sam:", "no optimizer is called 'sam:'"),
        ("sam:sam:adam", "no optimizer is called 'sam:sam:adam'"),
        ("sam:nesterov", "sam goes around a method that needs gradients only; nesterov requires eval_swap and gradient"),
        ("svrg:armijo", "svrg goes around a method that needs gradients only; armijo requires closure and full_batch"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name, says):
    for ask in (find, load):
        with pytest.raises(ValueError, match=says):
            ask(name)
