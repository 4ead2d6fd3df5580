"""The comparisons of `tformer quickstart`: several models with one recipe and the same budget, a table and a chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.tasks.demos import ComparedModels


def comparison_configs(name: str, compared: ComparedModels, length: list[str]) -> dict[str, Experiment]:
    """Return the configuration of each model by the name of its run.

    Args:
        name: name of the comparison.
        compared: its models.
        length: settings of the length of training.

    Raises:
        ConfigError: if a setting is not valid.
    """
    from tformer_cli.config.compose import compose

    return {model: compose(f"quickstart/{name}", [*settings, *length]) for model, settings in compared.settings.items()}


def show_comparison(compared: ComparedModels, configs: dict[str, Experiment], folder: Path, quiet: bool) -> None:
    """Train the models one after the other, print their scores in a table, and write a chart.

    Args:
        compared: the models.
        configs: configuration of each run by its name.
        folder: folder of the runs.
        quiet: whether only results are printed.
    """
    from tformer_cli.cli.compare import show, write_chart
    from tformer_cli.cli.output import note
    from tformer_cli.train.launch import launch
    from tformer_cli.trained.compare import compare_runs

    for number, (model, config) in enumerate(configs.items(), start=1):
        note(f"\nmodel {number} of {len(configs)}: {model}", quiet=quiet)
        launch(config, folder / model, resume=False, initial=None, processes=1, quiet=quiet)
    runs = [folder / model for model in configs]
    comparison = compare_runs(
        runs, "test", metric=compared.metric, by=compared.by, say=lambda line: note(line, quiet=quiet)
    )
    show(comparison)
    chart = folder / f"{compared.by}.svg"
    write_chart(comparison, chart, chart.suffix)
    for line in comparison.notes:
        note(line, quiet=quiet)
    note(f"\nthe scores by {compared.by} as a chart: {chart}", quiet=quiet)
