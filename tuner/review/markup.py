"""HTML, escaped."""

import html
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any


class Markup(str):
    """Text that is HTML already; all other text is escaped on its way into a tag."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str) -> Markup:
    """An element; `class_` stands for `class`, `aria_label` for `aria-label`."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    given = "".join(f' {names[key]}="{html.escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def join(content: Iterable[str]) -> Markup:
    """Pieces one behind the other, escaped where they are plain text."""
    return Markup("".join(piece if isinstance(piece, Markup) else html.escape(piece) for piece in content))


def section(key: str, title: str, *content: str) -> Markup:
    """A part of a page under a heading that can be linked to."""
    return tag("section", tag("h2", title, id=key), *content, aria_labelledby=key)


def pairs(facts: Mapping[str, str]) -> Markup:
    """Names and what they stand for."""
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in facts.items()))


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[int] = (), long: Container[int] = ()
) -> Markup:
    """A table that scrolls sideways; the first column heads its rows. `right` columns hold numbers, `long` ones break lines."""

    def cell(name: str, column: int, content: str, **attributes: str) -> Markup:
        looks = "number" if column in right else "long" if column in long else ""
        return tag(name, content, **attributes, **({"class_": looks} if looks else {}))

    heads = tag("tr", *(cell("th", i, name, scope="col") for i, name in enumerate(head)))
    lines = (
        tag("tr", cell("th", 0, first, scope="row"), *(cell("td", i, text) for i, text in enumerate(rest, 1)))
        for first, *rest in rows
    )
    inside = tag("table", tag("thead", heads), tag("tbody", *lines), aria_label=caption)
    around = tag("div", inside, class_="scroll", role="region", aria_label=caption, tabindex="0")
    return join([tag("p", caption, class_="quiet"), around])  # a <caption> would be as wide as the table


def figure(name: str, drawn: Any, alternative: str) -> Markup:
    """The place of Plotly's figure and its data, written without a `<` that could end the script early."""
    key = f"figure-{name}"
    height = {"style": f"height: {drawn.layout.height}px"} if drawn.layout.height else {}
    place = tag("div", class_="plot", role="figure", aria_label=alternative, data_figure=key, **height)
    return tag("div", place, tag("script", Markup(drawn.to_json()), type="application/json", id=key), class_="part")
