"""From `conf/` and overrides to one resolved config, with errors that a user can act on."""

from __future__ import annotations

import errno
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import hydra_plugins.convforge_config  # noqa: F401  registers the resolver that validates
from convforge.errors import InputError
from convforge.pipeline.credentials import redacted_uri
from convforge.pipeline.printable import one_line
from convforge.pipeline.project import CONFIG_NAME
from convforge.pipeline.settings.explanation import known_keys
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.search import TARGET, SearchSettings

# Of packages that the extra `sweep` brings.
_LAUNCHERS_OF_SWEEP = ("joblib", "submitit_local", "submitit_slurm")
# Of an override: letters, and levels of its key or of brackets in its value.
_LONGEST_OVERRIDE = 10_000
_DEEPEST = 20
# Letters of an override that a message repeats.
_MOST_SHOWN = 200
# Keys of the same name that a message names, as `filters` of many layers.
_MOST_KEYS = 3
# What Hydra, OmegaConf and the YAML parser raise for a config that is wrong; Hydra uses a plain
# ValueError where a group gets a value that names no option.
_REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)


def compose_config(root: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of `root`'s `conf/` with `overrides`, resolved and validated.

    Raises:
        InputError: an unknown group, option or key, a wrong value; with the nearest valid name.
    """
    _refuse_endless(overrides)
    try:
        config = _compose(root, overrides)
        OmegaConf.resolve(config)
    except _REFUSALS as error:
        raise explain(error, root, overrides) from error
    except RecursionError as error:
        raise InputError(f"the config is nested too deeply{_given(overrides)}") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputError(f"a name is too long{_given(overrides)}") from error
    return config


def _refuse_endless(overrides: Iterable[str]) -> None:
    """Refuse what Hydra's parser would recurse into, or look for in the file system.

    Raises:
        InputError: naming the override.
    """
    for override in overrides:
        shown = _shown(override)
        if len(override) > _LONGEST_OVERRIDE:
            raise InputError(f"{shown} is longer than {_LONGEST_OVERRIDE:,} letters")
        key = override.partition("=")[0]
        if key.count(".") + key.count("/") > _DEEPEST:
            raise InputError(f"{shown}: the key has more than {_DEEPEST} levels")
        depth = 0
        for letter in override:
            depth += (letter in "[{(") - (letter in ")}]")
            if depth > _DEEPEST:
                raise InputError(f"{shown}: it is nested more than {_DEEPEST} deep")


def _shown(override: str) -> str:
    """An override in a message: one line, not too long, and without credentials."""
    key, sign, value = override.partition("=")
    line = one_line(f"{key}{sign}{redacted_uri(value)}")
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _given(overrides: Iterable[str]) -> str:
    return f" (in: {' '.join(_shown(item) for item in overrides)})"


def settings_of(config: DictConfig) -> Settings:
    """The typed form of a composed config."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return Settings.parse({str(key): value for key, value in container.items()})


def read_params(path: Path) -> Settings:
    """The settings in a `params.yaml` that the compose stage or DVC wrote.

    Raises:
        InputError: no such file, no YAML in it, or a wrong key or value.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: `convforge compose` writes it from conf/")
    try:
        return settings_of(OmegaConf.create(path.read_text(encoding="utf-8")))
    except InputError:
        raise
    except _REFUSALS as error:
        raise InputError(f"{path}: {_one_line(error)}") from error


def sweep_jobs(root: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a multirun: the product of all choices.

    They are lists (`a,b`), `choice(…)`, `range(…)` and, of the options of a group, `glob(…)`.

    Raises:
        InputError: an override that cannot be parsed, a `glob` that nothing fits, or an
            `interval(…)`, of which there is no list.
    """
    parsed = parsed_overrides(root, overrides)
    for override in parsed:
        if override.is_interval_sweep():
            raise InputError(
                f"{_shown(str(override.input_line))} is not allowed: an interval is for a search; "
                "add hydra/sweeper=optuna, or give a list, choice(…) or range(…)"
            )
    try:
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise explain(error, root, overrides) from error
    return [list(job) for batch in batches for job in batch]


def parsed_overrides(root: Path, overrides: Sequence[str]) -> list[Override]:
    """What Hydra makes of `overrides`, the options of each group known.

    Raises:
        InputError: an override that cannot be parsed, or a `glob` that nothing fits.
    """
    _refuse_endless(overrides)
    try:
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            # It knows the options of each group.
            loader = GlobalHydra.instance().config_loader()
            parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    except HydraException as error:
        raise explain(error, root, overrides) from error
    for override in parsed:
        globs = override.value_type == ValueType.GLOB_CHOICE_SWEEP
        if globs and not list(override.sweep_iterator()):
            shown = _shown(str(override.input_line))
            raise InputError(f"{shown} fits no option of {override.key_or_group}")
    return list(parsed)


def search_settings(own: DictConfig) -> SearchSettings | None:
    """The settings of a search in Hydra's own part of the config; None for all combinations.

    Raises:
        InputError: a wrong key or value of `hydra.sweeper`.
    """
    if own.sweeper.get("_target_") != TARGET:
        return None
    sweeper = OmegaConf.to_container(own.sweeper, resolve=True)
    assert isinstance(sweeper, dict)
    return SearchSettings.parse({str(name): value for name, value in sweeper.items()})


def hydra_config(root: Path, overrides: Sequence[str]) -> DictConfig:
    """Hydra's own part of the config: its launcher, and the folders of the jobs.

    Raises:
        InputError: a launcher that is not there or not installed, or an unknown key of it.
    """
    own = [item for item in overrides if is_hydras(item)]
    try:
        return _compose(root, own, with_hydra=True).hydra
    except _REFUSALS as error:
        raise explain(error, root, own) from error


def hydra_info(root: Path, overrides: Sequence[str], part: str) -> str:
    """What Hydra's `--info` says of the config with `overrides`.

    It writes through a log, which the config switches off, and which turns a pipe that closes into
    tracebacks; so it is caught here.

    Args:
        root: the project's folder.
        overrides: of one job.
        part: all, config, defaults, defaults-tree, plugins or searchpath.

    Raises:
        InputError: a wrong key or value.
    """
    caught, log = io.StringIO(), logging.getLogger()
    handlers, level = list(log.handlers), log.level
    try:
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            # Those that are there would say it too.
            log.handlers = []
            # A run in this process has switched it off.
            logging.getLogger("hydra._internal.hydra").disabled = False
            with redirect_stdout(caught):
                GlobalHydra.instance().hydra.show_info(part, CONFIG_NAME, list(overrides))
    except _REFUSALS as error:
        raise explain(error, root, overrides) from error
    finally:
        log.handlers, log.level = handlers, level
    return caught.getvalue()


@contextmanager
def completions(root: Path) -> Iterator[Mapping[str, CompletionPlugin]]:
    """Hydra's completion of overrides, by shell: bash, fish, zsh."""
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        plugins = Plugins.instance().discover(CompletionPlugin)
        loader = GlobalHydra.instance().config_loader()
        yield {plugin.provides(): plugin(loader) for plugin in plugins}


def is_hydras(override: str) -> bool:
    """Whether `override` is about Hydra itself, as its launcher."""
    return re.match(r"[+~]*hydra\b", override) is not None


def explain(error: Exception, root: Path, overrides: Sequence[str]) -> InputError:
    """`error` of Hydra's or OmegaConf's as one that names the key and the nearest valid one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, option = _chosen(error.missing_cfg_file, overrides)
        return InputError(_why_no_config(group, option, list(error.options or [])))
    if "Config group override must be a string" in str(error):
        for item in overrides:
            group, _, option = item.lstrip("+").partition("=")
            names = [file.stem for file in sorted((root / "conf" / group).glob("*.yaml"))]
            if group and names and option not in names:
                return InputError(_why_no_config(group, option, names))
    key = _refused_key(error)
    if key is not None:
        others = [item for item in overrides if not _names(item, key)]
        return InputError(_why_no_key(key, root, others))
    if isinstance(error, OverrideParseException):
        return InputError(_unreadable(_shown(error.override)))
    given = _given(overrides) if type(error) is ValueError else ""
    return InputError(_one_line(error) + given)


def _chosen(missing: str, overrides: Iterable[str]) -> tuple[str, str]:
    """Group and option of the file `missing` of `conf/`, as an override names them."""
    for item in overrides:
        group, _, option = item.lstrip("+").partition("=")
        if f"{group}/{option}" == missing:
            return group, option
    group, _, option = missing.rpartition("/")
    return group, option


def _why_no_config(group: str, option: str, known: Sequence[str]) -> str:
    if group == "hydra/launcher" and option in _LAUNCHERS_OF_SWEEP:
        return f"{group}={option} is not installed: pip install 'convforge[sweep]'"
    shown = _shown(redacted_uri(option))
    hint = nearest(option, known)
    if group == "data" and "/" in option:
        hint = f"; images of your own are data=folder data.path={shown}"
    return f"{group}={shown}: there is no such config{hint}"


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"cannot read the override {override}: it is not KEY=VALUE"
    if sum(map(value.count, "[{(")) > sum(map(value.count, "]})")):
        return (
            f"cannot read the override {override}: a bracket is not closed; a shell splits at "
            f"spaces, so put all of it in quotes, as in 'data.size=[64, 64]'"
        )
    if not value or re.search(r"""['"]|^[\[{]""", value):
        key, value = "data.path", "my photos (1)"
    return (
        f"cannot read the override {override}: put a value with special characters in quotes "
        f"of its own, as in '{key}=\"{value}\"'"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _compose(root: Path, overrides: Iterable[str], *, with_hydra: bool = False) -> DictConfig:
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        return compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=with_hydra)


def _refused_key(error: Exception) -> str | None:
    if not isinstance(error, ConfigCompositionException):
        return None
    match = re.match(r"Could not (?:override|delete|append)[^']*'([^'=]+)'", str(error))
    return match[1] if match else None


def _names(override: str, key: str) -> bool:
    return override.lstrip("+~").split("=")[0].split("@")[0] == key


def _why_no_key(key: str, root: Path, overrides: Sequence[str]) -> str:
    """What is wrong with a key that Hydra refused, against the config without it."""
    hydras = is_hydras(key)
    try:
        config = _compose(root, overrides, with_hydra=hydras)
    except _REFUSALS:
        config = _compose(root, (), with_hydra=hydras)
    node: Any = config
    steps = key.split(".")
    for depth, step in enumerate(steps):
        if not isinstance(node, DictConfig):
            return f"{'.'.join(steps[:depth])} has no keys, but {key} is given"
        if step not in node:
            break
        node = node[step]
    parent, unknown = tuple(steps[:depth]), ".".join(steps[: depth + 1])
    if (
        depth
        and not hydras
        and step in known_keys(parent, OmegaConf.to_container(config), Settings)
    ):
        return f"{key} is a key that the config leaves out: add it with +{key}=…"
    if depth:
        return f"{unknown} is not a key{nearest(step, list(node), '.'.join(parent))}"
    elsewhere = list(_keys_named(step, OmegaConf.to_container(config)))[:_MOST_KEYS]
    if elsewhere:
        return f"{unknown} is not a key; did you mean {' or '.join(elsewhere)}?"
    groups = {folder.name for folder in (root / "conf").iterdir() if folder.is_dir()}
    return f"{unknown} is not a key{nearest(step, sorted({*map(str, config), *groups}))}"


def _keys_named(name: str, node: Any, parent: str = "") -> Iterator[str]:
    """The full keys below `node` whose last part is `name`."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == name and parent:
            yield f"{parent}{key}"
        yield from _keys_named(name, value, f"{parent}{key}.")
