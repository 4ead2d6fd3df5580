"""Rows and columns in the learned positions of a ViT, which are told neither."""

import numpy as np
import torch

from laboratory.experiment import Cell, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread
from laboratory.small_images import CIFAR, QUICK, TINY, VIT
from tformer_cli.analysis.positions import monotonicity, similarities
from tformer_cli.config.schema import Combine
from tformer_cli.draw import HeatMaps
from tformer_cli.figures import positions
from tformer_cli.nn.grid import GridPositions


def line_scores(cosines: np.ndarray, places: np.ndarray) -> tuple[float, float]:
    """Return how much more similar two patches of one row or column are than two others, on average.

    Args:
        cosines: of each pair of patches, (N, N).
        places: rows and columns, (N, 2).

    Returns:
        The difference of the mean cosines; and the mean over 2, 3, ... steps of this difference among pairs that are
        so many steps along rows and columns apart. Those in a line are then the more distant ones on paper.
    """
    offsets = np.abs(places[:, None] - places[None])
    steps, same_line = offsets.sum(-1), (offsets == 0).any(-1)
    both = set(steps[same_line].tolist()) & set(steps[~same_line].tolist())

    def difference(chosen: np.ndarray) -> float:
        return float(cosines[same_line & chosen].mean() - cosines[~same_line & chosen].mean())

    return difference(steps > 0), float(np.mean([difference(steps == distance) for distance in sorted(both)]))


def measure(runs: Runs) -> Outcome:
    """Score the positions of each run, and those with which a model starts."""
    columns: dict[str, list[tuple[float, ...]]] = {"untrained": [], "trained": []}
    drawn, grid = None, (1, 1)
    for seed, path in enumerate(runs.groups["trained"]):
        (table,) = positions.tables(runs.open(path).model)
        grid = table.size[0], table.size[1]
        torch.manual_seed(seed)
        start = GridPositions(table.scheme, Combine.add, table.vectors.shape[1], grid, class_token=False)
        for name, each in (("untrained", positions.of_grid("start", start)), ("trained", table)):
            cosines = similarities(each.vectors)
            columns[name].append((*line_scores(cosines, each.places), monotonicity(cosines, each.places)))
            drawn = cosines.reshape(*grid, *grid) if drawn is None and name == "trained" else drawn
    names = ("same line - others", "the same, at equal steps", "the nearer is the more similar")
    rows: list[list[Cell]] = [
        [name, *(Spread([scores[number] for scores in columns[kind]]).text(2) for kind in columns)]
        for number, name in enumerate(names)
    ]
    assert drawn is not None
    picture = HeatMaps(
        drawn[::2, ::2].reshape(-1, *grid), title="Cosines of the positions of a quarter of the patches with all",
        row_title="row of the patch", column_title="column of the patch", diverging=True, limits=(-1.0, 1.0),
        grid_columns=len(drawn[0, ::2]),
    )  # fmt: skip
    return Outcome([Table(("cosines of positions", *columns), rows)], picture, {"cosines": drawn.round(3).tolist()})


EXPERIMENT = Experiment(
    title="Rows and columns in learned positions of a Vision Transformer",
    claim="vectors that are learned for the numbers of patches recover the rows and columns of the grid",
    source="Dosovitskiy et al. 2021, section 4.5 and figure 7 (centre)",
    budget="4,000 steps of 64 images, three seeds; untrained positions are the reference",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded([Training("trained", "vit/cifar10_plain", (*CIFAR, *VIT, "trainer.steps=4000"))], (1, 2, 3)),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
