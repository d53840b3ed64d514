"""The shipped flag tables of past releases."""

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from sgl_embed_kit.sglang.flag_history import known_releases, releases_with, table_of
from sgl_embed_kit.sglang.flags import read_flags

# Spellings found by an independent reading of the wheels, without argparse's own --no-….
SPELLINGS = {
    "0.4.6": 128,
    "0.4.9": 172,
    "0.5.2": 218,
    "0.5.4": 281,
    "0.5.6": 296,
    "0.5.8": 336,
    "0.5.10.post1": 364,
    "0.5.12": 399,
    "0.5.15": 449,
    "0.5.18": 501,
    "0.5.20": 507,
    "0.5.23": 547,
}


@pytest.mark.parametrize(("release", "count"), SPELLINGS.items())
def test_each_release_has_all_its_flags(release: str, count: int) -> None:
    table = table_of(release)
    assert table is not None
    assert table.version == release
    counterparts = {
        name
        for flag in table.flags
        for name in flag.names
        if flag.type == "switch" and name.startswith("--no-") and len(flag.names) > 1
    }
    assert len(table.by_name) - len(counterparts) == count


def test_the_releases_are_the_ones_above_oldest_first() -> None:
    assert known_releases() == tuple(SPELLINGS)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("0.5.13", "0.5.12"),
        ("0.5.23.post1", "0.5.23"),
        ("1.0", "0.5.23"),
        ("0.5.10", "0.5.10.post1"),
    ],
)
def test_an_unknown_version_gets_the_newest_known_release_before_it(
    version: str, release: str
) -> None:
    table = table_of(version)
    assert table is not None
    assert table.version == release


def test_a_version_older_than_all_has_none() -> None:
    assert table_of("0.4.5") is None


def test_it_tells_which_releases_have_a_flag() -> None:
    assert releases_with("--cuda-graph-max-bs")[-1] == "0.5.18"
    assert releases_with("--cuda-graph-max-bs-decode") == ("0.5.15", "0.5.18", "0.5.20", "0.5.23")
    assert releases_with("--config")[0] == "0.5.4"
    assert releases_with("--max-num-seqs") == ()


def test_the_snapshot_of_the_installed_release_is_what_its_source_says() -> None:
    spec = find_spec("sglang")
    if spec is None or spec.origin is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    version = metadata.version("sglang")
    read = {flag.names: flag for flag in read_flags(Path(spec.origin).parent, version).flags}
    shipped = table_of(version)
    assert shipped is not None
    assert {flag.names for flag in shipped.flags} == set(read)
    for flag in shipped.flags:
        mine = read[flag.names]
        assert (flag.type, flag.nargs, flag.choices) == (mine.type, mine.nargs, mine.choices)
        assert flag.help == ""
