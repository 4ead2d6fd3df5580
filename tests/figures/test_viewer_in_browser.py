"""The viewer of attention in a real browser: mouse, keys, choices, and no error."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.browser import BROWSER
from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tformer_cli.config.schema import AttentionKind
from tformer_cli.figures import kinds
from tformer_cli.figures.base import Options, Subject
from tformer_cli.figures.page import Section, html
from tformer_cli.figures.places import furthest
from tformer_cli.figures.viewer import viewer

STEPS = """
<script>
  const seen = { errors: window.viewerErrors }, viewer = document.getElementById("viewer");
  const buttons = () => [...viewer.querySelectorAll("button.cell")];
  const state = () => ({ query: buttons().findIndex(button => button.getAttribute("aria-pressed") === "true"),
    focus: buttons().indexOf(document.activeElement), stops: buttons().filter(button => button.tabIndex === 0).length,
    answer: viewer.querySelector(".answer").textContent, keys: [...viewer.querySelectorAll(".cell")].length });
  const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const choose = (name, value) => { const select = viewer.querySelector(`[data-choice=${name}]`);
    select.value = value; select.dispatchEvent(new Event("change")); };
  seen.heads = [...viewer.querySelector("[data-choice=head]").options].map(option => option.text);
  seen.start = state();
  buttons()[1].click(); seen.clicked = state();
  press("ArrowRight"); seen.right = state();
  press("End"); press("ArrowRight"); seen.end = state();
  press("Home"); seen.home = state();
  choose("head", 2); seen.head = state();
  choose("layer", 1); seen.cross = state();
  const result = document.createElement("pre"); result.id = "result"; result.textContent = JSON.stringify(seen);
  document.body.append(result);
</script>
"""
CATCH = (
    '<script>window.viewerErrors = []; addEventListener("error", event => viewerErrors.push(event.message));</script>'
)


def seen_in(folder: Path, subject: Subject) -> dict:
    """Return what `STEPS` see in the page with the viewer."""
    kind = kinds()["attention"]
    page = html("Title", [], [Section(kind, list(kind.draw(subject)), widget=viewer(subject))], ())
    page = page.replace("<head>", f"<head>{CATCH}").replace("</body>", f"{STEPS}</body>")
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--virtual-time-budget=2000", "--dump-dom", (folder / "page.html").as_uri()]  # fmt: skip
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, check=True)
    match = re.search(r'<pre id="result">(.*?)</pre>', result.stdout, re.DOTALL)
    assert match is not None, result.stderr[-2000:]
    return json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_single_head_is_the_only_choice(tmp_path):
    weights = random_weights(0, 2, 4, 4)
    model = Model(*(GivenWeights(weights, AttentionKind.encoder) for _ in range(2)))
    seen = seen_in(tmp_path, subject_of(model, Options(heads=(2,)), encoder=tokens("the old cat </s>")))
    assert seen["errors"] == [] and seen["heads"] == ["head 2"]
    key = int(weights[1, 0].argmax())
    assert seen["home"]["answer"].startswith(
        f"the → {['the', 'old', 'cat', '</s>'][key]} {100 * weights[1, 0, key]:.0f} %"
    )


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_readers_choose_a_query_by_mouse_and_keys(tmp_path):
    encoder, cross = random_weights(0, 2, 4, 4), random_weights(2, 2, 4, 4)
    model = Model(GivenWeights(encoder, AttentionKind.encoder), GivenWeights(cross, AttentionKind.cross))
    source = tokens("the old cat </s>")  # a translation that copies has the same names, and yet its keys are others
    subject = subject_of(model, encoder=source, decoder=tokens("<s> the old cat"), outputs=source.names)
    seen = seen_in(tmp_path, subject)
    assert seen["errors"] == [] and seen["heads"] == ["mean over heads", "head 1", "head 2"]
    assert seen["start"]["query"] == furthest(encoder.mean(0)[None], source, source, source.names)
    assert seen["start"]["keys"] == 4
    assert [seen[step]["query"] for step in ("clicked", "right", "end", "home")] == [1, 2, 3, 0]
    assert all(seen[step]["focus"] == seen[step]["query"] and seen[step]["stops"] == 1 for step in ("right", "home"))

    def best(weights, names) -> str:
        order = sorted(range(len(names)), key=lambda key: -weights[key])
        return ", ".join(f"{names[key]} {100 * weights[key]:.0f} %" for key in order[:1])

    assert seen["home"]["answer"].startswith(f"the → {best(encoder.mean(0)[0], source.names)}")
    assert seen["head"]["answer"].startswith(f"the → {best(encoder[1, 0], source.names)}")
    assert seen["cross"]["answer"].startswith(f"the → {best(cross[1, 0], source.names)}")
    assert seen["cross"]["keys"] == 4 + 4
