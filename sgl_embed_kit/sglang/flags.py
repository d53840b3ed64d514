"""The flags of `sglang serve`, read from SGLang's source without importing it.

SGLang declares them in three styles, and mixes them within a release:

- `parser.add_argument("--x", …)` in `ServerArgs.add_cli_args` (all releases);
- dataclass fields `x: A[T, "help"]` or `A[T, Arg(help=…, choices=…)]` (0.5.15 on);
- the same fields in namespace classes under `srt/arg_groups/fields/` (0.5.20 on).

How a field becomes a flag follows `add_cli_args_from_dataclass` in
`srt/arg_groups/arg_utils.py`.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgl_embed_kit.sglang.source import UNKNOWN, Module, Package

SERVER_ARGS = "srt.server_args"
FIELDS = Path("srt") / "arg_groups" / "fields"

_TYPES = {
    "int": "int",
    "float": "float",
    "human_readable_int": "size",
    "json.loads": "json",
    "json_list_type": "json",
}
"""Types and parsers that say what a value must look like; any other takes a string."""

_WITHOUT_VALUE = {
    "store_true",
    "store_false",
    "argparse.BooleanOptionalAction",
    "DeprecatedAction",
    "DeprecatedStoreTrueAction",
    "DeprecatedStoreConstAction",
}


@dataclass(frozen=True)
class Flag:
    """A flag of `sglang serve`.

    Attributes:
        names: Its spellings, the main one first.
        type: "switch" (takes no value), "int", "size" (an int that may end in k, M, Ki …),
            "float", "json" or "str".
        nargs: How many values it takes: "0", "1", "?", "*" or "+".
        choices: The values allowed, or None where any is, or the source does not tell.
        default: Its default, or None where there is none, or the source does not tell.
        help: SGLang's own help text.
        deprecated: What SGLang says to use in its place; empty where it is current.
    """

    names: tuple[str, ...]
    type: str
    nargs: str
    choices: tuple[str, ...] | None
    default: str | None
    help: str = ""
    deprecated: str = ""


@dataclass(frozen=True)
class FlagTable:
    """All flags of one release."""

    version: str
    flags: tuple[Flag, ...]

    @property
    def by_name(self) -> Mapping[str, Flag]:
        """Every spelling, and its flag."""
        return {name: flag for flag in self.flags for name in flag.names}


def read_flags(package: Path, version: str) -> FlagTable:
    """Read the flag table from the source of a release.

    Args:
        package: The folder of the package, such as `site-packages/sglang`.
        version: Its version, for the table's head.

    Raises:
        FileNotFoundError: the folder holds no `srt/server_args.py`.
    """
    with _collector_paused():
        sources = Package(package)
        server_args = sources.module(SERVER_ARGS)
        if server_args is None:
            raise FileNotFoundError(package / "srt" / "server_args.py")
        found: dict[str, Flag] = {}
        for flag in _all_flags(sources, server_args, package):
            found.setdefault(flag.names[0], flag)
    return FlagTable(version, tuple(found.values()))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking syntax trees that are all still in use.

    It would, again and again while they grow, for a third of the time that reading takes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _all_flags(sources: Package, server_args: Module, package: Path) -> Iterator[Flag]:
    own = server_args.classes["ServerArgs"]
    yield from _fields(server_args, own)
    for file in sorted((package / FIELDS).glob("*.py")):
        module = sources.module(f"srt.arg_groups.fields.{file.stem}")
        assert module is not None
        for namespace in module.classes.values():
            yield from _fields(module, namespace)
    defaults = {
        statement.target.id: statement.value
        for statement in own.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    for method in own.body:
        if isinstance(method, ast.FunctionDef) and method.name == "add_cli_args":
            server_args.enter(method)
            for node in ast.walk(method):
                if isinstance(node, ast.Call) and _name(node.func).endswith(".add_argument"):
                    yield from _argument(server_args, node, defaults)


def _fields(module: Module, record: ast.ClassDef) -> Iterator[Flag]:
    """Yield the flags that the annotated fields of a class become."""
    for statement in record.body:
        match statement:
            case ast.AnnAssign(
                target=ast.Name(id=field),
                annotation=ast.Subscript(
                    value=ast.Name(id="A" | "Annotated"), slice=ast.Tuple(elts=[kind, *marks])
                ),
            ):
                mark = next((mark for mark in marks if _is_argument(mark)), None)
                if mark is not None:
                    yield from _field(module, field, kind, mark, statement.value)


def _is_argument(mark: ast.expr) -> bool:
    """Tell the help text or Arg(…) of an annotation from its other marks."""
    if isinstance(mark, ast.Call):
        return _name(mark.func) == "Arg"
    return isinstance(mark, ast.Constant | ast.JoinedStr | ast.BinOp)


def _field(
    module: Module, field: str, kind: ast.expr, mark: ast.expr, default: ast.expr | None
) -> Iterator[Flag]:
    options = {k.arg: k.value for k in mark.keywords if k.arg} if isinstance(mark, ast.Call) else {}
    if module.value(options.get("no_cli")) is True:
        return
    if isinstance(mark, ast.Call):
        text = module.value(mark.args[0] if mark.args else options.get("help"))
    else:
        text = module.value(mark)
    names = [module.value(options.get("cli_name")) or "--" + field.replace("_", "-")]
    names += module.value(options.get("aliases")) or []
    inner, literals = _unwrapped(kind)
    action = _name(options["action"]) if "action" in options else ""
    parser = _name(options["type_parser"]) if "type_parser" in options else ""
    if action or inner == "bool":
        yield _flag(
            module,
            names,
            options,
            action=action or "store_true",
            kind="",
            nargs=None,
            choices=None,
            default=default,
            text=text,
        )
        return
    is_list = inner in {"List", "list"} and not parser
    element = _list_element(kind) if is_list else inner
    nargs = module.value(options.get("nargs")) or ("+" if is_list else None)
    named = module.value(options.get("choices"))
    choices = literals if named is UNKNOWN or not named else named
    yield _flag(
        module,
        names,
        options,
        action="",
        kind=parser or element,
        nargs=nargs,
        choices=choices,
        default=default,
        text=text,
    )


def _argument(
    module: Module, call: ast.Call, defaults: Mapping[str, ast.expr | None]
) -> Iterator[Flag]:
    """Yield the flag that a call of `parser.add_argument` registers."""
    names = [module.value(argument) for argument in call.args]
    if not all(isinstance(name, str) and name.startswith("--") for name in names) or not names:
        return
    options = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    default = options.get("default")
    if isinstance(default, ast.Attribute) and _name(default.value) == "ServerArgs":
        default = defaults.get(default.attr)
    action = options.get("action")
    spelled = module.value(action) if isinstance(action, ast.Constant) else _name(action)
    yield _flag(
        module,
        names,
        options,
        action=spelled or "",
        kind=_name(options.get("type")),
        nargs=module.value(options.get("nargs")),
        choices=module.value(options.get("choices")),
        default=default,
        text=module.value(options.get("help")),
    )


def _flag(
    module: Module,
    names: list[str],
    options: Mapping[str, ast.expr],
    *,
    action: str,
    kind: str,
    nargs: Any,
    choices: Any,
    default: ast.expr | None,
    text: Any,
) -> Flag:
    extra = module.value(options.get("action_kwargs"))
    if isinstance(extra, dict):
        nargs = extra.get("nargs", nargs)
    takes_value = action not in _WITHOUT_VALUE or (
        "nargs" in options and module.value(options["nargs"]) is None
    )
    if action == "argparse.BooleanOptionalAction":
        names = [*names, *(f"--no-{name[2:]}" for name in names)]
    value = module.value(default)
    known = choices is not UNKNOWN and choices is not None
    if default is None and action == "store_true":
        value = False
    return Flag(
        names=tuple(names),
        type=_TYPES.get(kind, "str") if takes_value else "switch",
        nargs=(str(nargs) if nargs else "1") if takes_value else "0",
        choices=tuple(str(choice) for choice in choices) if known else None,
        default=None if value is None or value is UNKNOWN else str(value),
        help=text if isinstance(text, str) else "",
        deprecated=_replacement(module, action, text, options),
    )


def _replacement(module: Module, action: str, text: Any, options: Mapping[str, ast.expr]) -> str:
    if not action.startswith("Deprecated"):
        return ""
    for key in ("error_message", "new_flag"):
        said = module.value(options.get(key))
        if isinstance(said, str):
            return said
    return text if isinstance(text, str) and text else "deprecated"


def _unwrapped(kind: ast.expr) -> tuple[str, list[Any] | None]:
    """Return the name of a type without Optional, and the values of a Literal."""
    match kind:
        case ast.Constant(value=str(text)):  # a quoted annotation
            return _unwrapped(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _unwrapped(inner)
        case ast.BinOp(left=inner, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _unwrapped(inner)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            literals = [value.value for value in values if isinstance(value, ast.Constant)]
            return type(literals[0]).__name__, literals
        case ast.Subscript(value=outer):
            return _name(outer), None
        case _:
            return _name(kind), None


def _list_element(kind: ast.expr) -> str:
    """Return the name of the type of a list's elements."""
    for node in ast.walk(kind):
        if isinstance(node, ast.Subscript) and _name(node.value) in {"List", "list"}:
            return _name(node.slice)
    return "str"


def _name(node: ast.expr | None) -> str:
    """Return a dotted name as it is written; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            return f"{_name(value)}.{attribute}"
        case _:
            return ""
