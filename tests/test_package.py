"""The package as it is installed: what it holds, what it exports, what it drags in."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sgl_embed_kit
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_profiles_data_and_the_cpu_engine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"sgl_embed_kit/profile/bundled/{p.name}" for p in ROOT.glob("profiles/*.yaml")}
    expected |= {
        "sgl_embed_kit/py.typed",
        "sgl_embed_kit/model/architectures.yaml",
        "sgl_embed_kit/model/demo_files.json",
        "sgl_embed_kit/model/tiny_corpus.txt",
        "sgl_embed_kit/sglang/start_phases.yaml",
        "sgl_embed_kit/cpu_engine/overlay/sgl_kernel/__init__.py",
    }
    assert expected <= names
    top = {name.split("/")[0] for name in names}
    assert top == {"sgl_embed_kit", f"sgl_embed_kit-{sgl_embed_kit.__version__}.dist-info"}


def test_an_installed_wheel_loads_profiles_by_bare_name(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sgl_embed_kit.profile import loading\n"
        "print(loading.__file__, loading.load_profile('06b-a10').model.name)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    file, name = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert name == "qwen3-embedding-0.6b"


def test_every_public_name_is_exported_and_nothing_else() -> None:
    assert dir(sgl_embed_kit) == ["EmbeddingClient", "__version__"]
    for name in dir(sgl_embed_kit):
        assert getattr(sgl_embed_kit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = sgl_embed_kit.nosuch


def test_the_client_imports_neither_torch_nor_sglang_nor_a_driver() -> None:
    code = (
        "import json, sys; from sgl_embed_kit import EmbeddingClient; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "sglang", "transformers", "pynvml", "pydantic", "psutil", "tokenizers"}
    assert heavy & set(json.loads(done.stdout)) == set()


def test_the_toolkits_own_process_never_imports_torch_or_sglang() -> None:
    inside_sglang = {"guard", "cpu_engine", "fast_start"}
    for path in (ROOT / "sgl_embed_kit").rglob("*.py"):
        if path.relative_to(ROOT / "sgl_embed_kit").parts[0] in inside_sglang:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"torch", "sglang", "transformers"}, path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["launch", "tiny-cpu", "--dry-run"],
        ["launch", "06b-a10", "--dry-run"],
        ["profile", "check", *bundled_profiles()],
        ["profile", "show", "06b-a10"],
        ["profile", "list"],
        ["profile", "schema"],
        ["doctor", "tiny-cpu"],
    ],
    ids=" ".join,
)
def test_a_command_imports_nothing_heavy_that_it_does_not_need(arguments: list[str]) -> None:
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from sgl_embed_kit.cli.main import main\n"
        "main(sys.argv[1:])"
    )
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    # The doctor may find something wrong here; it has run all the same.
    assert done.returncode == 0 or (arguments[0], done.returncode) == ("doctor", 1), done.stderr
    assert done.stdout
    never = {"torch", "sglang", "sgl_kernel", "transformers"}
    never |= {"huggingface_hub", "httpx", "numpy", "rich"}
    if arguments[0] != "doctor":  # which asks the machine, and tries a model's tokenizer
        never |= {"psutil", "pynvml", "tokenizers"}
    assert never & set(json.loads(done.stderr.splitlines()[-1])) == set()


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "sgl_embed_kit").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?"))


def test_pins_carry_hashes_and_no_addresses() -> None:
    for lock in ROOT.glob("constraints/*.txt"):
        text = lock.read_text()
        assert "://" not in text
        pins = text.count("==") - text.count("python_full_version ==")
        assert pins > 0
        for entry in text.replace("\\\n", "").splitlines():
            assert "--hash=sha256:" in entry, entry
