"""The page in a real browser with the network off. Skipped where Playwright or Chromium is not installed."""

import shutil
from collections.abc import Iterator

import pytest

from mvdecor.apps.report.page import report_page
from tests.calls import PATIENCE

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")

CAMERAS = """() => ['scene', 'scene2', 'scene3', 'scene4', 'scene5'].map(key => {
  const eye = document.querySelector('#turn .plotly-graph-div')._fullLayout[key]._scene.getCamera().eye;
  return [eye.x, eye.y, eye.z];
})"""

TOGETHER = """([cameras, before]) => {
  const [first, ...others] = eval(cameras)();
  const apart = (a, b) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));
  return apart(first, before) > 1e-3 && others.every(other => apart(first, other) < 1e-3);
}"""
"""The first view has turned, and the others with it."""
DRAWN = """() => [...document.querySelectorAll('.plotly-graph-div')].every(plot => plot._fullLayout) &&
  [...document.querySelectorAll('#turn .plotly-graph-div')].every(plot => plot._fullLayout.scene._scene)"""
VISIBLE = "() => document.querySelector('#turn .plotly-graph-div').data.map(trace => trace.visible)"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Headless Chromium that renders 3D without a GPU."""
    with playwright.sync_playwright() as engine:
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        yield engine.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page with the network off; afterwards nothing may have been fetched, blocked or gone wrong."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"a name was run: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith(("http", "ws")) else None)

    def opening(html: str):
        (tmp_path / "report.html").write_text(html)
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("#turn canvas", state="attached")
        page.wait_for_function(DRAWN)
        return page

    yield opening
    context.close()
    assert wrong == []


def test_every_plot_is_shown_and_shapes_turn_in_all_views(opened, results, shown):
    page = opened(report_page(results, shown))
    assert page.locator(".plotly-graph-div").count() == 6  # curves, reliability, parts, two confusions, 3D
    assert page.locator("#curves .scatterlayer .js-line").count() == 2 * 2 + len(results.runs)
    assert page.locator("#parts .point path").count() >= 2 * 3
    assert page.locator("#confusion .heatmaplayer image").count() == 2
    assert page.locator("#shapes img").evaluate_all("all => all.every(one => one.naturalWidth > 100)")
    assert page.locator("#turn").get_by_text("WebGL is not supported").count() == 0
    before = page.evaluate(CAMERAS)
    assert before[0] == before[1] == before[2]
    view = page.locator("#turn canvas").first
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 10, steps=5)
    page.mouse.up()
    page.wait_for_function(TOGETHER, arg=[CAMERAS, before[0]])
    page.locator("#turn .updatemenu-header").click()
    page.locator("#turn .updatemenu-dropdown-button").nth(1).click()
    expected = [False] * 5 + [True] * 5 + [False] * 10  # truth, two methods, errors, confidence
    page.wait_for_function(f"expected => JSON.stringify(({VISIBLE})()) == JSON.stringify(expected)", arg=expected)


def test_names_run_nothing(opened, rename):
    name = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    page = opened(report_page(*rename(name)))
    assert page.locator("#parts").get_by_text(name + "0").count() > 0, "the plot shows the name itself"
