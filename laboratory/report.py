"""The results of experiments: files of each one, and their places in the page of documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laboratory.experiment import Cell, Experiment, Outcome, Scale, Table
from tformer_cli.draw import svg
from tformer_cli.errors import DataError
from tformer_cli.runs.writing import output_file

RESULT = "result.json"
FIGURE_BYTES = 60_000


def write(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> None:
    """Write `result.json`, and `figure.svg` if there is a figure.

    Args:
        folder: folder of the experiment.
        outcome: what was measured.
        about: date, scale, and what identifies the runs.
    """
    tables = [{"title": table.title, "header": table.header, "rows": table.rows} for table in outcome.tables]
    content = {**about, "tables": tables, "numbers": outcome.numbers}
    if outcome.figure is not None:
        with output_file(folder / "figure.svg") as file:
            file.write(svg(outcome.figure).encode())
    with output_file(folder / RESULT) as file:  # last: it says that the experiment is complete
        file.write((json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    rows = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return f"{table.title}\n\n{rows}" if table.title else rows


def _cell(cell: Cell) -> str:
    """Return the text of a cell."""
    return "-" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|")


def block(name: str, content: Mapping[str, Any]) -> str:
    """Return what the page shows of an experiment: its figure, its tables, and what they were measured with."""
    parts = [f"![{content['title']}](lineage/{name}.svg)"] if content.get("figure") else []
    parts += [markdown(Table(item["header"], item["rows"], item["title"])) for item in content["tables"]]
    minutes = f"{content['minutes']:.0f} minutes" if content["minutes"] > 1.5 else "a minute"
    parts.append(f"Each model: {content['budget']}. Data: {content['corpus']}.")
    measured = f"All trainings: {minutes}, {content['processor']}, {content['date']}."
    parts.append(f"{measured} [Code](../laboratory/experiments/{name}.py).")
    return "\n\n".join(parts)


def fill(page: str, contents: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a page with the results of experiments in their places.

    A place is between `<!-- results: NAME -->` and `<!-- end -->`. The places of other experiments stay as they are.

    Raises:
        DataError: if the page has no place for one of them.
    """
    for name, content in contents.items():
        pattern = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = block(name, content)
        page, count = pattern.subn(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page)
        if not count:
            raise DataError(f"the page has no place for {name}", f"add <!-- results: {name} --> and <!-- end -->")
    return page


def publish(experiments: Mapping[str, Experiment], folder: Path, docs: Path) -> list[Path]:
    """Copy results and figures of complete experiments into the documentation, and fill its pages.

    Args:
        experiments: the experiments by their names.
        folder: folder of all experiments.
        docs: folder of the documentation, with `lineage.md` and a folder `lineage`.

    Raises:
        DataError: if an experiment has no result, was not trained in full, or its figure is too large.
    """
    contents: dict[str, dict[str, Any]] = {}
    for name, experiment in experiments.items():
        path = folder / name / RESULT
        if not path.is_file():
            raise DataError(f"{path}: no such file", f"make lineage EXPERIMENT={name}")
        contents[name] = json.loads(path.read_bytes())
        if contents[name]["scale"] != Scale.full.name:
            raise DataError(f"{path}: of {contents[name]['scale']} trainings", f"make lineage EXPERIMENT={name}")
        contents[name] |= {"title": experiment.title, "budget": experiment.budget, "corpus": experiment.corpus}
        del contents[name]["numbers"]  # those behind the figure stay in the folder of the experiment
        figure = folder / name / "figure.svg"
        if figure.is_file():
            if figure.stat().st_size > FIGURE_BYTES:
                raise DataError(f"{figure}: larger than {FIGURE_BYTES:,} bytes", "draw less")
            contents[name]["figure"] = True
            (docs / "lineage" / f"{name}.svg").write_bytes(figure.read_bytes())
        text = json.dumps(contents[name], ensure_ascii=False, indent=1) + "\n"
        (docs / "lineage" / f"{name}.json").write_text(text, encoding="utf-8")
    pages = sorted(docs.glob("lineage*.md"))
    for page in pages:
        page.write_text(fill(page.read_text(encoding="utf-8"), contents), encoding="utf-8")
    return pages
