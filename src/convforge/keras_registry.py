"""Making the layers known to Keras without importing Keras.

Keras finds a saved layer's class in its registry only, so the classes must be registered when a
model is loaded. Importing them here would import Keras and its backend, which takes seconds that
`convforge --help`, the compose and the preprocess stage need not spend. So: at once where Keras is
already there, otherwise right after somebody imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_REGISTERED = (
    "convforge.layers",
    "convforge.optimizers",
    "convforge.losses",
    "convforge.augment.layer",
)


def register_with_keras() -> None:
    """Import the modules that hold registered classes, now or once Keras is imported."""
    if "keras" in sys.modules:
        _import_registered()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _import_registered() -> None:
    for name in _REGISTERED:
        importlib.import_module(name)


class _AfterKeras(MetaPathFinder):
    """Waits for `import keras`, lets it happen, and then registers.

    TensorFlow looks for Keras without importing it, so being asked is not enough to be done.
    """

    def __init__(self) -> None:
        self._asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec("keras")
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, self)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader, finder: MetaPathFinder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Keras asks its own spec for resources, as any module may: give it the loader it expects.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _import_registered()
