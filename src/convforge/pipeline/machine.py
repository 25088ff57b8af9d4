"""What something is measured on: processors, memory, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import convforge

_COMPUTE = ("keras", "numpy", "tensorflow", "jax", "jaxlib", "torch")


def hardware() -> dict[str, object]:
    """The processor's name, how many cores this process may use, and the memory in GiB.

    What else the last digits of a figure depend on stands with them: the vector instructions that
    the kernels choose by, and threads of an operation where the environment limits TensorFlow's.
    """
    found: dict[str, object] = {
        "processor": processor(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if instructions := vector_instructions():
        found["instructions"] = instructions
    if threads := os.environ.get("TF_NUM_INTRAOP_THREADS"):
        found["threads_per_operation"] = threads
    return found


def versions(backend: str) -> dict[str, str]:
    """Of Python, of this package, and of those that compute.

    Args:
        backend: of Keras: that of the others is not named.
    """
    others = {"tensorflow", "jax", "jaxlib", "torch"} - {backend, f"{backend}lib"}
    found = {"python": platform.python_version(), "convforge": convforge.__version__}
    for name in _COMPUTE:
        if name not in others:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def processor() -> str:
    """Its name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def vector_instructions() -> str | None:
    """The widest of x86's that it has, where the system says so."""
    flags = (_cpuinfo("flags") or "").split()
    widest = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse4_2": "SSE4.2"}
    return next((name for flag, name in widest.items() if flag in flags), None)


def _cpuinfo(key: str) -> str | None:
    """What Linux says of the first processor under `key`."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return None


def memory_gib() -> float:
    """Of the machine, to a tenth."""
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
