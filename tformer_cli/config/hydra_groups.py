"""Composing options of `conf/` by Hydra."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tformer_cli.config import values
from tformer_cli.config.overrides import unsuited
from tformer_cli.config.recipes import fitting, folder, groups
from tformer_cli.config.schema import Experiment
from tformer_cli.errors import ConfigError


@functools.lru_cache(maxsize=64)
def _composed_by_hydra(conf: Path, options: tuple[tuple[str, str], ...], changed: tuple[int, ...]) -> dict[str, Any]:
    """Compose options of a configuration folder by Hydra, once in a process unless the folder's files change.

    Args:
        conf: the configuration folder.
        options: pairs of group and option.
        changed: modification times of the folder's files.

    Raises:
        ConfigError: if Hydra cannot compose them.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store("tformer_recipe", {"defaults": [{group: name} for group, name in options]})
    outer = GlobalHydra.instance().hydra  # the calling program may use Hydra too
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf), version_base="1.3"):
            composed = hydra.compose("tformer_recipe")
        return cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=False))
    except (HydraException, OmegaConfBaseException) as error:
        listed = ", ".join(f"{group}={name}" for group, name in options)
        raise ConfigError(f"the options {listed} cannot be composed", f"check their files in {conf}") from error
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


def compose_groups(options: Mapping[str, str], schema: type[Experiment]) -> dict[str, Any]:
    """Compose the settings of some options of `conf/` by Hydra, and check them.

    Raises:
        ConfigError: if an option has settings that the task does not, such as a vision model for translation.
    """
    if not options:
        return {}
    conf = folder("conf")
    changed = tuple(path.stat().st_mtime_ns for path in sorted(conf.rglob("*.yaml")))
    tree = copy.deepcopy(_composed_by_hydra(conf, tuple(options.items()), changed))
    for group, name in options.items():
        try:
            values.check({group: tree.get(group) or {}}, schema)
        except ConfigError as error:
            suited = fitting(group, schema)
            if suited and name in groups().get(group, ()) and name not in suited:
                raise unsuited(group, name, schema) from None
            raise ConfigError(f"{group}={name}: {error.cause}", error.remedy) from None
    return values.check(tree, schema)
