"""The packages that errors suggest to install are names that pip finds."""

import re
import tomllib
from pathlib import Path

import pytest

from tformer_cli.errors import ConfigError, install_command, library

EXTRAS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_advice_names_every_package_of_an_extra(extra):
    command = install_command(extra)
    assert command.startswith("pip install '")
    advised = re.findall(r"'([^']+)'", command)
    assert sorted(advised) == sorted(line.replace(" ", "") for line in EXTRAS[extra])


def test_a_missing_library_is_one_line_with_the_command_that_installs_it():
    with pytest.raises(ConfigError) as caught:
        library("no_such_module", "no-such-package", "speech")
    assert str(caught.value) == (f"this needs no-such-package, which is not installed: {install_command('speech')}")
