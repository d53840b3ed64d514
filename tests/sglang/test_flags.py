"""Reading SGLang's flags from its source, in each of its three styles of declaring them."""

import gc
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.sglang.flags import Flag, read_flags

ARGUMENTS = """
from sglang.srt.choices import BACKENDS

class ServerArgs:
    port: int = 30000
    backend: str = "triton"

    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--port", type=int, default=ServerArgs.port, help="The " "port.")
        parser.add_argument("--model-path", "--model", type=str, required=True)
        parser.add_argument("--backend", type=str, choices=BACKENDS, default=ServerArgs.backend)
        parser.add_argument("--quiet", action="store_true")
        parser.add_argument("--buckets", type=float, nargs="+")
        parser.add_argument("--old", action=DeprecatedAction, help="--old is gone, use --new.")
        parser.add_argument("--computed", choices=[m.name for m in Modes], default=compute())
        parser.add_argument("positional")
"""

FIELDS = """
import dataclasses
from typing import List, Literal, Optional
from sglang.srt.choices import BACKENDS, MORE

@dataclasses.dataclass
class ServerArgs:
    model_path: A[str, Arg(help="Path.", aliases=["--model"])]
    port: A[int, "The port."] = 30000
    backend: A[Optional[str], Arg(help="x", choices=BACKENDS + MORE)] = None
    quiet: A[bool, "No output."] = False
    tp_size: A[int, Arg(help="x", cli_name="--tensor-parallel-size", aliases=["--tp-size"])] = 1
    mode: A[Literal["fast", "slow"], "The mode."] = "fast"
    urls: A[Optional[List[str]], "Addresses."] = dataclasses.field(default_factory=list)
    override: A[Optional[str], Arg(help="x", type_parser=json.loads)] = None
    graphs: A[bool, Arg(help="x", action=argparse.BooleanOptionalAction)] = True
    names: A["Optional[list[int]]", Arg(action=Paths, action_kwargs={"nargs": "*"})] = None
    ratio: A[float | None, "A share."] = None
    hidden: A[bool, Arg(no_cli=True)] = False
    internal: int = 3

    @staticmethod
    def add_cli_args(parser):
        add_cli_args_from_dataclass(parser, ServerArgs)
        parser.add_argument("--config", type=str)
"""

NAMESPACE = """
import msgspec

class Serving(msgspec.Struct):
    _NS_PATH = "serving"
    host: A[str, "The host."] = "127.0.0.1"
    rank: A[int, Derived(doc="x")] = 0
"""


def flags_of(tmp_path: Path, server_args: str, **fields: str) -> dict[str, Flag]:
    srt = tmp_path / "sglang" / "srt"
    (srt / "arg_groups" / "fields").mkdir(parents=True)
    (srt / "server_args.py").write_text(server_args)
    (srt / "choices.py").write_text('BACKENDS = ["triton", "fa3"]\nMORE = ["flex"]\n')
    for name, source in fields.items():
        (srt / "arg_groups" / "fields" / f"{name}.py").write_text(source)
    return {flag.names[0]: flag for flag in read_flags(tmp_path / "sglang", "1.0").flags}


def test_add_argument_calls(tmp_path: Path) -> None:
    flags = flags_of(tmp_path, ARGUMENTS)
    assert flags == {
        "--port": Flag(("--port",), "int", "1", None, "30000", "The port."),
        "--model-path": Flag(("--model-path", "--model"), "str", "1", None, None),
        "--backend": Flag(("--backend",), "str", "1", ("triton", "fa3"), "triton"),
        "--quiet": Flag(("--quiet",), "switch", "0", None, "False"),
        "--buckets": Flag(("--buckets",), "float", "+", None, None),
        "--old": Flag(
            ("--old",), "switch", "0", None, None,
            "--old is gone, use --new.", "--old is gone, use --new.",
        ),
        # What only running the code would tell is left open, not guessed.
        "--computed": Flag(("--computed",), "str", "1", None, None),
    }  # fmt: skip


def test_annotated_fields(tmp_path: Path) -> None:
    flags = flags_of(tmp_path, FIELDS)
    names = ("--tensor-parallel-size", "--tp-size")
    assert flags == {
        "--model-path": Flag(("--model-path", "--model"), "str", "1", None, None, "Path."),
        "--port": Flag(("--port",), "int", "1", None, "30000", "The port."),
        "--backend": Flag(("--backend",), "str", "1", ("triton", "fa3", "flex"), None, "x"),
        "--quiet": Flag(("--quiet",), "switch", "0", None, "False", "No output."),
        "--tensor-parallel-size": Flag(names, "int", "1", None, "1", "x"),
        "--mode": Flag(("--mode",), "str", "1", ("fast", "slow"), "fast", "The mode."),
        "--urls": Flag(("--urls",), "str", "+", None, "[]", "Addresses."),
        "--override": Flag(("--override",), "json", "1", None, None, "x"),
        "--graphs": Flag(("--graphs", "--no-graphs"), "switch", "0", None, "True", "x"),
        "--names": Flag(("--names",), "str", "*", None, None),
        "--ratio": Flag(("--ratio",), "float", "1", None, None, "A share."),
        "--config": Flag(("--config",), "str", "1", None, None),
    }


def test_namespaces_in_files_of_their_own(tmp_path: Path) -> None:
    own = "class ServerArgs:\n    pass\n"
    flags = flags_of(tmp_path, own, serving=NAMESPACE, __init__="")
    assert flags == {"--host": Flag(("--host",), "str", "1", None, "127.0.0.1", "The host.")}


@pytest.mark.parametrize("enabled", [True, False])
def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path: Path, enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        flags_of(tmp_path, ARGUMENTS)
        assert gc.isenabled() is enabled
        with pytest.raises(FileNotFoundError):
            read_flags(tmp_path / "none", "1.0")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_folder_that_is_no_sglang_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_flags(tmp_path, "1.0")


DUMP = """
import argparse, json
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser(add_help=False)
ServerArgs.add_cli_args(parser)
print(json.dumps([
    {
        "names": action.option_strings,
        "nargs": "0" if isinstance(action, argparse.BooleanOptionalAction)
            else "1" if action.nargs is None else str(action.nargs),
        "choices": sorted(map(str, action.choices)) if action.choices else None,
        "default": None if action.default is None else str(action.default),
        "type": getattr(action.type, "__name__", None),
    }
    for action in parser._actions
]))
"""


@pytest.fixture(scope="module")
def real() -> dict[str, dict[str, Any]]:
    """The flags of the installed release as its own ArgumentParser has them."""
    if find_spec("sglang") is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DUMP],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(OVERLAY), "SGLANG_USE_CPU_ENGINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {flag["names"][0]: flag for flag in json.loads(done.stdout.splitlines()[-1])}


@pytest.fixture(scope="module")
def parsed() -> dict[str, Flag]:
    spec = find_spec("sglang")
    assert spec is not None
    assert spec.origin is not None
    return {flag.names[0]: flag for flag in read_flags(Path(spec.origin).parent, "x").flags}


@pytest.mark.server
def test_every_flag_of_the_installed_release_is_found_and_none_invented(
    real: dict[str, dict[str, Any]], parsed: dict[str, Flag]
) -> None:
    assert len(real) > 500
    assert {name: flag.names for name, flag in parsed.items()} == {
        name: tuple(flag["names"]) for name, flag in real.items()
    }
    assert {name: flag.nargs for name, flag in parsed.items()} == {
        name: flag["nargs"] for name, flag in real.items()
    }


@pytest.mark.server
def test_what_is_said_of_choices_defaults_and_types_is_true(
    real: dict[str, dict[str, Any]], parsed: dict[str, Flag]
) -> None:
    types = {
        "int": {"int"},
        "size": {"human_readable_int"},
        "float": {"float"},
        "json": {"loads", "json_list_type"},
    }
    for name, flag in parsed.items():
        if flag.choices is not None:
            assert sorted(flag.choices) == real[name]["choices"], name
        if flag.default is not None:
            assert flag.default == real[name]["default"], name
        if flag.type in types:
            assert real[name]["type"] in types[flag.type], name
        if real[name]["type"] in {"int", "float"}:
            assert flag.type == real[name]["type"], name
    known = [flag for flag in parsed.values() if flag.choices is not None]
    with_choices = [flag for flag in real.values() if flag["choices"]]
    assert len(known) >= 0.9 * len(with_choices)
