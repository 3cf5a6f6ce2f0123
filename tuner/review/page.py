"""The report: one HTML file that needs nothing else, and PNG files of its plots beside it."""

import html
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from tuner import provenance, verdict
from tuner.dimension import Dimension
from tuner.owners import Folded, folded, is_owned, own, short
from tuner.race import Finalist, Result
from tuner.review import fronts
from tuner.review.choices import Tally, compared, tallies
from tuner.review.choices import own as own_of_choice
from tuner.review.markup import Markup, figure, join, pairs, section, table, tag
from tuner.review.plots import KINDS, Plot, plot, pngs
from tuner.review.results import Ranked, Review, Totals, load, totals
from tuner.review.strips import VALUES
from tuner.spec import Choice, Fixed, FloatRange, IntRange
from tuner.spec.aims import amount
from tuner.store import Row, Store, Study
from tuner.toml import study_file
from tuner.trial import Params, State, Value

LEADERS = 20
FAILURES = 50
CHOICES = 12
NONE = "–"
RANKED = (
    " Nobody is dropped for being worse. The interval of a mean is for that mean alone: of twenty, one misses its truth. Ties "
    "and true places hold for all at once, each with 95 % confidence: the truly best is the winner or a tie, and every true "
    "place lies within its bounds. That is said of these configurations and of the luck of seeds; another search may find better "
    "ones."
)


def report(store: Store, study: Study, folder: Path, each: Callable[..., Iterable[Any]] = map) -> Path:
    """Write `report.html` and `plots/*.png` into the folder; returns the page's path.

    `each` is a `map` for the kinds of plots; one that does not wait draws them while the page is written.
    """
    review = load(store, study)
    # A copy: what the review works out while the page is written might be half done when it is sent.
    drawn = each(partial(pngs, replace(review)), KINDS)
    target = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(render(review, at=store.clock()), encoding="utf-8")
    _write(drawn, folder / "plots")
    return target


def _write(drawn: Iterable[Mapping[str, bytes]], folder: Path) -> None:
    """PNG files of these names, and no others."""
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()
    taken: Counter[str] = Counter()
    for name, content in ((name, content) for plots in drawn for name, content in plots.items()):
        stem = file_name(name)
        taken[stem.lower()] += 1
        again = taken[stem.lower()]
        (folder / f"{stem}{f'-{again}' if again > 1 else ''}.png").write_bytes(content)


def file_name(name: str) -> str:
    """A name that every file system takes: `_` stands where `name` has more than letters, digits, `-`, `_` and `.`."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "study"


def render(review: Review, *, at: float) -> str:
    """The whole page, as of the time `at`."""
    plots = {kind: plot(review, kind) for kind, row in KINDS.items() if row.asked(review)}
    return page(review.study.name, _body(review, plots, at))


def page(title: str, body: Markup) -> str:
    """A page that needs nothing else."""
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), body=body, plotly=get_plotlyjs())


# The sections ------------------------------------------------------------


def _body(review: Review, plots: Mapping[str, Plot], at: float) -> Markup:
    sections = {
        "outcome": ("Outcome", _outcome(review)),
        **({"race": ("Final race", _race(review.study, review.race))} if review.race is not None else {}),
        **({"front": fronts.section(review)} if fronts.asked(review) else {}),
        "trust": ("How far to trust this", _caveats(review)),
        "leaderboard": ("Leaderboard", _leaders(review)),
        **({"choices": ("Choices side by side", _choices(review))} if compared(review) else {}),
        "plots": ("Plots", _plots(review, plots)),
        "space": ("Search space", _space(review)),
        "failures": ("Failures", _failures(review)),
        "making": ("How it was made", _making(review.study)),
    }
    links = (tag("li", tag("a", title, href=f"#{key}")) for key, (title, _) in sections.items())
    contents = tag("nav", tag("ul", *links), aria_label="Contents")
    main = tag("main", *(section(key, title, content) for key, (title, content) in sections.items()))
    footer = tag("footer", tag("p", f"Written {_time(at)} by tuner."))
    return join([tag("header", *_opening(review), contents), main, footer])


def _opening(review: Review) -> Iterator[Markup]:
    spec, rows = review.study.spec, review.rows
    best, searched = ("highest" if spec.objective.maximise else "lowest"), len(review.space.free)
    which = f"{spec.rank} for {spec.model.name}" if spec.rank else spec.model.name
    beside = "".join(f" and the least {name}" for name in spec.objective.further)
    bounds = f", with {' and '.join(map(str, spec.constraints))}" if spec.constraints else ""
    question = f"Which {which} on {spec.data.source} has the {best} {spec.objective.metric}{beside}{bounds}?"
    space = f"Searched: {_count(searched, 'parameter')}{_at_once(review)}"
    yield tag("h1", review.study.name)
    yield tag(
        "p",
        f"{question} {space}, in {_count(len(rows), 'trial')} of up to {_count(spec.train.epochs, 'epoch')}.",
        class_="lead",
    )
    ended = sum(row.state.ended for row in rows)
    if review.study.stopped:
        yield tag("p", f"The study was stopped: {review.study.stopped}.", class_="quiet")
    elif ended < len(rows):
        yield tag("p", f"The study is not over: {ended:,} of {_count(len(rows), 'trial')} have ended.", class_="quiet")


def _at_once(review: Review) -> str:
    """How many of the searched parameters a trial has, where it has not all of them."""
    counts = [len(review.space.free.keys() & row.params) for row in review.rows if row.params]
    if not counts or max(counts) == len(review.space.free):
        return ""
    low, high = min(counts), max(counts)
    return f", of which a trial has {low if low == high else f'{low} to {high}'}"


def _outcome(review: Review) -> Markup:
    return tag("div", _winner(review), _best(review), _figures(totals(review.rows)), class_="cards")


def _winner(review: Review) -> Markup:
    """The winner of the race, if there is one, as good as it is on rows that nobody had seen."""
    found = review.race
    if found is None or (winner := found.winner) is None:
        return Markup()
    score = found.score
    name, shown = f"{found.metric}, mean of {len(winner.values)} seeds", winner.mean
    if score is not None and score.value is not None:
        name, shown = score.metric, score.value
    says = tag("ul", *(tag("li", line) for line in verdict.lines(found)))
    return tag(
        "div",
        tag("h3", f"Winner of the race: {winner.label}"),
        tag("p", _value(shown), class_="value"),
        tag("p", name, class_="quiet"),
        says,
        pairs({name: _value(value) for name, value in winner.params.items()}),
        class_="card",
    )


def _best(review: Review) -> Markup:
    if not _has_best(review):
        why = "No complete trial keeps to the constraints." if review.ranked else "No trial has completed yet."
        return tag("div", tag("h3", "Best trial"), tag("p", why), class_="card")
    first, metric = review.best, review.study.spec.objective.metric
    ties = sum(entry.rank == 1 for entry in review.ranked) - 1
    kept = sum(not entry.broken for entry in review.ranked)
    bound = "" if kept == len(review.ranked) else f" that keep{'s' if kept == 1 else ''} to the constraints"
    shared = f" {_count(ties, 'other trial')} reached the same value." if ties else ""
    return tag(
        "div",
        tag("h3", f"Best trial: {first.row.number}"),
        tag("p", _value(first.value), class_="value"),
        tag("p", f"{metric}, the best of {_count(kept, 'complete trial')}{bound}.{shared}", class_="quiet"),
        pairs(
            {name: _value(value) for name, value in (first.row.params or {}).items()}
            | {"weights": f"{first.row.parameters:,}"}
            | {name: amount(name, first.row.costs[name]) for name in review.study.spec.other_costs}
        ),
        class_="card",
    )


def _has_best(review: Review) -> bool:
    """Whether a complete trial keeps to the constraints."""
    return bool(review.ranked) and not review.ranked[0].broken


def _race(study: Study, found: Result) -> Markup:
    """Search, race and test side by side."""
    who = f"The best configuration of each {found.ranked} was" if found.ranked else "The best distinct configurations were"
    says = (
        f"{who} trained to the last epoch on {study.spec.final.seeds} seeds that the search had not used. Seeds are common to "
        "all, so that finalists are compared in pairs. Intervals are for 95 %; the winner's reaches further towards the worse, "
        "as the best of several means is good by luck in part. By how much the value of the search is better than the mean is "
        f"what choosing the best of many trials made too good.{RANKED if found.ranked else ''}"
    )
    if study.spec.objective.further:
        says += (
            f" The finalists are the first of the Pareto front and race for {found.metric}; none was dropped. One that ties with "
            "the winner and costs less is as good an answer."
        )
    head = ["Trial", *study.spec.costs, "In the search", "Mean of seeds", "95 % from", "to", "Seeds", "Test split", "Place"]
    numbers = set(range(len(head) - 1))
    if found.ranked:
        head, numbers = [found.ranked, *head, "True place"], {column + 1 for column in numbers}
    rows = [_finalist(one, found) for one in found.finalists]
    caption = f"{_count(len(rows), 'finalist')}, {found.metric}; {found.ended} of {_count(found.runs, 'training')} have ended"
    return join([tag("p", says, class_="quiet"), table(caption, head, rows, right=numbers)])


def _finalist(one: Finalist, found: Result) -> list[str]:
    low, high = one.interval or (None, None)
    score = found.score.value if found.score is not None and one.fate == "winner" else None
    values = [_value(value) for value in (one.searched, one.mean, low, high)]
    place = f"{one.fate}: {one.reason}" if one.reason else one.fate
    costs = [amount(name, value) for name, value in one.costs.items()]
    cells = [str(one.trial), *costs, *values, str(len(one.values)), _value(score), place]
    return [str(one.value), *cells, verdict.span(one.places) if one.places else NONE] if found.ranked else cells


def _figures(figures: Totals) -> Markup:
    states = {state.value: f"{count:,}" for state, count in figures.states.items() if count or state is State.COMPLETE}
    states |= {f"failed: {kind}": f"{count:,}" for kind, count in figures.failures.items()}
    work = {
        "epochs trained": f"{figures.epochs:,}",
        "wall time": _duration(figures.seconds),
        "trials an hour": f"{figures.per_hour:,.0f}",
    }
    return tag("div", tag("h3", "Trials"), pairs(states), tag("h3", "Work"), pairs(work), class_="card")


def _caveats(review: Review) -> Markup:
    figures = totals(review.rows)
    looks = review.race.looks if review.race is not None else 0
    says = [
        "A value is that of a trial's best epoch on the validation split, and the best trial was chosen by it: it is optimistic. "
        "Expect less on new data.",
        "In the search each configuration was trained once, with one seed. Differences as small as those between two seeds mean "
        "nothing.",
        "The test split was not used."
        if not looks
        else f"The test split was used {'once' if looks == 1 else f'{looks} times'}, for the score of the race's winner."
        + (" A second look is no longer one by somebody who has seen nothing." if looks > 1 else ""),
    ]
    if figures.states[State.PRUNED]:
        says.append(
            "Pruned trials were judged before their last epoch; one of them might have come out better, unless there is no such "
            "network at all."
        )
    if figures.states[State.FAILED]:
        says.append("Failed trials have no value: they are missing from the leaderboard and from the plots of values.")
    return tag("ul", *(tag("li", sentence) for sentence in says))


def _leaders(review: Review) -> Markup:
    ranked = review.ranked[:LEADERS]
    if not ranked:
        return tag("p", "No trial has completed yet.")
    shared = [d for d in review.varied if not is_owned(d.name)]
    folds = len(shared) < len(review.varied)
    rows = [_leader(review, entry, [d.name for d in shared], folds=folds) for entry in ranked]
    caption = f"The best {len(ranked)} of {_count(len(review.ranked), 'complete trial')}; equal values share a rank"
    names = [d.name for d in shared] + (["Own parameters"] if folds else [])
    own_head = ["Rank", "Trial", review.study.spec.objective.metric, "Weights", *review.study.spec.other_costs]
    own_head += ["Breaks"] if review.study.spec.constraints else []
    head = [*own_head, *names]
    words = (d for d in shared if isinstance(d.parameter, Choice) and isinstance(d.parameter.choice[0], str))
    textual = {head.index("Breaks")} if review.study.spec.constraints else set()
    textual |= {len(own_head) + shared.index(d) for d in words}
    long = {len(head) - 1} if folds else set()
    return table(caption, head, rows, right=set(range(len(head))) - textual - long, long=long)


def _leader(review: Review, entry: Ranked, shared: Sequence[str], *, folds: bool) -> list[str]:
    """A line of the leaderboard; what belongs to one optimizer or schedule is folded into one cell."""
    row, params = entry.row, entry.row.params or {}
    cells = [str(entry.rank), str(row.number), _value(entry.value), f"{row.parameters:,}"]
    cells += [amount(name, row.costs[name]) for name in review.study.spec.other_costs]
    cells += [", ".join(map(str, entry.broken)) or NONE] if review.study.spec.constraints else []
    return [*cells, *(_value(params.get(name)) for name in shared), *([_words(own(params))] if folds else [])]


def _choices(review: Review) -> Markup:
    """A table per choice, one row per value."""
    says = (
        "Each line is a value of the choice, best first by the best value that one of its trials reached; a pruned trial counts "
        "with what it had reached, and trials are pruned at different epochs. The search does not share out its trials evenly: a "
        "value that many trials chose has the better best by luck alone, and few trials say little. Failed trials have no value. "
        "Seconds an epoch are a mean without each trial's first epoch, which may include compiling."
    )
    return join([tag("p", says, class_="quiet"), *(_side_by_side(review, name) for name in compared(review))])


def _side_by_side(review: Review, name: str) -> Markup:
    found = tallies(review, name)
    tried = sum(tally.trials > 0 for tally in found)
    shown = f"the first {VALUES} of them" if len(found) > VALUES else "best and median"
    caption = f"{tried} of {_count(len(found), 'value')} tried; {shown}, in {review.study.spec.objective.metric}"
    head = [name, "Best", "Median", "Trials", "Complete", "Pruned", "Failed", "Seconds an epoch", "Best trial"]
    rows = [_tally(tally) for tally in found[:VALUES]]
    mine = [own_of_choice(review, name, tally.best.row) if tally.best else {} for tally in found[:VALUES]]
    if any(mine):
        head, rows = [*head, "Its own parameters"], [[*row, _words(params)] for row, params in zip(rows, mine, strict=True)]
    return join([tag("h3", name), table(caption, head, rows, right=set(range(1, 9)), long={9})])


def _tally(tally: Tally) -> list[str]:
    if not tally.trials:
        return [tally.choice, "not tried", NONE, "0", *[NONE] * 5]
    counts = [tally.trials, *(tally.states.get(state, 0) for state in (State.COMPLETE, State.PRUNED, State.FAILED))]
    best, number = (_value(tally.best.value), str(tally.best.row.number)) if tally.best else (NONE, NONE)
    seconds = NONE if tally.seconds is None else f"{tally.seconds:.2g}"
    return [tally.choice, best, _value(tally.median), *(f"{count:,}" for count in counts), seconds, number]


def _plots(review: Review, plots: Mapping[str, Plot]) -> Markup:
    beside = "The same plots lie beside this page as PNG files, in the folder plots."
    without = tag("noscript", tag("p", "The plots on this page need JavaScript."))
    kinds = tag("div", *(_kind(review, kind, drawn) for kind, drawn in plots.items()), class_="kinds")
    return join([tag("p", beside, class_="quiet"), without, kinds])


def _kind(review: Review, kind: str, drawn: Plot) -> Markup:
    row = KINDS[kind]
    broad = row.wide or len(drawn.parts) > 1
    if drawn.missing:
        content = [tag("p", drawn.missing)]
    else:
        figures = [figure(name, part, _alternative(review, kind, name)) for name, part in drawn.parts.items()]
        around = "scroll sideways" if row.wide else "parts" if broad else "part"
        attributes = {"role": "region", "aria_label": row.title, "tabindex": "0"} if row.wide else {}
        note = [tag("p", drawn.note, class_="quiet")] if drawn.note else []
        content = [tag("p", row.caption, class_="quiet"), *note, tag("div", *figures, class_=around, **attributes)]
    key = f"plot-{kind}"
    return tag("section", tag("h3", row.title, id=key), *content, aria_labelledby=key, class_="broad" if broad else "narrow")


def _alternative(review: Review, kind: str, name: str) -> str:
    """What the figure shows, for those who do not see it."""
    metric, subject = review.study.spec.objective.metric, name.removeprefix(f"{kind}-")
    if kind == "importance":
        return "Importance: " + ", ".join(f"{name} {share:.2f}" for name, share in review.importance.items())
    if kind == "timeline":
        return f"Timeline of {_count(len(review.rows), 'trial')}"
    title = KINDS[kind].title if subject == kind else f"{KINDS[kind].title}: {subject}"
    best = f"; the best is {_value(review.best.value)} of trial {review.best.row.number}" if _has_best(review) else ""
    return f"{title}. {metric} of {_count(len(review.ranked), 'complete trial')}{best}"


def _space(review: Review) -> Markup:
    dimensions = review.space.dimensions
    rows = [line for entry in folded(dimensions) for line in _folded(review, entry)]
    grouped = any(is_owned(d.name) for d in dimensions)
    below = "; those of one optimizer or schedule share a line below what chooses it, and their importance is added up"
    caption = f"The {_count(len(dimensions), 'parameter')} of the study{below if grouped else ''}"
    return table(caption, ["Parameter", "Kind", "Values", "Steps", "Only when", "Importance"], rows, right={5}, long={2, 4})


def _folded(review: Review, entry: Folded) -> Iterator[list[str]]:
    """A line for a parameter, and one for each owner below it."""
    dimension = entry.dimension
    yield [dimension.name, *_describe(dimension), _condition(dimension), _share(review, [dimension])]
    for owner, mine in entry.owners.items():
        names = short(d.name for d in mine)
        text = "; ".join(f"{names[d.name]} {_briefly(d)}" for d in mine)
        yield [f"↳ {owner}", f"{len(mine)} of its own", text, "–", _condition(mine[0]), _share(review, mine)]


def _share(review: Review, dimensions: Sequence[Dimension]) -> str:
    shares = [review.importance[d.name] for d in dimensions if d.name in review.importance]
    return f"{sum(shares):.2f}" if shares else "–"


def _briefly(dimension: Dimension) -> str:
    """Values and steps in a few words."""
    _, among, steps = _describe(dimension)
    return f"{among} {steps}" if steps == "by factors" else among


def _describe(dimension: Dimension) -> tuple[str, str, str]:
    """Kind, values, steps."""
    match dimension.parameter:
        case IntRange(int=(low, high), log=log, step=step):
            return "whole number", f"{low:,} to {high:,}", "by factors" if log else f"by {step}"
        case FloatRange(float=(low, high), log=log, step=fstep):
            return "number", f"{low:g} to {high:g}", "by factors" if log else f"by {fstep:g}" if fstep else "any"
        case Choice(choice=choices):
            more = f", and {len(choices) - CHOICES:,} more" if len(choices) > CHOICES else ""
            return "choice", ", ".join(_value(choice) for choice in choices[:CHOICES]) + more, f"{len(choices):,} choices"
        case Fixed(value=value):
            return "fixed", _value(value), "–"


def _condition(dimension: Dimension) -> str:
    ways = (f"{other} is {wanted}" for other, wanted in dimension.conditions(_value).items())
    return ", and ".join(ways) or "always"


def _failures(review: Review) -> Markup:
    failed = [row for row in review.rows if row.state is State.FAILED]
    never = [row for row in review.rows if row.state is State.PRUNED and not row.epoch]
    parts = [_listed("failed", failed)] if failed else [tag("p", "No trial has failed.")]
    return join([*parts, *([_listed("impossible", never)] if never else [])])


def _listed(kind: str, rows: Sequence[Row]) -> Markup:
    """The first of these trials with what was said of them; an impossible one was pruned before it was trained."""
    caption = f"The first {FAILURES} of {len(rows):,} {kind} trials" if len(rows) > FAILURES else f"All {kind} trials"
    lines = [_failure(row) for row in rows[:FAILURES]]
    return table(caption, ["Trial", "Kind", "Epochs", "Message"], lines, right={0, 2}, long={3})


def _failure(row: Row) -> list[str]:
    kind = row.failure.value if row.failure else "impossible"
    return [str(row.number), kind, str(row.epoch), row.message]


def _making(study: Study) -> Markup:
    spec = study.spec
    facts = {
        "launched": _time(study.created),
        "sampler": spec.sampler.name,
        "pruner": spec.pruner.name,
        "seed": str(spec.seed),
        "identity": spec.identity[:16],
    }
    return join(
        [
            pairs(facts),
            tag("h3", "Recorded at the launch"),
            pairs({name: _fact(fact) for name, fact in study.facts.items()}) if study.facts else tag("p", "Nothing."),
            tag("h3", "Versions where this page was written"),
            pairs(provenance.versions()),
            tag("details", tag("summary", "Study file, with every default filled in"), tag("pre", tag("code", study_file(spec)))),
        ]
    )


def _fact(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)


# Words ------------------------------------------------------------


def _value(value: Value | None) -> str:
    """A value as a person writes it: five digits, `true`, a dash where there is none."""
    match value:
        case None:
            return "–"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.5g}"
    return str(value)


def _words(params: Params) -> str:
    """Parameters as a person says them: `learning_rate 0.012, beta_1 0.87`; no line breaks between a name and its value."""
    *others, last = [f"{name} {_value(value)}" for name, value in params.items()] or [NONE]
    pieces = [*(f"{text}," for text in others), last]
    return Markup(" ".join(tag("span", piece, class_="whole") for piece in pieces))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
