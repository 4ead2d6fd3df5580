"""The reference of `tformer settings` agrees with the schema of configurations."""

import json
import re
import sys

import pytest

from tformer_cli.cli.main import main
from tformer_cli.cli.settings import reference
from tformer_cli.config.compose import compose
from tformer_cli.config.experiments import current_name, experiment, tasks
from tformer_cli.config.recipes import names
from tformer_cli.config.values import convert, leaves


@pytest.mark.parametrize("task", [*tasks(), "resnet_classification"])
def test_every_setting_of_a_task_is_listed_with_the_default_that_it_has(task):
    lines = {line.key: line for line in reference(task)}
    schema = experiment(*current_name(task))
    config = schema()
    assert list(lines) == list(leaves(schema))
    for key, leaf in leaves(schema).items():
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        shown = lines[key].default
        if shown and not isinstance(value, list):
            assert convert("" if shown == "''" else shown, leaf) == value, key
        assert lines[key].about, key


def test_a_key_whose_default_differs_has_a_line_for_each_default():
    lines = [line for line in reference() if line.key == "head.pooling"]
    assert len(lines) > 1 and len({line.default for line in lines}) == len(lines)
    assert all(line.tasks for line in lines)
    assert [line.tasks for line in reference() if line.key == "optim.weight_decay"] == [()]


def test_the_task_has_one_line_with_the_names_of_all_tasks():
    for lines, default in ((reference(), ""), (reference("captioning"), "captioning")):
        (line,) = (line for line in lines if line.key == "task")
        assert (line.default, line.values, line.tasks) == (default, " ".join(tasks()), ())


def test_the_table_has_one_line_for_each_setting_and_names_the_exceptions(capsys):
    assert main(["settings", "optim."]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    names = [line.split()[0] for line in lines]
    assert len(names) == len(set(names)) and max(map(len, lines)) < 250
    (rate,) = (line for line in lines if line.startswith("optim.lr "))
    assert rate.split()[1] == "0.001" and rate.endswith("peak learning rate (0.0004: image_generation)")
    assert main(["settings", "objective.ctc_weight"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("(speech_recognition)")


def test_words_of_descriptions_are_searched_if_no_name_begins_with_them(capsys):
    assert main(["settings", "learning"]) == 0
    out, err = capsys.readouterr()
    assert err == "no setting begins with 'learning'; the names or descriptions of these contain it:\n"
    assert "\noptim.lr " in out and "\nseed " not in out and "\ndata.path " not in out
    assert main(["settings", "rate"]) == 0
    assert "\ndata.sample_rate " in capsys.readouterr().out


def test_settings_prints_a_table_or_json_and_suggests_a_prefix(capsys):
    assert main(["settings", "optim.l"]) == 0
    out = capsys.readouterr().out
    assert out.split("\n")[1].startswith("optim.lr ") and "number >= 0" in out and "seed" not in out
    assert main(["settings", "optim.weight_decay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "optim.weight_decay"
    assert main(["settings", "optm"]) == 2
    assert capsys.readouterr().err == "error: no setting begins with 'optm': did you mean 'optim'?\n"
    assert main(["settings", "--task", "translatio"]) == 2
    assert capsys.readouterr().err == "error: --task: no task 'translatio': did you mean 'translation'?\n"


@pytest.fixture
def terminal(capsys, monkeypatch):
    """A function that returns what a command prints on a terminal of 120 columns, without colours."""

    def printed(*command: str) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(list(command)) == 0
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    return printed


def test_a_list_fits_a_terminal_and_leaves_nothing_of_a_description_out(terminal):
    text = terminal("settings", "model.")
    assert max(map(len, text.splitlines())) <= 120
    words = " ".join(text.split())
    described = {line.about for line in reference() if line.key.startswith("model.")}
    short = [about for about in described if len(about) < 70]
    assert len(short) > 40 and all(about in words for about in short)
    starts = [line.split()[0] for line in text.splitlines() if line.startswith("  model.")]
    assert len(starts) == len({(line.key, line.about, line.values) for line in reference() if line.key in starts})
    assert len(text.splitlines()) < 1.6 * len(starts)


def test_a_name_shows_everything_about_a_setting_on_a_terminal(terminal):
    text = terminal("settings", "model.heads")
    assert max(map(len, text.splitlines())) <= 120
    words = " ".join(text.split())
    lines = [line for line in reference() if line.key == "model.heads"]
    assert {line.default for line in lines} == {"8", "4"}
    assert "default: 8 other defaults: 4: speech_recognition, speech_translation values: whole number >= 1" in words
    assert "tasks: masked_language_model, " in words and lines[0].about in words


def test_settings_of_a_recipe_have_its_values(capsys):
    name = next(name for name in names() if name == "quickstart/translation")
    assert main(["settings", "--recipe", name, "--json"]) == 0
    shown = {line["key"]: line["default"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
    config = compose(name, [])
    assert shown["model.dim"] == str(config.model.dim)
    assert shown["trainer.steps"] == str(config.trainer.steps)
