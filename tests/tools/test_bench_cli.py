"""Timing the command line: what is shown and written; never how long anything takes."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import inspect_files
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.machines import UNREACHABLE


@pytest.fixture(scope="module")
def bench(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("bench_cli")


def test_the_table_shows_seconds_the_ratio_to_bare_python_and_the_verdict(
    bench: ModuleType,
) -> None:
    commands = [
        bench.Command("python -c pass", ("python",)),
        bench.Command("--help", ("sgl-embed",), 0.25),
        bench.Command("launch", ("sgl-embed",), 0.25),
        bench.Command("small", ("sgl-embed",), 0.25, 50),
        bench.Command("large", ("sgl-embed",), 0.25, 50),
    ]
    times = [(0.02, 0.01, 0.04), (0.25, 0.1, 9.0), (0.26, 0.1, 0.3), (0.1, 0.1), (0.1, 0.1)]
    peaks = [8_000_000, 20_000_000, 20_000_000, 50_000_000, 50_000_001]
    assert bench.table(commands, times, peaks).splitlines() == [
        "| command        | median |   min |   max | ratio | MB | goal | held |",
        "| -------------- | -----: | ----: | ----: | ----: | -: | ---: | ---: |",
        "| python -c pass |  0.020 | 0.010 | 0.040 |   1.0 |  8 |      |      |",
        "| --help         |  0.250 | 0.100 | 9.000 |  12.5 | 20 | 0.25 |  yes |",
        "| launch         |  0.260 | 0.100 | 0.300 |  13.0 | 20 | 0.25 |   no |",
        "| small          |  0.100 | 0.100 | 0.100 |   5.0 | 50 | 0.25 |  yes |",
        "| large          |  0.100 | 0.100 | 0.100 |   5.0 | 50 | 0.25 |   no |",
    ]


def test_the_doctor_is_held_to_its_seconds_and_its_memory(bench: ModuleType) -> None:
    (doctor,) = (c for c in bench.commands_to_time(Path("large")) if "doctor" in c.argv)
    assert (doctor.target, doctor.megabytes, doctor.statuses) == (0.8, 120, (0, 1))


@pytest.mark.parametrize("megabytes", [0, 60])
def test_the_peak_is_the_commands_own(bench: ModuleType, megabytes: int) -> None:
    ours = bytearray(200_000_000)  # no part of what the command has
    code = f"import time; x = b'x' * {megabytes}_000_000; time.sleep(0.2)"
    peak = bench.peak(bench.Command("x", (sys.executable, "-c", code)), dict(os.environ))
    assert megabytes * 1e6 < peak < megabytes * 1e6 + 50e6 < len(ours)


def test_the_commands_fill_80_columns_at_most_and_check_every_profile(bench: ModuleType) -> None:
    commands = bench.commands_to_time(Path("large"))
    shown = bench.table(commands, [(99.0, 0.001)] * len(commands), [10**8] * len(commands))
    assert (
        max(map(len, [*shown.splitlines(), *bench.conditions("make bench-cli", 25).splitlines()]))
        <= 80
    )
    assert commands[0].target is None
    assert commands[-1].argv[1:] == ("profile", "check", *bundled_profiles())


def test_the_large_model_is_as_large_as_qwen3_embedding_8b(
    bench: ModuleType, tmp_path: Path
) -> None:
    files = local_files(bench.large_model(tmp_path / "m"))
    found = inspect_files(files)
    assert found.can_be_served
    assert found.facts.like == "Qwen/Qwen3-Embedding-8B"
    assert len(found.facts.weights.files) == 4
    assert found.tokenizer is not None
    assert found.tokenizer.vocabulary == 151_646
    assert files.sizes["tokenizer.json"] > 10_000_000


def test_commands_take_turns_after_a_round_that_is_not_counted(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(bench, "seconds", lambda _command, _env: float(next(clock)))
    commands = [bench.Command("a", ("a",)), bench.Command("b", ("b",))]
    assert bench.measure(commands, 3, {}) == [(2.0, 4.0, 6.0), (3.0, 5.0, 7.0)]


def test_a_command_that_fails_is_not_timed(bench: ModuleType) -> None:
    failing = bench.Command("x", (sys.executable, "-c", "raise SystemExit(1)"))
    for measured in (bench.seconds, bench.peak):
        with pytest.raises(bench.subprocess.CalledProcessError):
            measured(failing, dict(os.environ))
    assert bench.seconds(replace(failing, statuses=(0, 1)), dict(os.environ)) > 0


def test_the_commands_may_write_bytecode_and_find_an_empty_cache(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("KEPT", "yes")
    env = bench.environment("/empty")
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert (env["SGL_EMBED_CACHE"], env["KEPT"]) == ("/empty", "yes")
    assert env["HF_ENDPOINT"] == UNREACHABLE


def test_the_committed_page_has_the_markers(bench: ModuleType) -> None:
    page = Path(bench.PAGE).read_text(encoding="utf-8")
    assert "x" in bench.with_section(page, bench.SECTION, "x")
