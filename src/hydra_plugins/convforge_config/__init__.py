"""Found by Hydra on its own, so every composition, DVC's included, validates the config.

Hydra imports whatever lies in the namespace package `hydra_plugins`; this module registers the
resolver that `conf/config.yaml` calls.
"""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def validated(version: int, *, _root_: DictConfig) -> int:
    """`${convforge.validated:1}`: refuse the whole config if a key or value in it is wrong."""
    # pydantic takes a while to import, and Hydra imports this file for every command of its own.
    from convforge.pipeline.settings.run import Settings

    keys = [key for key in _root_ if key not in ("schema", "hydra")]
    rest = OmegaConf.masked_copy(_root_, keys)
    config = OmegaConf.to_container(rest, resolve=True, throw_on_missing=True)
    Settings.parse({"schema": version, **config})
    return version


OmegaConf.register_new_resolver("convforge.validated", validated, replace=True)
