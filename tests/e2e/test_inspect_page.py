"""The page of `tformer inspect` in a real browser: no errors, no requests, figures in sight, links, keys, themes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.fixtures.browser import BROWSER, Page
from tests.fixtures.write import DATA, FOLDER
from tformer_cli.cli.main import main

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

CATCH = """<script>
window.errors = [];
addEventListener("error", event => errors.push(event.message || String(event.target && event.target.src)), true);
console.error = (...parts) => errors.push(parts.join(" "));
console.warn = console.error;
</script>"""
LOOK = """<script>
const box = element => { const place = element.getBoundingClientRect(); return [place.width, place.height]; };
const luminance = colour => { const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(part => part / 255)
  .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]; };
const style = selector => getComputedStyle(document.querySelector(selector));
const stops = [...document.querySelectorAll("a[href], button, select, summary, [tabindex]")]
  .filter(element => element.tabIndex >= 0);
stops.forEach(element => element.focus());
const result = {
  errors,
  figures: [...document.querySelectorAll("figure")].map(figure => [figure.id, ...box(figure.querySelector("svg"))]),
  links: [...document.querySelectorAll("a[href]")].map(link => link.getAttribute("href")),
  ids: [...document.querySelectorAll("[id]")].map(element => element.id),
  focusable: stops.map(element => { element.focus(); return document.activeElement === element; }),
  contents: stops.filter(element => element.closest("nav")).length,
  drawings: stops.filter(element => element.matches(".drawing")).length,
  requests: performance.getEntriesByType("resource").map(entry => entry.name),
  ink: luminance(style("body").color), page: luminance(style("body").backgroundColor),
  card: luminance(style("section").backgroundColor), link: luminance(style("nav a").color),
  text: [...document.querySelectorAll("svg text")].slice(0, 20).map(text => luminance(getComputedStyle(text).fill)),
};
const answer = document.createElement("pre"); answer.id = "result"; answer.textContent = JSON.stringify(result);
document.body.append(answer);
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The folder of a page with all kinds of figures that a tiny translator has."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(DATA, folder / "work")
    shutil.copytree(FOLDER / "translation", folder / "run")
    texts = ["The cat eats.", "We did not read three books yesterday."]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "work")
        assert main(["inspect", str(folder / "run"), *texts, "-q", f"data.cache={folder / 'cache'}"]) == 0
    return folder / "run" / "inspect"


def looked(page: Path, tmp_path: Path, *options: str) -> dict:
    """Return what the browser sees; the page gets scripts that note errors and measure."""
    text = (page / "index.html").read_text(encoding="utf-8")
    text = text.replace("<head>", f"<head>{CATCH}", 1).replace("</body>", f"{LOOK}</body>")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--virtual-time-budget=3000", *options, "--dump-dom", (tmp_path / "page.html").as_uri()]  # fmt: skip
    output = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, check=True)
    content = re.search(r'<pre id="result">(.*?)</pre>', output.stdout, re.DOTALL)
    assert content is not None, output.stderr[-2000:]
    return json.loads(unescape(content[1]))


def contrast(*shades: float) -> float:
    """Return the contrast of WCAG 2."""
    return (max(shades) + 0.05) / (min(shades) + 0.05)


def test_the_page_works_in_a_browser(page, tmp_path):
    seen = looked(page, tmp_path)
    assert seen["errors"] == [] and seen["requests"] == []
    numbers = json.loads((page / "inspect.json").read_text(encoding="utf-8"))
    assert {name for name, _, _ in seen["figures"]} == {figure["name"] for figure in numbers["figures"]}
    assert all(width > 50 and height > 20 for _, width, height in seen["figures"])
    inner = [link.removeprefix("#") for link in seen["links"] if link.startswith("#")]
    files = [link for link in seen["links"] if not link.startswith("#")]
    kinds = {figure["kind"] for figure in numbers["figures"]}
    assert kinds <= set(inner) <= set(seen["ids"])
    assert len(files) >= 2 * len(numbers["figures"]) and all((page / link).is_file() for link in files)
    assert len(set(seen["ids"])) == len(seen["ids"])
    assert all(seen["focusable"]) and seen["contents"] >= len(kinds)
    assert seen["drawings"] >= len(numbers["figures"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_both_themes_are_legible(page, tmp_path, dark):
    seen = looked(page, tmp_path, *(["--blink-settings=preferredColorScheme=0"] if dark else []))
    assert (seen["page"] < 0.2) == dark
    for ground in (seen["page"], seen["card"]):
        assert contrast(seen["ink"], ground) >= 7 and contrast(seen["link"], ground) >= 4.5
    assert all(contrast(shade, seen["card"]) >= 4.5 for shade in seen["text"])


def test_the_page_asks_no_network(page):
    text = (page / "index.html").read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(https?://[^"')\s]+)""", text)
    assert addresses == [] and "@import" not in text
    assert len(text.encode()) < 5_000_000


FOCUSED = """(() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  return { number: stops.indexOf(element), outline: style.outlineStyle,
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth };
})()"""
STOPS = """globalThis.stops = [...document.querySelectorAll("a[href], button, select, summary, [tabindex]")]
  .filter(element => element.tabIndex >= 0); stops.length"""


def test_tab_reaches_everything_in_the_order_of_the_page(page, tmp_path):
    """Tab is pressed for real: every stop has an outline and is in sight, and Shift and Tab go back."""
    with Page(page / "index.html", tmp_path / "profile") as browser:
        count = browser.evaluate(STOPS)
        reached = []
        for _ in range(count):
            browser.press("Tab")
            reached.append(browser.evaluate(FOCUSED))
        assert [stop["number"] for stop in reached] == list(range(count))
        assert all(stop["outline"] != "none" and stop["seen"] for stop in reached)
        kinds = browser.evaluate("stops.map(element => element.closest('nav') ? 'contents' : element.className)")
        contents = kinds.count("contents")
        assert kinds[0] == "skip" and kinds[1 : 1 + contents] == ["contents"] * contents and contents > 1
        browser.press("Tab", shift=True)
        assert browser.evaluate(FOCUSED)["number"] == count - 2


def test_the_link_at_the_start_skips_the_contents(page, tmp_path):
    with Page(page / "index.html", tmp_path / "profile") as browser:
        browser.evaluate(STOPS)
        browser.press("Tab")
        browser.press("Enter")
        assert browser.evaluate("document.activeElement.id") == "figures"
        browser.press("Tab")
        assert browser.evaluate("document.activeElement.closest('main') !== null")


def test_arrow_keys_choose_a_query_and_tab_leaves_the_viewer(page, tmp_path):
    with Page(page / "index.html", tmp_path / "profile") as browser:
        browser.evaluate("document.querySelector('#viewer [data-choice=head]').focus()")
        pressed = "[...document.querySelectorAll('#viewer button')].indexOf(document.activeElement)"
        browser.press("Tab")
        first = browser.evaluate(pressed)
        browser.press("Home")
        browser.press("ArrowRight")
        assert first >= 0 and browser.evaluate(pressed) == 1
        assert browser.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        browser.press("Tab")
        assert not browser.evaluate("document.activeElement.closest('#viewer') !== null")


@pytest.mark.parametrize("width", [1280, 1000])
def test_pictures_fit_into_the_window_or_are_three_quarters_of_their_size(page, tmp_path, width):
    script = """[...document.querySelectorAll(".drawing svg")].map(svg =>
      [svg.clientWidth, +svg.getAttribute("width"), svg.parentElement.clientWidth])"""
    with Page(page / "index.html", tmp_path / "profile", width) as browser:
        for drawn, natural, room in browser.evaluate(script):
            assert drawn == pytest.approx(max(min(natural, room), 0.75 * natural), abs=1)


def test_a_page_with_one_section_has_no_contents(page, tmp_path):
    run = page.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.parent / "work")
        arguments = ["The cat eats.", "-q", "--figures", "looks", "--format", "none", "-o", str(tmp_path / "one")]
        assert main(["inspect", str(run), *arguments]) == 0
    with Page(tmp_path / "one" / "index.html", tmp_path / "profile", 1400) as browser:
        assert browser.evaluate("document.querySelector('nav, .skip')") is None
        left, right = browser.evaluate(
            "(box => [box.left, innerWidth - box.right])(document.querySelector('section').getBoundingClientRect())"
        )
        assert left == pytest.approx(right, abs=20) and left < 120
