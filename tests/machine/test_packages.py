"""Packages of this environment: real ones, and folders made like them."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from sgl_embed_kit.machine.packages import Distribution, distributions_named


def install(folder: Path, version: str, more: str = "") -> Path:
    """Write what pip leaves of a package, into a folder of its own."""
    info = folder / f"made_up-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: made-up\nVersion: {version}\n{more}"
    )
    return folder


def test_a_package_says_its_version_folder_and_needs() -> None:
    (click,) = distributions_named("click")
    assert click.version == metadata.version("click")
    assert (click.folder / "click" / "__init__.py").is_file()
    (own,) = distributions_named("sgl_embed-kit")
    assert any(each.startswith("click") for each in own.requires)


def test_two_of_a_package_are_found_in_pythons_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = install(tmp_path / "a", "1.0", "Requires-Dist: x\n"), install(tmp_path / "b", "2.0")
    monkeypatch.setattr(sys, "path", [str(new), str(old), *sys.path])
    assert distributions_named("Made_Up") == (
        Distribution("2.0", new),
        Distribution("1.0", old, ("x",)),
    )


def test_a_folder_that_is_reached_in_two_ways_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = install(tmp_path / "lib", "1.0")
    (tmp_path / "lib64").symlink_to("lib")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib64"), str(lib), *sys.path])
    assert distributions_named("made-up") == (Distribution("1.0", lib),)


def test_what_is_not_installed_is_not_found() -> None:
    assert distributions_named("there-is-no-such-package") == ()
