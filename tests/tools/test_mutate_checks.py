"""Breaking the checks on purpose: what is changed, what is noticed, what survives."""

import ast
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def mutate(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("mutate_checks")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("a < b", ["a >= b", "a <= b"]),
        ("a <= b", ["a > b", "a < b"]),
        ("a > b", ["a <= b", "a >= b"]),
        ("a >= b", ["a < b", "a > b"]),
        ("a == b", ["a != b"]),
        ("a is not None", ["a is None"]),
        ("a not in b", ["a in b"]),
        ("a < b < c", ["a >= b < c", "a <= b < c", "a < b >= c", "a < b <= c"]),
        ("a and b", ["a or b"]),
        ("a or b", ["a and b"]),
        ("not a", ["a"]),
        ("Status.SKIP", ["Status.OK"]),
        ("True", ["False"]),
        ("f(a, x=True)", []),
        ("a + 1", []),
    ],
)
def test_what_is_changed(
    mutate: ModuleType,
    code: str,
    changes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(mutate, "PACKAGE", tmp_path)
    (tmp_path / "x.py").write_text(f"# a comment\nx = {code}\n")
    mutants = list(mutate.mutants_of(tmp_path / "x.py"))
    assert [mutant.change for mutant in mutants] == [f"{code} -> {new}" for new in changes]
    assert {mutant.line for mutant in mutants} <= {2}
    if mutants:
        assert str(mutants[0]) == f"x.py:2: {code} -> {changes[0]}"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("if a: pass", ["a -> not a"]),
        ("if TYPE_CHECKING: pass", []),
        ("if a(): pass", ["a() -> not a()"]),
        ("if a := b: pass", ["(a := b) -> not (a := b)"]),
        ("while a.b: pass", ["a.b -> not a.b"]),
        ("x = b if a[0] else c", ["a[0] -> not a[0]"]),
        ("[a for a in b if a]", ["a -> not a"]),
        ("if not a: pass", ["not a -> a"]),
        ("if a < b: pass", ["a < b -> a >= b", "a < b -> a <= b"]),
        ("assert a", []),
    ],
)
def test_a_condition_becomes_its_opposite(
    mutate: ModuleType, code: str, changes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "x.py").write_text(code)
    mutants = mutate.mutants_of(tmp_path / "x.py")
    assert [mutant.change for mutant in mutants] == changes


def test_a_mutant_is_the_module_with_that_change(mutate: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("a = 1 < 2\nb = 1 < 2\n")
    seen = []
    for mutant in mutate.mutants_of(tmp_path / "x.py"):
        names: dict[str, bool] = {}
        exec(mutant.code, names)
        seen.append((names["a"], names["b"]))
    assert seen == [(False, True), (True, True), (True, False), (True, True)]


def test_every_module_of_the_doctor_has_its_tests(mutate: ModuleType) -> None:
    for file in mutate.default_files():
        tests = mutate.tests_of(file)
        assert tests
        assert all(Path(test).exists() for test in tests)


def test_every_equivalent_mutant_has_its_reason(mutate: ModuleType) -> None:
    known = yaml.safe_load(mutate.EQUIVALENT.read_text(encoding="utf-8"))
    for module, changes in known.items():
        assert (mutate.PACKAGE / module).is_file()
        for change, why in changes.items():
            before, _, after = change.partition(" -> ")
            assert ast.dump(ast.parse(before)) != ast.dump(ast.parse(after))
            assert why


def test_a_mutant_that_hangs_is_noticed_whatever_becomes_of_alarms(
    mutate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pytest-timeout uses the alarm of a process for itself."""
    (tmp_path / "test_hangs.py").write_text(
        "import signal, time\n\ndef test_hangs():\n    signal.alarm(0)\n    time.sleep(600)\n"
    )
    monkeypatch.setattr(mutate, "SECONDS", 0.5)
    assert mutate.run_all([None], [str(tmp_path)]) == [signal.SIGKILL]


def test_what_no_test_notices_is_named_and_what_one_notices_is_not(tmp_path: Path) -> None:
    """A run over a small tree of its own, as `make mutate-checks` runs over this one."""
    package, tests = tmp_path / "sgl_embed_kit" / "doctor", tmp_path / "tests" / "doctor"
    for folder in (package, tests, tmp_path / "tools"):
        folder.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "sums.py").write_text(
        "def large(x):\n    return x > 10\n\n\ndef small(x):\n    return x < 5\n"
    )
    (tests / "test_sums.py").write_text(
        "from sgl_embed_kit.doctor.sums import large, small\n\n"
        "def test_large():\n    assert large(11) and not large(10)\n\n"
        "def test_small():\n    assert small(1) and not small(9)\n"
    )
    script = tmp_path / "tools" / "mutate_checks.py"
    script.write_bytes((ROOT / "tools" / "mutate_checks.py").read_bytes())
    known = tmp_path / "tools" / "equivalent_mutants.yaml"

    def said(equivalent: str) -> tuple[int, str]:
        known.write_text(equivalent)
        argv = [sys.executable, str(script), str(package / "sums.py")]
        env = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=tmp_path
        )
        return done.returncode, done.stdout

    status, printed = said("{}")
    assert status == 1
    assert "sums.py: 4 mutants, 1 survive, 0 of them equivalent" in printed
    assert "\n  doctor/sums.py:6: x < 5 -> x <= 5\n" in printed
    assert printed.endswith("no test notices 1\n")
    status, printed = said("doctor/sums.py: {x < 5 -> x <= 5: nobody asks for five}")
    assert (status, "1 survive, 1 of them equivalent" in printed) == (0, True)
    (tests / "test_sums.py").write_text("def test_wrong():\n    assert False\n")
    assert said("{}")[0] == 2
