"""The built-in shapes: pictures, their sentences, and what the splits promise."""

from __future__ import annotations

import colorsys
import hashlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from tformer_cli.builtin.draws import Draws
from tformer_cli.builtin.shape_captions import COLOURS, SHAPES, SIZES, Group, Scene, english, japanese
from tformer_cli.builtin.shape_pictures import GAP, HSV, MARGIN, RADII, SEPARATION, arrange, draw
from tformer_cli.builtin.shapes import COUNTS, HELD_OUT, IMAGE_SIZE, Scenes, held_out
from tformer_cli.errors import DataError

SPLITS = ("train", "validation", "test")
READABLE = 120
"""Pixels at which rules as simple as those of `shape_of` tell a small star from a small cross."""


def digest(scenes: Scenes, indices) -> str:
    """Return a hash of pictures and captions."""
    total = hashlib.sha256()
    for index in indices:
        total.update(scenes.picture(index).tobytes() + scenes.caption(index, "en").encode())
    return total.hexdigest()


# --- sentences, read by rules of the tests ---

ENGLISH_GROUP = r"(a|two|three) (small|large) (\w+) (circle|square|triangle|star|cross)(e?s)?"
JAPANESE_GROUP = "(小さい|大きい)(赤い|オレンジ色の|黄色い|緑の|青い|紫の|ピンクの|黒い)(円|正方形|三角形|星|十字)"
NUMBERS = {"a": 1, "two": 2, "three": 3, "一つ": 1, "二つ": 2, "三つ": 3, None: 1}
MEANINGS = {
    "小さい": "small", "大きい": "large", "赤い": "red", "オレンジ色の": "orange", "黄色い": "yellow", "緑の": "green",
    "青い": "blue", "紫の": "purple", "ピンクの": "pink", "黒い": "black", "円": "circle", "正方形": "square",
    "三角形": "triangle", "星": "star", "十字": "cross",
    "左": "left of", "右": "right of", "上": "above", "下": "below",
}  # fmt: skip


def read_english(sentence: str) -> Scene:
    """Read a sentence, and check its grammar."""

    def group(article: str, size: str, colour: str, shape: str, ending: str | None) -> Group:
        expected = None if article == "a" else "es" if shape == "cross" else "s"
        assert ending == expected, sentence
        return Group(NUMBERS[article], size, colour, shape)

    if match := re.fullmatch(f"there (is|are) {ENGLISH_GROUP}", sentence):
        verb, scene = match[1], Scene((group(*match.groups()[1:]),))
    else:
        relations = "left of|right of|above|below"
        match = re.fullmatch(f"{ENGLISH_GROUP} (is|are) ({relations}) {ENGLISH_GROUP}", sentence)
        assert match, sentence
        verb, scene = match[6], Scene((group(*match.groups()[:5]), group(*match.groups()[7:])), match[7])
    assert verb == ("is" if scene.groups[0].number == 1 else "are"), sentence
    return scene


def read_japanese(sentence: str) -> Scene:
    """Read a sentence: the subject has its counter after が, the second group before it if it is not one."""
    number = "(一つ|二つ|三つ)"
    pattern = f"{JAPANESE_GROUP}が{number}(?:、(?:{number}の)?{JAPANESE_GROUP}の([左右上下])に)?あります。"
    match = re.fullmatch(pattern, sentence)
    assert match, sentence
    size, colour, shape, count, *others = match.groups()
    first = Group(NUMBERS[count], MEANINGS[size], MEANINGS[colour], MEANINGS[shape])
    if others[1] is None:
        return Scene((first,))
    assert others[0] != "一つ"
    second = Group(NUMBERS[others[0]], *(MEANINGS[word] for word in others[1:4]))
    return Scene((first, second), MEANINGS[others[4]])


EXAMPLES = [
    (Scene((Group(1, "large", "green", "star"),)), "there is a large green star", "大きい緑の星が一つあります。"),
    (
        Scene((Group(3, "small", "orange", "cross"),)),
        "there are three small orange crosses",
        "小さいオレンジ色の十字が三つあります。",
    ),
    (
        Scene((Group(2, "small", "red", "circle"), Group(1, "large", "blue", "square")), "left of"),
        "two small red circles are left of a large blue square",
        "小さい赤い円が二つ、大きい青い正方形の左にあります。",
    ),
    (
        Scene((Group(1, "small", "yellow", "square"), Group(3, "large", "purple", "triangle")), "right of"),
        "a small yellow square is right of three large purple triangles",
        "小さい黄色い正方形が一つ、三つの大きい紫の三角形の右にあります。",
    ),
    (
        Scene((Group(2, "small", "pink", "star"), Group(2, "large", "black", "star")), "above"),
        "two small pink stars are above two large black stars",
        "小さいピンクの星が二つ、二つの大きい黒い星の上にあります。",
    ),
    (
        Scene((Group(1, "small", "black", "cross"), Group(1, "large", "black", "circle")), "below"),
        "a small black cross is below a large black circle",
        "小さい黒い十字が一つ、大きい黒い円の下にあります。",
    ),
]


@pytest.mark.parametrize(("scene", "in_english", "in_japanese"), EXAMPLES)
def test_sentences(scene, in_english, in_japanese):
    assert english(scene) == in_english
    assert japanese(scene) == in_japanese
    assert read_english(in_english) == read_japanese(in_japanese) == scene


@pytest.mark.parametrize("split", SPLITS)
def test_both_languages_say_the_same(split):
    scenes = Scenes(split, count=1_000)
    for index in range(1_000):
        scene = scenes.scene(index)
        assert read_english(scenes.caption(index, "en")) == scene
        assert read_japanese(scenes.caption(index, "ja")) == scene


# --- pictures, read by rules of the tests ---


def colour_of(pixel: np.ndarray) -> str:
    """Name a colour by bounds that lie between those of the data."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
    if value < 0.3:
        return "black"
    bounds = {"red": 14, "orange": 41, "yellow": 80, "green": 180, "blue": 255, "purple": 308, "pink": 346}
    name = next((name for name, bound in bounds.items() if hue * 360 < bound), "red")
    assert saturation > 0.35, pixel
    return name


def shape_of(cover: np.ndarray) -> str:
    """Name a shape by how it covers its bounding box; `cover` is from 0 to 1 for each pixel."""
    width, height, area = cover.sum(1).max(), cover.sum(0).max(), cover.sum()
    rows = np.arange(len(cover)) + 0.5
    below = ((cover.sum(1) * rows).sum() / area - len(cover) / 2) / height  # how far below the middle its mass is
    if area > 0.66 * width * height:
        return "square" if area > 0.9 * width * height else "circle"
    return "triangle" if below > 0.11 else "star" if height < 0.9 * width else "cross"


def read_picture(picture: np.ndarray) -> list[tuple[Group, list[tuple[float, ...]]]]:
    """Read the groups of a picture, and the box of each shape: left, right, top, bottom as shares of the side."""
    measure = pytest.importorskip("scipy.ndimage")
    background = picture[0, 0].astype(float)
    distance = np.abs(picture - background).max(2)
    areas, count = measure.label(distance > 12, structure=np.ones((3, 3)))
    boxes = defaultdict(list)
    for number, place in enumerate(measure.find_objects(areas), 1):
        inside = areas[place] == number
        pixels = picture[place][inside].astype(float)
        contrast = np.abs(pixels - background).sum(1)
        core = np.median(pixels[contrast > 0.9 * contrast.max()], axis=0)
        axis = core - background
        cover = np.where(inside, ((picture[place] - background) @ axis) / (axis @ axis), 0).clip(0, 1)
        top, bottom, left, right = (
            float(edge) for span in place for edge in (span.start / len(picture), span.stop / len(picture))
        )
        size = "small" if max(bottom - top, right - left) < 0.21 else "large"
        boxes[size, colour_of(core), shape_of(cover)].append((left, right, top, bottom))
    assert count == sum(map(len, boxes.values()))
    return [(Group(len(places), *key), places) for key, places in boxes.items()]


def relations_of(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> set[str]:
    """The relations that hold between each shape of one group and each of the other."""
    (lefts, rights, tops, bottoms), (others_left, others_right, others_top, others_bottom) = (
        zip(*boxes, strict=True) for boxes in (one, other)
    )
    relations = {
        "left of": max(rights) < min(others_left),
        "right of": min(lefts) > max(others_right),
        "above": max(bottoms) < min(others_top),
        "below": min(tops) > max(others_bottom),
    }
    return {name for name, holds in relations.items() if holds}


def describe(picture: np.ndarray) -> Scene:
    """The one scene that a picture shows: of two groups, the one of small shapes comes first."""
    groups = sorted(read_picture(picture), key=lambda group: group[0].size, reverse=True)
    if len(groups) == 1:
        return Scene((groups[0][0],))
    (small, places), (large, others) = groups
    assert (small.size, large.size) == ("small", "large")
    [relation] = relations_of(places, others)
    return Scene((small, large), relation)


@pytest.mark.parametrize("split", SPLITS)
def test_each_caption_is_what_the_picture_shows(split):
    scenes = Scenes(split, image_size=READABLE)
    for index in range(200):
        assert describe(scenes.picture(index)) == read_english(scenes.caption(index, "en")), index


def test_each_group_can_be_seen():
    for group in (Group(*attributes) for attributes in product((1, 2, 3), SIZES, COLOURS, SHAPES)):
        assert describe(draw(Scene((group,)), Draws(str(group)), READABLE)) == Scene((group,))


def test_a_larger_picture_shows_the_same():
    small, large = Scenes("train", image_size=READABLE // 3), Scenes("train", image_size=READABLE)
    for index in range(50):
        one, other = small.picture(index).astype(float), large.picture(index).astype(float)
        side = len(one)
        difference = np.abs(other.reshape(side, 3, side, 3, 3).mean((1, 3)) - one)
        assert difference.mean() < 2.5 and difference.max() < 120


def test_places():
    """Nothing touches the border or another shape, and exactly the relation of the caption holds."""
    scenes, pairs = Scenes("train", seed=7), 0
    for index in range(2_000):
        scene, draws = scenes._draw(index)
        groups = arrange(scene, draws)
        assert [(len(group), {each.shape for each in group}) for group in groups] == [
            (group.number, {group.shape}) for group in scene.groups
        ]
        boxes = [[(s.x - s.radius, s.x + s.radius, s.y - s.radius, s.y + s.radius) for s in group] for group in groups]
        assert all(MARGIN - 1e-9 <= edge <= 1 - MARGIN + 1e-9 for group in boxes for box in group for edge in box)
        for first, second in combinations([box for group in boxes for box in group], 2):
            apart = max(first[0] - second[1], second[0] - first[1], first[2] - second[3], second[2] - first[3])
            assert apart >= GAP - 1e-9
        if scene.relation:
            assert relations_of(*boxes) == {scene.relation}
            pairs += 1
    assert pairs > 1_000
    assert SEPARATION > GAP


def test_sizes_and_colours_differ_clearly():
    assert RADII["large"][0] > 1.4 * RADII["small"][1]
    colours = defaultdict(list)
    for colour in COLOURS:
        for place in range(40):
            [[shape]] = arrange(Scene((Group(1, "large", colour, "circle"),)), Draws(f"{colour}/{place}"))
            assert colour_of(np.array(shape.colour)) == colour
            colours[colour].append(shape.colour)
    means = {colour: np.mean(values, axis=0) for colour, values in colours.items()}
    assert min(np.abs(means[one] - means[other]).max() for one, other in combinations(means, 2)) > 60
    assert list(HSV) == list(COLOURS)


def test_pictures_of_one_caption_differ():
    scene = Scene((Group(1, "large", "red", "circle"),))
    pictures = [draw(scene, Draws(str(place)), 64) for place in range(30)]
    boxes = [read_picture(picture)[0][1][0] for picture in pictures]
    lefts, rights, tops, _ = map(np.array, zip(*boxes, strict=True))
    assert np.ptp(lefts) > 0.4 and np.ptp(tops) > 0.4
    assert len(set(np.round((rights - lefts) * 64))) > 1
    centres = [(round(32 * (top + bottom)), round(32 * (left + right))) for left, right, top, bottom in boxes]
    assert len({tuple(picture[0, 0]) for picture in pictures}) > 25  # backgrounds
    assert len({tuple(picture[place]) for picture, place in zip(pictures, centres, strict=True)}) > 25


@pytest.mark.parametrize("image_size", [32, 64])
def test_pictures_are_smooth(image_size):
    picture = Scenes("train", image_size=image_size).picture(0)
    assert picture.shape == (image_size, image_size, 3)
    assert picture.dtype == np.uint8
    picture = draw(Scene((Group(1, "large", "black", "circle"),)), Draws("smooth"), image_size)
    levels = picture[..., 0].astype(int)
    between = (levels > levels.min() + 20) & (levels < levels.max() - 20)
    assert 12 <= between.sum() < 0.1 * between.size  # pixels that the circle covers in part


# --- one and the same scene ---


def test_a_scene_depends_on_seed_split_and_index_alone():
    scenes = Scenes("train", seed=3)
    expected = digest(scenes, range(12))
    assert digest(Scenes("train", seed=3, count=12), range(12)) == expected
    scenes.picture(500)
    assert digest(scenes, range(12)) == expected
    others = [Scenes("train", seed=4), Scenes("validation", seed=3), Scenes("test", seed=3)]
    assert len({expected, *(digest(other, range(12)) for other in others)}) == 4


def test_same_in_a_fresh_process():
    code = (
        "from tests.builtin.test_shapes import Scenes, digest\n"
        "Scenes('train', seed=9).picture(4)\n"
        "print(digest(Scenes('test', seed=2), range(6)))"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest(Scenes("test", seed=2), range(6))


# --- splits ---


def test_numbers_of_scenes():
    assert {split: len(Scenes(split)) for split in SPLITS} == COUNTS
    assert len(Scenes("train", count=7)) == 7
    assert Scenes("train").picture(0).shape == (IMAGE_SIZE, IMAGE_SIZE, 3)


GROUPS = {Group(*attributes) for attributes in product((1, 2, 3), SIZES, COLOURS, SHAPES)}


@pytest.mark.parametrize("seed", [1, 2])
def test_training_never_shows_what_is_held_out(seed):
    for split in SPLITS:
        scenes = Scenes(split, seed=seed, count=8_000)
        parsed = [read_english(scenes.caption(index, "en")) for index in range(8_000)]
        shown = {group for scene in parsed for group in scene.groups}
        splits = [{HELD_OUT[group] for group in scene.groups if group in HELD_OUT} for scene in parsed]
        assert [held_out(scene) for scene in parsed] == splits
        assert set().union(*splits) == {split} - {"train"}
        assert sum(map(bool, splits)) == {"train": 0, "validation": 4_000, "test": 8_000}[split]
        assert shown == {group for group in GROUPS if HELD_OUT.get(group, split) == split}


def test_training_shows_any_three_attributes_of_a_held_out_group():
    assert len(HELD_OUT) == len(GROUPS) / 5 and set(HELD_OUT) < GROUPS
    assert Counter(HELD_OUT.values()) == {"validation": 24, "test": 24}
    for three in combinations(range(4), 3):
        shown = {tuple(group[place] for place in three) for group in GROUPS - set(HELD_OUT)}
        assert shown == {tuple(group[place] for place in three) for group in GROUPS}
    for attribute in range(4):
        assert len(set(Counter(group[attribute] for group in HELD_OUT).values())) <= 2  # about equally many of each


def test_attributes_are_balanced():
    scenes = [Scenes("train").scene(index) for index in range(4_000)]
    groups = [group for scene in scenes for group in scene.groups]
    relations = Counter(scene.relation for scene in scenes)
    assert 0.30 < relations.pop("") / 4_000 < 0.37
    assert set(relations) == {"left of", "right of", "above", "below"}
    assert max(relations.values()) < 1.15 * min(relations.values())
    for attribute, spread in (("size", 1.05), ("colour", 1.8), ("shape", 1.4)):
        counts = Counter(getattr(group, attribute) for group in groups)
        assert max(counts.values()) < spread * min(counts.values()), counts
    numbers = Counter(group.number for group in groups)
    assert sorted(numbers) == [1, 2, 3] and numbers[3] > 0.15 * len(groups)
    assert {len(scene.groups) for scene in scenes} == {1, 2}
    assert max(sum(group.number for group in scene.groups) for scene in scenes) == 4


def test_each_kind_of_sentence_occurs():
    """Each relation with each pair of numbers, and each size and number without one."""
    kinds = Counter()
    for index in range(4_000):
        scene = Scenes("train").scene(index)
        kinds[scene.relation, *(group.size for group in scene.groups), *(group.number for group in scene.groups)] += 1
    assert len(kinds) == 2 * 3 + 4 * 6  # numbers of which the sum is at most 4
    assert min(kinds.values()) > 70
    assert {kind[1:3] for kind in kinds if kind[0]} == {("small", "large")}


# --- faults ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, r"no split 'dev': take one of train, validation, test$"),
        ({"split": "train", "count": -1}, r"count -1 is negative: give a number of scenes, or 0 for the default$"),
        ({"split": "train", "image_size": 15}, r"pictures of 15 pixels.*: .*16"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(DataError, match=message):
        Scenes(**arguments)


def test_wrong_indices_and_languages():
    scenes = Scenes("train", count=5)
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"scene {index} of 5"):
            scenes.scene(index)
    with pytest.raises(DataError, match=r"no captions in 'fr': take one of en, ja$"):
        scenes.caption(0, "fr")
