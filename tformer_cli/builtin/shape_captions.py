"""Scenes of shapes, and the English and the Japanese sentences that describe them."""

from __future__ import annotations

from typing import NamedTuple

SIZES = {"small": "小さい", "large": "大きい"}
COLOURS = {
    "red": "赤い",
    "orange": "オレンジ色の",
    "yellow": "黄色い",
    "green": "緑の",
    "blue": "青い",
    "purple": "紫の",
    "pink": "ピンクの",
    "black": "黒い",
}
SHAPES = {"circle": "円", "square": "正方形", "triangle": "三角形", "star": "星", "cross": "十字"}
RELATIONS = {"left of": "左", "right of": "右", "above": "上", "below": "下"}
NUMERALS = {1: ("a", "一つ"), 2: ("two", "二つ"), 3: ("three", "三つ")}


class Group(NamedTuple):
    """Shapes that look the same: `number` is from 1 to 3, the other attributes are keys of the tables above."""

    number: int
    size: str
    colour: str
    shape: str


class Scene(NamedTuple):
    """The content of a picture.

    Attributes:
        groups: one or two groups.
        relation: where the first group is, seen from the second; empty if there is only one group.
    """

    groups: tuple[Group, ...]
    relation: str = ""


def english(scene: Scene) -> str:
    """Return the English sentence, such as "two small red circles are left of a large blue square"."""
    subject, *others = scene.groups
    verb = "is" if subject.number == 1 else "are"
    if not others:
        return f"there {verb} {_english(subject)}"
    return f"{_english(subject)} {verb} {scene.relation} {_english(others[0])}"


def japanese(scene: Scene) -> str:
    """Return the Japanese sentence, such as "小さい赤い円が二つ、大きい青い正方形の左にあります。"."""
    subject, *others = scene.groups
    start = f"{_japanese(subject)}が{NUMERALS[subject.number][1]}"
    if not others:
        return f"{start}あります。"
    number = f"{NUMERALS[others[0].number][1]}の" if others[0].number > 1 else ""
    return f"{start}、{number}{_japanese(others[0])}の{RELATIONS[scene.relation]}にあります。"


def _english(group: Group) -> str:
    ending = "" if group.number == 1 else "es" if group.shape.endswith("s") else "s"
    return f"{NUMERALS[group.number][0]} {group.size} {group.colour} {group.shape}{ending}"


def _japanese(group: Group) -> str:
    return SIZES[group.size] + COLOURS[group.colour] + SHAPES[group.shape]
