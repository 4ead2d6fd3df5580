"""A wheel, installed elsewhere, has all it needs: recipes, option groups, the demo's data."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with nothing but the wheel's content, as an installer lays it out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`tformer ARGUMENTS` from the wheel, in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    code = (
        "import sys, tformer_cli; from tformer_cli.cli.main import main; "
        f"assert tformer_cli.__file__.startswith({str(installed)!r}); sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_recipe_is_in_the_wheel(installed, tmp_path):
    done = run(installed, tmp_path, "recipes")
    names = {
        path.relative_to(ROOT / "recipes").with_suffix("").as_posix() for path in (ROOT / "recipes").rglob("*.yaml")
    }
    assert done.returncode == 0 and names and all(name in done.stdout for name in names)


def test_type_checkers_use_the_annotations_of_the_wheel(installed):
    assert (installed / "tformer_cli" / "py.typed").is_file()


def test_the_demo_recipe_runs_from_an_empty_folder(installed, tmp_path):
    small = (
        "data.size=200", "trainer.steps=2", "tokenizer.vocab_size=500", "trainer.evaluate_limit=2", "trainer.threads=1",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "data.batch_tokens=400",
    )  # fmt: skip
    done = run(installed, tmp_path, "pretrain", "quickstart/translation", *small, "--run", "run")
    assert done.returncode == 0, done.stderr
    done = run(
        installed, tmp_path, "evaluate", "run", "--split", "test", "--json", "decode.beam=1", "decode.max_length=4"
    )
    assert done.returncode == 0 and "bleu" in done.stdout
