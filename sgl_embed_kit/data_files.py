"""Knowledge that lies beside the code as YAML files."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml


def data_file(package: str, name: str) -> Any:
    """Return the content of a YAML file of a package, by libyaml where PyYAML was built with it.

    That is ten times as fast as PyYAML's own Python.
    """
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)  # noqa: S506 - either loader is a safe one
