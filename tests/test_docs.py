"""The documentation of the package, its dependencies and its recipes is true, and its links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tformer_cli.config.recipes import RecipeInfo, recipes

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
MEASURED = [info for info in recipes() if DATE.match(info.header["measured"])]


def normalised(name: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def dependencies() -> set[str]:
    """The packages that pyproject.toml names: required, of extras and for development."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        content = tomllib.load(file)
    lists = [
        content["project"]["dependencies"],
        *content["project"]["optional-dependencies"].values(),
        *content["dependency-groups"].values(),
    ]
    return {normalised(re.split(r"[<>=!~\[; ]", line)[0]) for lines in lists for line in lines}


def test_every_package_is_named_in_the_architecture():
    folders = [path.parent for path in (ROOT / "tformer_cli").glob("*/__init__.py")]
    missing = [folder.name for folder in folders if f"tformer_cli/{folder.name}/" not in ARCHITECTURE]
    assert folders and not missing


def test_every_dependency_has_a_reason(dependencies):
    section = ARCHITECTURE.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)
    named = {normalised(name) for row in rows for name in re.findall(r"[\w-]+", row.partition(" (")[0])}
    assert dependencies - named == set()


def test_every_dependency_is_pinned(dependencies):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normalised(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert dependencies - pinned == set()


def without_code(page: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page's paragraphs, list items and cells of tables; what is code counts as one word."""
    for block in re.split(r"\n\s*\n|\n(?=[-*#] |\|)", without_code(page)):
        for text in block.split("|") if block.lstrip().startswith("|") else [block]:
            text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))
            yield from re.split(r"(?<=[.!?])\**\s+(?=[A-Z\"*(])", re.sub(r"`[^`]*`", "Code", text))


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and PyPI make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert README.count("\n") < 200
    long = [sentence for sentence in sentences(README) if len(re.findall(r"[\w'-]+", sentence)) > 25]
    assert not long


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path):
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_code(path.read_text(encoding="utf-8")))
    broken = []
    for link in links:
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken


def test_the_contents_of_the_page_of_errors_are_its_headings():
    page = without_code((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    contents, after = re.split(r"\n(?=## )", page.partition("\n## Contents\n")[2], maxsplit=1)
    entries = re.findall(r"^( *)- \[(.+)\]\(#(.+)\)$", contents, re.MULTILINE)
    headings = re.findall(r"^(##+) (.+)$", after, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^ *- ", contents, re.MULTILINE)) > 50
    listed = [("#" * (2 + len(indent) // 2), text) for indent, text, _ in entries]
    assert listed == headings
    assert {anchor for _, _, anchor in entries} == anchors(after)
    assert len(anchors(after)) == len(headings)


@pytest.mark.parametrize("info", recipes(), ids=lambda info: info.name)
def test_a_recipes_header_has_short_entries(info: RecipeInfo):
    assert set(info.header) <= {"command", "data", "hardware", "time", "expected", "measured"}
    assert [key for key, text in info.header.items() if len(text) > 250] == []


@pytest.mark.parametrize("info", MEASURED, ids=lambda info: info.name)
def test_the_results_agree_with_the_headers_of_recipes(info: RecipeInfo):
    (row,) = re.findall(rf"^\| `{info.name}` \| .+$", RESULTS.partition("\n## How settings")[0], re.MULTILINE)
    score = re.search(r"\d+\.\d+|all \d+", info.header["expected"])
    assert score and score[0] in row
    machines = ("EPYC", "Ice Lake", "AVX2", "Xeon AMX")
    machine = next(name for name in machines if name in info.header["measured"])
    assert row.endswith(f" | {info.header['measured'][:10]}, {machine} |")


def test_every_recipe_is_in_the_results():
    table = RESULTS.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+/\w+)`", table)) >= {info.name for info in recipes()}


def test_choices_of_settings_are_listed_newest_first():
    dates = re.findall(r"^\| (\d{4}-\d\d-\d\d) \| `", RESULTS.partition("\n## How settings")[2], re.MULTILINE)
    assert len(dates) > 20 and dates == sorted(dates, reverse=True)
