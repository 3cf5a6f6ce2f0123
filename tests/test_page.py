"""The report in a browser: it asks for nothing from elsewhere, fits a phone, and can be read by everybody."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.histories import Past, history, raced, scored
from tuner import review as reviews
from tuner.trial import State

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section: a race that was scored, pruned and failed trials, choices."""
    draw = np.random.default_rng(0)
    states = [State.COMPLETE] * 6 + [State.PRUNED, State.FAILED]
    past = [
        Past(
            {
                "width": int(draw.integers(4, 16)),
                "optimizer": ("sgd", "adam")[n % 2],
                "learning_rate": 10 ** draw.uniform(-3, -1),
            },
            np.sort(draw.uniform(0.1, 0.95, 3)).tolist(),
            states[n % len(states)],
        )
        for n in range(40)
    ]
    review = history(past, raced([0.9, 0.91, 0.92], score=scored(0.9, 0.85, 0.95)))
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(reviews.render(review, at=0.0))
    return file


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")])
def test_the_report_asks_for_nothing_fits_and_has_no_serious_fault_of_accessibility(
    browser: "Browser", written: Path, size: dict[str, int], scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    page.locator(".js-plotly-plot").last.wait_for()
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {written.as_uri()}
    assert page.evaluate("document.scrollingElement.scrollWidth") <= size["width"]
    found = Axe().run(page).response["violations"]
    serious = [
        f"{fault['id']}: {fault['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)
    context.close()
