"""Compiled programs are kept between sessions: a network takes longer to compile than to try.

They lie in the user's cache folder. `MEANFORCE_CACHE` names another folder, or is "off"; JAX's own setting
(`JAX_COMPILATION_CACHE_DIR`) goes first. Where the folder cannot be written, nothing is kept and nothing fails.
JAX before 0.12 keeps programs only where `MEANFORCE_CACHE` asks for it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

import jax
import jaxlib

VARIABLE = "MEANFORCE_CACHE"
#: Earlier compilers for CPUs warn of another machine, wrongly and at length, when they read what they wrote.
QUIET_SINCE = (0, 12)
_OFF = ("", "0", "off", "no", "none")


def keep() -> Path | None:
    """Turns the cache on and returns its folder; None where there is none."""
    chosen = jax.config.values["jax_compilation_cache_dir"]
    if chosen is not None:
        return Path(chosen)
    folder = _folder()
    if folder is None or not _writable(folder):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def _folder() -> Path | None:
    """One folder for each version of the compiler and each kind of processor."""
    asked = os.environ.get(VARIABLE)
    if asked is not None and asked.strip().lower() in _OFF:
        return None
    if asked is None and tuple(map(int, jaxlib.__version__.split(".")[:2])) < QUIET_SINCE:
        return None
    home = Path(asked) if asked else _user_cache() / "meanforce"
    return home / "compiled" / f"{jaxlib.__version__}-{_processor()}"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """What the processor can do: programs for one do not run on another, and homes are shared between machines."""
    told = [platform.machine(), platform.system(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:  # no Linux
        pass
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
