"""Pictures of coloured shapes with a sentence in English and in Japanese.

A scene has one or two groups of equal shapes. A group has a number (1 to 3), a size, a colour and a shape. Of two
groups, one consists of small and the other of large shapes, and they stand in a relation. The sentence that describes a
scene is unique: if there are two groups, its subject is the group of small shapes.

Training contains none of the groups of `HELD_OUT`. Half of the scenes of validation and all of test contain one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tformer_cli.builtin.draws import Draws
from tformer_cli.builtin.shape_captions import (
    COLOURS,
    NUMERALS,
    RELATIONS,
    SHAPES,
    SIZES,
    Group,
    Scene,
    english,
    japanese,
)
from tformer_cli.builtin.shape_pictures import draw
from tformer_cli.errors import DataError

COUNTS: dict[str, int] = {"train": 20_000, "validation": 200, "test": 1_000}
IMAGE_SIZE, LEAST_IMAGE_SIZE = 40, 16
LANGUAGES = {"en": english, "ja": japanese}
HELD_OUT: dict[Group, str] = {
    Group(number, size, colour, shape): ("validation", "test")[(number + colour_index) % 2]
    for number in NUMERALS
    for size_index, size in enumerate(SIZES)
    for colour_index, colour in enumerate(COLOURS)
    for shape_index, shape in enumerate(SHAPES)
    if (shape_index - colour_index - 2 * number - size_index) % len(SHAPES) == 0
}
"""Groups that training never shows, a fifth of all, and the split that does.

For each number, size and colour it is one shape of five. Training shows any three attributes of such a group together.
"""
_NUMBERS = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1))


def held_out(scene: Scene) -> set[str]:
    """Return the splits for which groups of a scene are held out; empty if training may contain the scene."""
    return {HELD_OUT[group] for group in scene.groups if group in HELD_OUT}


@dataclass(frozen=True)
class Scenes:
    """The scenes of a split; each is a pure function of seed, split and index, and is drawn when it is asked for.

    Attributes:
        split: train, validation or test.
        seed: decides the scenes. The groups that are held out do not depend on it.
        count: number of scenes; 0: as many as `COUNTS` says. A smaller set is the beginning of a larger one.
        image_size: height and width of the pictures in pixels.

    Raises:
        DataError: if there is no such split, the count is negative, or the pictures are too small to show shapes.
    """

    split: str
    seed: int = 1
    count: int = 0
    image_size: int = IMAGE_SIZE

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.split not in COUNTS:
            raise DataError(f"built-in shapes have no split {self.split!r}", f"take one of {', '.join(COUNTS)}")
        if self.count < 0:
            raise DataError(
                f"built-in shapes: count {self.count} is negative", "give a number of scenes, or 0 for the default"
            )
        if self.image_size < LEAST_IMAGE_SIZE:
            cause = f"built-in shapes: pictures of {self.image_size} pixels do not show them"
            raise DataError(cause, f"give at least {LEAST_IMAGE_SIZE}")

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self.count or COUNTS[self.split]

    def scene(self, index: int) -> Scene:
        """Return what a picture shows."""
        return self._draw(index)[0]

    def picture(self, index: int) -> np.ndarray:
        """Return a picture, (image_size, image_size, 3), uint8."""
        return draw(*self._draw(index), self.image_size)

    def caption(self, index: int, language: str) -> str:
        """Return the sentence that describes a picture.

        Raises:
            DataError: if the language is not in `LANGUAGES`.
        """
        if language not in LANGUAGES:
            raise DataError(f"built-in shapes have no captions in {language!r}", f"take one of {', '.join(LANGUAGES)}")
        return LANGUAGES[language](self.scene(index))

    def _draw(self, index: int) -> tuple[Scene, Draws]:
        """Return a scene, and the draws that continue with its picture."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        draws = Draws(f"{self.seed}/{self.split}/{index}")
        held_out_splits = {self.split} if self.split == "test" or (self.split == "validation" and index % 2) else set()
        relation = draws.choose(("", "", *RELATIONS))
        numbers = draws.choose(_NUMBERS) if relation else (draws.choose((1, 2, 3)),)
        sizes = ("small", "large") if relation else (draws.choose(("small", "large")),)
        while True:
            colours, shapes = ([draws.choose(list(names)) for _ in sizes] for names in (COLOURS, SHAPES))
            scene = Scene(tuple(map(Group, numbers, sizes, colours, shapes)), relation)
            if held_out(scene) == held_out_splits:
                return scene, draws
