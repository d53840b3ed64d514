"""Break the doctor one place at a time, and say which breaks no test notices.

Usage: mutate_checks.py [MODULE …], or `make mutate-checks`; a module is a file of
sgl_embed_kit. Without one: all checks, of machines and of live servers, the engine, and what
selects, shows, bundles and redacts.

Each comparison, each `and`, `or` and `not`, each condition, each verdict and each true or false
is changed on its own, in memory: nothing is written into the tree. Named arguments such as
`frozen=True` are left alone; they are settings, of libraries mostly. A mutant runs the tests of
its module in a process of its own, one a processor: of the cases of all checks, only those of
its own. What survives is listed; a mutant that changes nothing that anybody could see stands in
equivalent_mutants.yaml, with the reason.
"""

import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sgl_embed_kit"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")
SECONDS = 120
"""After which a mutant counts as noticed: it hangs."""
HEAVY = (
    *("click", "httpcore", "httpx", "hypothesis", "msgspec", "numpy", "packaging.requirements"),
    *("psutil", "pybase64", "pydantic", "pytest", "rich", "yaml"),
)
"""What the tests import besides the project: once here, and not again in each process."""

CHECKS = ("CHECKS", "LIVE_CHECKS")
"""Where a package of checks has them."""

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""Each comparison, its opposite first; then the one that differs only where both are equal."""
VERDICTS = {
    "OK": "ERROR",
    "INFO": "OK",
    "WARN": "ERROR",
    "ERROR": "WARN",
    "SKIP": "OK",
    "CRASH": "ERROR",
}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        file: The module's file.
        line: Where the change is.
        change: What was there and what is there now.
        code: The module, compiled with the change.
    """

    file: Path
    line: int
    change: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line}: {self.change}"


class Run(NamedTuple):
    """A mutant whose tests run: its number, and until when they may."""

    number: int
    until: float


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant in place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = module_name(mutant.file)

    def find_spec(
        self, fullname: str, _path: object, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self._mutant.file))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._mutant.file)
        exec(self._mutant.code, module.__dict__)  # noqa: S102


def main(names: Sequence[str]) -> int:
    files = [Path(name).resolve() for name in names] or default_files()
    sys.path.insert(0, str(ROOT))
    for name in HEAVY:
        importlib.import_module(name)
    known = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or {}
    began, survivors, count = time.monotonic(), 0, 0
    for file in files:
        tests = [*tests_of(file), "-k", own_cases(file)]
        if run_all([None], tests)[0] != 0:
            print(f"{file.relative_to(PACKAGE)}: its tests fail without any change: {tests}")
            return 2
        mutants = list(mutants_of(file))
        statuses = run_all(mutants, tests)
        left = [m for m, status in zip(mutants, statuses, strict=True) if status == 0]
        told = known.get(str(file.relative_to(PACKAGE)), {})
        print(
            f"{file.relative_to(PACKAGE)}: {len(mutants)} mutants, {len(left)} survive, "
            f"{sum(m.change in told for m in left)} of them equivalent "
            f"({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        for change in set(told) - {m.change for m in left}:
            print(f"  no longer survives; take it out of {EQUIVALENT.name}: {change}")
        for mutant in left:
            if mutant.change not in told:
                survivors += 1
                print(f"  {mutant}", flush=True)
        count += len(mutants)
    print(f"{count} mutants in {time.monotonic() - began:.0f} s; no test notices {survivors}")
    return 1 if survivors else 0


def default_files() -> list[Path]:
    """Return the modules of all checks, then the engine and what selects, shows and redacts."""
    doctor = PACKAGE / "doctor"
    checks = sorted(path for path in (doctor / "checks").glob("*.py") if path.stem != "__init__")
    live = sorted((doctor / "live").glob("*.py"))
    others = ("engine", "selection", "report", "log_report", "bundle")
    return [*checks, *live, *(doctor / f"{name}.py" for name in others), PACKAGE / "redaction.py"]


def tests_of(file: Path) -> list[str]:
    """Return the tests of a module: its own file, and the one that walks its whole folder.

    Where it has none of its own, all those of its folder.
    """
    folder = ROOT / "tests" / file.parent.relative_to(PACKAGE)
    own = folder / f"test_{file.stem}.py"
    if not own.exists():
        return [str(folder)]
    return [str(own), *map(str, sorted(folder.glob("test_every_*.py")))]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def own_cases(file: Path) -> str:
    """Return what selects a module's tests: of the cases of all checks, those of its own.

    The rooms that do not import the module are imported on the way, once for all its mutants.
    """
    name = module_name(file)
    importlib.import_module(name)
    package = sys.modules[name.rpartition(".")[0]]
    checks = [check for names in CHECKS for check in getattr(package, names, ())]
    own = [check.id for check in checks if check.look.__module__ == name]
    room = ".".join(name.split(".")[:2])
    for imported in [module for module in sys.modules if module.startswith(room)]:
        del sys.modules[imported]
    return " or ".join(["not test_each_finding", *own]) if own else ""


def mutants_of(file: Path) -> Iterator[Mutant]:
    """Yield the module with each of its changes."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    settings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    conditions = {id(test) for node in ast.walk(tree) for test in conditions_of(node)}
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and id(node) in settings:
            continue
        for new in opposite(node) if id(node) in conditions else changes(node):
            mutated = copy.deepcopy(tree)
            twin = next(islice(ast.walk(mutated), number, None))
            change = f"{ast.unparse(node)} -> {ast.unparse(new)}"
            Replace(twin, new).visit(mutated)
            code = compile(ast.fix_missing_locations(mutated), str(file), "exec")
            yield Mutant(file, getattr(node, "lineno", 0), change, code)


class Replace(ast.NodeTransformer):
    """Puts one node in place of another one."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._old:
            return ast.copy_location(self._new, node)
        return self.generic_visit(node)


def conditions_of(node: ast.AST) -> Sequence[ast.expr]:
    """Return by what something is chosen there, but for what type checkers alone read."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return [] if ast.unparse(node.test) == "TYPE_CHECKING" else [node.test]
    return node.ifs if isinstance(node, ast.comprehension) else []


def opposite(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a condition could have been by mistake."""
    if isinstance(node, ast.Attribute | ast.Call | ast.Name | ast.NamedExpr | ast.Subscript):
        yield ast.UnaryOp(ast.Not(), copy.deepcopy(node))
    else:
        yield from changes(node)


def changes(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node could have been by mistake."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                new = copy.deepcopy(node)
                new.ops[at] = other()
                yield new
    elif isinstance(node, ast.BoolOp):
        new_bool = copy.deepcopy(node)
        new_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield new_bool
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Status":
        if node.attr in VERDICTS:
            new_verdict = copy.deepcopy(node)
            new_verdict.attr = VERDICTS[node.attr]
            yield new_verdict
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)


def run_all(mutants: Sequence[Mutant | None], tests: Sequence[str]) -> list[int]:
    """Run the tests of each mutant, one a processor; return 0 for those that passed."""
    statuses, running = [1] * len(mutants), dict[int, Run]()
    for number, mutant in enumerate(mutants):
        if len(running) >= len(os.sched_getaffinity(0)):
            wait_for_one(running, statuses)
        pid = os.fork()
        if pid == 0:
            run_here(mutant, tests)
        running[pid] = Run(number, time.monotonic() + SECONDS)
    while running:
        wait_for_one(running, statuses)
    return statuses


def wait_for_one(running: dict[int, Run], statuses: list[int]) -> None:
    """Wait until one has ended, and end those whose time is over, with all that they started."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            statuses[running.pop(pid).number] = status
            return
        for late in [pid for pid, run in running.items() if run.until < time.monotonic()]:
            os.killpg(late, signal.SIGKILL)
        time.sleep(0.02)


def run_here(mutant: Mutant | None, tests: Sequence[str]) -> None:
    """Run the tests with a mutant, and end this process."""
    import pytest

    status = 1
    try:
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)
        os.chdir(ROOT)
        if mutant is not None:
            sys.meta_path.insert(0, Mutated(mutant))
        with tempfile.TemporaryDirectory(prefix="sgl-embed-") as folder:
            quick = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider"]
            status = int(pytest.main([*quick, "--basetemp", f"{folder}/t", *tests]))
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
