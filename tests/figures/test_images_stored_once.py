"""Images in pages and files: each is stored once, however often it is shown, and a browser shows it everywhere."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.browser import BROWSER, Page
from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tests.properties.families import family_named
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, draw, svg
from tformer_cli.draw.gallery import HEAT
from tformer_cli.figures import attention, kinds, looks
from tformer_cli.figures.base import Subject
from tformer_cli.figures.page import Section, html
from tformer_cli.inspectors.base import Axis

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
PATCHES = Axis.of_patches((2, 3), (30.0, 30.0))
ADDRESS = re.compile(r'data:image/png;base64,([^"]*)"')


def captioned(**parts) -> Subject:
    """Return a model with two layers of cross-attention from a caption to patches, and one among patches."""
    cross = [GivenWeights(random_weights(seed, 2, 5, 6), AttentionKind.cross) for seed in range(2)]
    model = Model(GivenWeights(random_weights(2, 2, 6, 6), AttentionKind.encoder), *cross)
    words = {"decoder": tokens("<s> two cats sit here"), "outputs": ["two", "cats", "sit", "here", "</s>"]}
    return subject_of(model, encoder=PATCHES, image=IMAGE, **words, **parts)


def page_of(subject: Subject, names: tuple[str, ...] = ("attention", "looks", "rollout")) -> str:
    sections = [
        Section(kind, list(kind.draw(subject)), widget=kind.widget(subject))
        for kind in kinds().values()
        if kind.name in names and not kind.missing(subject)
    ]
    return html("A page", [], sections, ())


def decoded(text: str) -> list[np.ndarray]:
    """Return the images that a page or a file stores."""
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in ADDRESS.findall(text)]


def test_a_page_stores_each_image_once():
    text = page_of(captioned())
    images = decoded(text)
    assert len({(image.shape, image.tobytes()) for image in images}) == len(images)
    assert sum(image.shape == IMAGE.shape and (image == IMAGE).all() for image in images) == 1
    used = re.findall(r'href="#(tf-[^"]*)"', text)
    assert len(used) > 10 + 4 and all(text.count(f'id="{name}"') == 1 for name in used)


def test_the_viewer_has_its_image_whether_figures_show_it_or_not():
    patches = subject_of(
        Model(GivenWeights(random_weights(2, 2, 6, 6), AttentionKind.encoder)), encoder=PATCHES, image=IMAGE
    )
    for subject, names in ((captioned(), ("attention", "looks")), (patches, ("attention",))):
        text = page_of(subject, names)
        match = re.search(r'id="viewer-data">(.*?)</script>', text, re.DOTALL)
        assert match is not None
        (example,) = json.loads(match[1])
        (symbol,) = re.findall(rf'<symbol id="{example["image"]}".*?</symbol>', text)
        (image,) = decoded(symbol)
        assert (image == IMAGE).all()


def test_a_file_has_all_images_that_it_shows():
    """Each reference leads to an element of the same file, which has the image once for five tokens."""
    figure = next(figure for figure in attention.draw(captioned()) if isinstance(figure.picture, Gallery))
    text = svg(figure.picture)
    ids = {element.get("id") for element in ElementTree.fromstring(text).iter()}
    used = re.findall(r'href="#([^"]*)"', text)
    assert len(used) == 5 and set(used) <= ids
    assert sum(image.shape == IMAGE.shape for image in decoded(text)) == 1


def test_the_page_of_captions_has_each_image_once(tmp_path):
    """A captioning model, its inspector and the images of its data."""
    task = family_named("captions").task(tmp_path)
    model = task.model().eval()
    subject = Subject(model, task.inspector, task.inspector.of_split(model, "validation", 2))
    tokens_drawn = [figure for figure in attention.draw(subject) if isinstance(figure.picture, Gallery)]
    assert sum(len(figure.picture.images) for figure in tokens_drawn) > 4
    images = decoded(page_of(subject))
    for example in subject.examples:
        assert example.image is not None
        shown = example.image.repeat(3, -1) if example.image.shape[-1] == 1 else example.image
        assert sum(image.shape == shown.shape and (image == shown).all() for image in images) == 1


def screenshot(page: Page) -> np.ndarray:
    data = base64.b64decode(page.send("Page.captureScreenshot")["data"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_browser_shows_the_image_under_each_heat_map(tmp_path):
    """Both a file by itself and the page: the largest weight reddens the image, and a weight of 0 darkens it."""
    image = np.full((60, 90, 3), (0, 100, 200), np.uint8)
    maps = [np.tile(row, (2, 1)) for row in ([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])]
    picture = Gallery([image] * 2, ["a", "b"], [None] * 2, maps, columns=2)
    (tmp_path / "figure.svg").write_text(svg(picture), encoding="utf-8")
    with Page(tmp_path / "figure.svg", tmp_path / "profile") as page:
        seen = screenshot(page)
    colour = np.array((0, 100, 200.0))
    bright, dark = 0.65 * colour + 0.35 * HEAT, 0.35 * colour
    for drawn in (seen, draw(picture).astype(np.float64)):
        for left, expected in ((8 + 15, bright), (8 + 105, dark), (136 + 7, dark), (136 + 97, bright)):
            np.testing.assert_allclose(drawn[64, left], expected, atol=4)


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_browser_shows_the_images_of_a_page(tmp_path):
    path: Path = tmp_path / "page.html"
    path.write_text(page_of(captioned()), encoding="utf-8")
    with Page(path, tmp_path / "profile") as page:
        boxes = page.evaluate(
            "[...document.querySelectorAll('use')].map(use => [use.getBBox().width, use.href.baseVal])"
        )
        assert len(boxes) > 10 and all(width > 0 for width, _ in boxes)
        assert page.evaluate("document.querySelector('.viewer .picture img').naturalWidth") == IMAGE.shape[1]
        shapes = page.evaluate(
            "[...document.querySelectorAll('figure')].map(figure => figure.querySelector('svg').clientWidth)"
        )
        assert min(shapes) > 50


def test_an_image_with_a_mark_is_the_image_itself():
    """The mark of a query is drawn over the image, so that all queries share it."""
    (figure,) = looks.draw(subject_of(Model(GivenWeights(random_weights(2, 2, 6, 6), AttentionKind.encoder)),
                                      encoder=PATCHES, image=IMAGE))  # fmt: skip
    assert len(figure.picture.images) > 2 and all(image is IMAGE for image in figure.picture.images)
    assert len(decoded(svg(figure.picture))) == 1 + len(figure.picture.images)
