"""How the plots look: Optuna's figures in our colours, readable on white, on black and on a telephone; and PNG files."""

import ast
import html
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb

GREY, BLUE, ORANGE, RED, GREEN = "#8c96a3", "#2f7ed8", "#d9541e", "#c2304a", "#2e9e62"  # 3 : 1 or more on white and on black
SCALE = ((0.0, GREY), (0.5, BLUE), (1.0, ORANGE))  # worst to best, or oldest to newest
STATES = {"COMPLETE": BLUE, "PRUNED": GREY, "FAIL": RED, "RUNNING": GREEN, "WAITING": GREY}
LONG = 20  # characters of a choice on an axis
ROW = 36  # characters of all choices beside each other; more of them stand aslant
FEW = 10  # whole numbers across so small a span get whole ticks
IMPORTANT = 15  # parameters whose importance is drawn
LINE = 24  # pixels of a value in a strip
BROKEN = "breaks a constraint"
FAR = 10  # a value is drawn at the edge when it lies this many times farther from the median than the best does
WIDE = 50  # a logarithmic axis that spans a larger factor has ticks at powers of ten only
NARROW = 8  # one that spans a smaller factor has even ticks: of 1, 2 and 5 there may be none in it

Polish = Callable[[go.Figure], None]


def dress(figure: go.Figure, polish: Polish) -> go.Figure:
    """One look for all figures: no title (the page has headings), transparent, as wide as there is room."""
    figure.update_layout(
        template="none", title=None, height=None, width=None, autosize=True, hovermode="closest",
        margin={"l": 64, "r": 16, "t": 32, "b": 48}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    for update, axis, side in ((figure.update_xaxes, figure.layout.xaxis, "x"), (figure.update_yaxes, figure.layout.yaxis, "y")):
        update(exponentformat="e", minexponent=5, automargin=True, title={"standoff": 10})
        if axis.type == "log":
            values = [value for trace in figure.data for value in trace[side] or () if value]
            span = max(values) / min(values)
            update(tickformat="~g", dtick=1 if span > WIDE else "D2" if span > NARROW else None)
    polish(figure)
    return figure.for_each_annotation(lambda text: text.update(text=_plain(text.text)))


def clipped(values: Sequence[float], *, maximise: bool, far: float = FAR) -> float | None:
    """The worst value that is drawn where it is; None when all are.

    One diverged trial would squeeze all others into a line.
    """
    middle, top = median(values), (max if maximise else min)(values)
    edge = middle - far * (top - middle)
    beyond = min(values) < edge if maximise else max(values) > edge
    return edge if beyond and top != middle else None


def note_far(values: Sequence[float], *, maximise: bool) -> str:
    """How many values are drawn at the edge and not where they are; empty when none is."""
    edge = clipped(values, maximise=maximise)
    if edge is None:
        return ""
    beyond = sum(value < edge if maximise else value > edge for value in values)
    return f"Values worse than {edge:.4g} ({beyond} of {len(values)}) are drawn at {edge:.4g}."


def history(figure: go.Figure) -> None:
    """Blue points, red ones for what breaks a constraint, the best so far as steps."""
    points, line, broken = figure.data
    broken.update(name=BROKEN, marker={"color": RED, "symbol": "x", "size": 6, "opacity": 0.85}, showlegend=bool(broken.x))
    points.update(name="complete trial", marker={"color": BLUE, "size": 6, "opacity": 0.85})
    line.update(name="best so far", line={"color": ORANGE, "width": 2, "shape": "hv"})
    _whole_ticks(figure)


def history_still(axes: Axes) -> Axes:
    """Red points for what breaks a constraint."""
    broken: Any = axes.collections[-1]
    if len(broken.get_offsets()):
        broken.set(color=RED, label=BROKEN)
        axes.legend(loc="upper left", bbox_to_anchor=(1.05, 1.0))
    return axes


def curves(figure: go.Figure) -> None:
    """Whole epochs."""
    _whole_ticks(figure)


def importance(figure: go.Figure) -> None:
    """Bars from 0, the longest of them; the names need no axis title."""
    figure.update_traces(marker={"color": BLUE}, showlegend=False)
    figure.update_xaxes(title="Share of importance", range=[0, 1.2 * max(figure.data[0].x)])  # room for the numbers
    figure.update_yaxes(title=None, range=top_bars(len(figure.data[0].y)))


def importance_still(axes: Axes) -> Axes:
    """The longest bars; Optuna's texts beside the others would stand outside."""
    axes.set_ylim(*top_bars(len(axes.patches)))
    for text in axes.texts:
        text.set_clip_on(True)
    return axes


def top_bars(count: int) -> tuple[float, float]:
    """The part of the axis with the longest bars, of which the last stands on top."""
    return max(0, count - IMPORTANT) - 0.5, count - 0.5


def slices(figure: go.Figure) -> None:
    """Points from grey (early) to orange (late)."""
    line = {"width": 0.5, "color": "#777"}
    figure.update_traces(marker={"colorscale": SCALE, "showscale": False, "size": 7, "opacity": 0.9, "line": line})
    axis = figure.layout.xaxis
    if axis.type == "category":
        axis.update(tickvals=axis.categoryarray, ticktext=[_plain(_bare(choice)) for choice in axis.categoryarray])
    _whole_ticks(figure)


def contour(figure: go.Figure) -> None:
    """White points on the blue ground, a thin scale."""
    dots = {"color": "white", "size": 5, "line": {"width": 1, "color": "black"}}
    figure.update_traces(marker=dots, selector={"type": "scatter"})
    scale = {"thickness": 10, "outlinewidth": 0, "title": {"side": "right"}}
    figure.update_traces(colorbar=scale, line={"width": 0}, selector={"type": "contour"})
    for axis, choices in ((figure.layout.xaxis, figure.data[0].x), (figure.layout.yaxis, figure.data[0].y)):
        if axis.type == "category":
            axis.update(tickvals=choices, ticktext=[_plain(choice) for choice in choices])


def parallel(figure: go.Figure) -> None:
    """Lines from grey (worst) to orange (best), the better the more solid."""
    *lines, scale = figure.data
    for trace in lines:
        share = 1 - trace.y[0] if scale.marker.reversescale else trace.y[0]  # the first axis is the objective, from 0 to 1
        (colour,) = sample_colorscale([list(stop) for stop in SCALE], [share])
        trace.update(line={"color": colour}, opacity=0.3 + 0.6 * share)
    scale.marker.update(colorscale=SCALE, colorbar={"thickness": 10, "outlinewidth": 0, "title": {"side": "right"}})
    figure.update_annotations(font={"size": 11, "color": None})
    figure.update_layout(margin={"l": 80})


def choices(figure: go.Figure) -> None:
    """As high as there are values, whose names Plotly shows as they stand."""
    labels = figure.layout.yaxis.ticktext
    figure.update_yaxes(ticktext=[html.escape(label, quote=False) for label in labels], automargin=True)
    figure.update_layout(height=120 + LINE * len(labels))


def front(figure: go.Figure) -> None:
    """As it is drawn."""
    del figure  # its colours say what the points are


def contrast(figure: go.Figure) -> None:
    """Whole numbers along the axis."""
    _whole_ticks(figure)


def edf(figure: go.Figure) -> None:
    """One line needs no legend."""
    figure.update_traces(line={"color": BLUE, "width": 2}, showlegend=False)
    figure.update_yaxes(title="Share of complete trials")


def timeline(figure: go.Figure) -> None:
    """Bars in the colours of the states."""
    for trace in figure.data:
        trace.update(marker={"color": STATES[trace.name]}, name=trace.name.lower())
    figure.update_xaxes(title=None)
    _whole_ticks(figure, "y")


def _whole_ticks(figure: go.Figure, side: str = "x") -> None:
    values = [value for trace in figure.data for value in trace[side] or () if value is not None]
    axis = figure.layout[f"{side}axis"]
    if axis.type != "log" and _few_whole(values):  # there a step of 1 is a factor of ten
        axis.dtick = 1


def _few_whole(values: Sequence[Any]) -> bool:
    if not values or not all(isinstance(x, int | float) and x == int(x) for x in values):
        return False
    return bool(max(values) - min(values) <= FEW)


def _bare(label: str) -> str:
    """A choice as it stands in the study file; Optuna writes Python's `repr`."""
    return str(ast.literal_eval(label))


def _plain(label: str) -> str:
    """A label that Plotly shows as it stands, without reading tags in it; a long one is cut."""
    return html.escape(cut(label), quote=False)


def cut(label: str) -> str:
    """A label that is short enough for an axis."""
    return label if len(label) <= LONG else f"{label[: LONG - 1]}…"


# PNG files ------------------------------------------------------------


@contextmanager
def canvas() -> Iterator[None]:
    """Matplotlib without a window; its backend, and the style that Optuna sets for the whole process, come back afterwards."""
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    try:
        with plt.rc_context({"text.parse_math": False}):  # a name may hold dollars
            yield
    finally:
        plt.switch_backend(backend)


def png(axes: Any, title: str) -> bytes:
    """Axes of Optuna's as a PNG file of 256 colours, a third of the bytes; the figure is closed. Works within `canvas` only."""
    figure = axes.figure
    axes.set_title("", loc="left")  # Optuna's title of the importances stands there
    axes.set_title(title)
    axes.set_facecolor("white")
    axes.grid(color="#dde1e6", lw=0.6)
    _still_ticks(axes)
    for points in axes.collections:
        if isinstance(points, PathCollection) and points.get_array() is not None:
            points.set_cmap(LinearSegmentedColormap.from_list("age", [colour for _, colour in SCALE]))
    drawn, written = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, bbox_inches="tight", pil_kwargs={"compress_level": 1})
    plt.close(figure)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(256).save(written, format="png")
    return written.getvalue()


def _still_ticks(axes: Any) -> None:
    """Ticks that a person would write: 0.01 and not 10⁻², choices without quotes, whole numbers between few whole ones."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            subs = (1, 2, 5) if high < WIDE * low else (1,)
            axis.set_major_locator(LogLocator(subs=subs) if high > NARROW * low else MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        elif isinstance(axis.get_major_formatter(), StrCategoryFormatter):
            labels = [_bare(tick.get_text())[:LONG] for tick in axis.get_ticklabels()]
            slanted = axis is axes.xaxis and sum(map(len, labels)) > ROW
            slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
            axis.set_ticks(axis.get_majorticklocs(), labels, **slant)
        elif axis is axes.xaxis and _few_whole([x for points in axes.collections for x in points.get_offsets()[:, 0]]):
            axis.set_major_locator(MaxNLocator(integer=True))


def parallel_still(figure: go.Figure) -> Axes:
    """Optuna's own still one has no room for more than four parameters; this is its interactive one, line by line."""
    parallel(figure)
    labels = figure.layout.xaxis.ticktext
    axes: Axes = plt.subplots(figsize=(1.5 * len(labels) + 1, 5))[1]
    for line in figure.data[:-1]:
        colour = tuple(part / 255 for part in unlabel_rgb(line.line.color))
        axes.plot(line.x, line.y, color=colour, alpha=line.opacity, lw=1.2)
    for tick in figure.layout.annotations:
        axes.annotate(
            tick.text[:LONG], (tick.x, tick.y), xytext=(-4, 0), textcoords="offset points", ha="right", va="center", fontsize=8
        )
    axes.vlines(range(len(labels)), 0, 1, color="#888", lw=1)
    axes.set_xticks(range(len(labels)), labels)
    axes.yaxis.set_visible(False)
    axes.set_frame_on(False)
    return axes
