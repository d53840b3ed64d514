"""The scripts of tools/ as modules."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """Import a script of tools/ by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module
    for name in ("bench_cli", "mutate_checks", "record_gpu", "sections", "write_docs"):
        sys.modules.pop(name, None)
