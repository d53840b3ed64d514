"""The rules of problems.yaml: each has its line, and the line is from where it says."""

import ast
import mmap
import re
import sysconfig
from functools import cache
from pathlib import Path

import pytest
from pydantic import ValidationError

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.log import start_phases
from sgl_embed_kit.sglang.problems import Problem, Run, Source, problem_of, problems

ROOT = Path(__file__).parents[2]
every_problem = pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.id)

# The log signatures that were found when SGLang's source was read, by their number there.
SIGNATURES = {
    1: ["pool-empty"],
    2: ["weights-fill-memory"],
    3: ["oom-loading", "oom-capturing", "oom-starting", "oom-serving"],
    4: ["decode-graphs-failed", "prefill-graphs-failed"],
    5: ["pool-below-context"],
    6: ["prefill-out-of-memory"],
    7: ["request-slots-used-up"],
    8: ["pool-too-small", "no-running-requests"],
    9: ["context-above-model"],
    10: ["port-busy"],
    11: ["dist-port-busy"],
    12: ["warm-up-failed"],
    13: ["scheduler-exception"],
    14: ["child-failed"],
    15: ["child-failed-serving"],
    16: ["scheduler-died"],
    17: ["process-crashed"],
    18: ["watchdog"],
    19: ["health-check-failed"],
    20: ["architecture-unknown"],
    21: ["no-implementation"],
    22: ["transformers-fallback"],
    23: ["no-weights"],
    24: ["shards-missing"],
    25: ["tokenizer-failed"],
    26: ["repository-name", "not-a-model", "repository-not-found", "gated-repository"],
    27: ["not-in-cache", "hub-unreachable"],
    28: ["own-code"],
    29: ["gpu-too-old"],
    30: ["float16-forced"],
    31: ["no-accelerator"],
    32: ["package-too-old", "package-missing"],
    33: ["gpus-unbalanced"],
    34: ["attention-backend", "wrong-choice"],
    35: ["quantization-and-gpu"],
    36: ["colon-in-name"],
    37: ["chunk-and-page"],
    38: ["prefill-without-cache"],
    39: ["key-and-workers"],
    40: ["wrong-flag", "ambiguous-flag"],
    41: [
        *("nccl-system-error", "nccl-cuda-error", "nccl-cuda-error-name"),
        *("nccl-system-error-name", "shared-memory-object", "no-space"),
    ],
    42: ["driver-insufficient", "driver-too-old"],
    43: ["device-assert"],
    44: ["responses-api-off"],
    45: ["freeze-gc-failed"],
    46: ["asked-to-end", "draining"],
    47: ["scheduler-outlived"],
    48: ["text-truncated"],
}


@every_problem
def test_its_example_is_taken_for_it_and_for_no_other(problem: Problem) -> None:
    serving = problem.stage == "running"
    found = problem_of(problem.example, problems(), serving=serving, phase=problem.stage)
    assert found is problem


@every_problem
def test_it_says_what_happened_why_and_what_cures_it(problem: Problem) -> None:
    assert problem.means.endswith(".")
    assert problem.why.endswith(".")
    assert "…" not in problem.cure_for(problem.example) or "NUMBER" not in problem.cure
    assert ("NUMBER" in problem.cure) == (problem.number is not None)
    assert not problem.general or problem.severity == "error"
    if problem.stage not in {"any", "start", "running"}:
        assert problem.stage in {phase.id for phase in start_phases()}


@every_problem
def test_a_check_that_its_cure_names_exists(problem: Problem) -> None:
    names = {about.name for about in catalogue().values()}
    for listed in re.findall(r"--only (\S+)", problem.cure):
        assert set(listed.split(",")) <= names


def test_ids_are_used_once() -> None:
    assert len({problem.id for problem in problems()}) == len(problems())


def test_each_of_the_48_signatures_has_its_rule() -> None:
    assert list(SIGNATURES) == list(range(1, 49))
    known = {problem.id for problem in problems()}
    assert {name for names in SIGNATURES.values() for name in names} <= known


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "bad"},
        {"stage": "later"},
        {"contains": []},
        {"seen": True},
        {"provenance": {"source": "torch"}},
        {"provenance": {"run": "tests/x.py"}},
        {"provenance": {"issue": "https://example.org/1"}},
        {"provenance": {}},
        {"means": ""},
    ],
    ids=str,
)
def test_an_entry_that_is_not_as_it_should_be_is_refused(change: dict[str, object]) -> None:
    entry = problems()[0].model_dump()
    Problem.model_validate(entry)
    with pytest.raises(ValidationError):
        Problem.model_validate({**entry, **change})


runs = [problem for problem in problems() if isinstance(problem.provenance, Run)]


@pytest.mark.parametrize("problem", runs, ids=lambda problem: problem.id)
def test_a_test_that_produced_an_example_exists_and_asserts_its_rule(problem: Problem) -> None:
    assert isinstance(problem.provenance, Run)
    name, function = problem.provenance.run.split("::")
    text = (ROOT / name).read_text(encoding="utf-8")
    defined = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    (test,) = (node for node in defined if node.name == function)
    decorated = [ast.unparse(decorator) for decorator in test.decorator_list]
    assert f'"{problem.id}"' in text
    assert problem.id in ast.unparse(test) + "".join(decorated)


sources = [problem for problem in problems() if isinstance(problem.provenance, Source)]


@pytest.mark.server
@pytest.mark.parametrize("problem", sources, ids=lambda problem: problem.id)
def test_an_example_is_a_text_of_the_source_filled_in(problem: Problem) -> None:
    if find_installed() is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    assert isinstance(problem.provenance, Source)
    file = located(problem.provenance.source)
    if file.suffix == ".py":
        assert any(
            all(piece in found[0] for piece in problem.contains)
            for text in texts(file)
            if (found := text.search(problem.example))
        )
    else:
        assert [piece for piece in problem.contains if not holds(file, piece)] == []


def located(name: str) -> Path:
    """Return a file of a package, or of this project."""
    folders = [Path(sysconfig.get_path("purelib")), ROOT]
    (file,) = (folder / name for folder in folders if (folder / name).exists())
    return file


@cache
def texts(file: Path) -> list[re.Pattern[str]]:
    """Return the texts in a Python file, and its assertions, with `.*` for what is filled in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [written(node) for node in ast.walk(tree)]
    found += [re.escape(ast.unparse(n)) for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    return [re.compile(text, re.DOTALL) for text in found if text]


def written(node: ast.AST) -> str:
    """Return the regular expression of a text in the source; empty where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(\\\.\d+)?[dsrf]|\\\{\w*\\\}", ".*", re.escape(node.value.rstrip("\n")))
    if isinstance(node, ast.JoinedStr):
        parts = [written(part) if isinstance(part, ast.Constant) else ".*" for part in node.values]
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [written(part) or ".*" for part in (node.left, node.right)]
        return "".join(parts)
    return ""


@cache
def holds(file: Path, piece: str) -> bool:
    """Say whether a library holds a text."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(piece.encode()) >= 0
