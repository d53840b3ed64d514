"""Read values out of Python source without running it: constants, lists, imported names.

SGLang's own modules take ten seconds to import; what its flags are stands in literals
that the `ast` module shows in a tenth of one. Anything that cannot be worked out that
way is UNKNOWN, never a guess.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final


class Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()
"""Stands for a value that only running the code would tell."""

_COLLECTORS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "set": list,
    "frozenset": list,
    "tuple": list,
    "sorted": sorted,
}


class Package:
    """A Python package on disk, read as text.

    Args:
        root: Its folder, such as `site-packages/sglang`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return a module by its path inside the package, such as "srt.server_args"."""
        if name not in self._modules:
            base = self._root.joinpath(*name.split("."))
            files = (base.with_suffix(".py"), base / "__init__.py")
            file = next((file for file in files if file.is_file()), None)
            self._modules[name] = Module(self, file) if file else None
        return self._modules[name]

    def imported(self, dotted: str | None) -> Module | None:
        """Return the module of this package that an import statement names."""
        prefix = f"{self._root.name}."
        if dotted is None or not dotted.startswith(prefix):
            return None
        return self.module(dotted.removeprefix(prefix))


class Module:
    """A module's source, and the values of its names as far as they can be told."""

    def __init__(self, package: Package, file: Path) -> None:
        self._package = package
        tree = ast.parse(file.read_text(encoding="utf-8"))
        self._assigned: dict[str, ast.expr] = {}
        self._imported: dict[str, tuple[str, str]] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assigned[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if node.value is not None:
                    self._assigned[node.target.id] = node.value
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self._imported[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node

    def enter(self, function: ast.FunctionDef) -> None:
        """Take the names that a function assigns as names of this module, too."""
        for node in function.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assigned[node.targets[0].id] = node.value

    def value(self, node: ast.expr | None) -> Any:
        """Return the value of an expression in this module, or UNKNOWN."""
        match node:
            case None:
                return None
            case ast.Constant(value=constant):
                return constant
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return self._items(items)
            case ast.Name(id=name):
                return self.named(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.value(operand)
                return -inner if isinstance(inner, int | float) else UNKNOWN
            case ast.BinOp(left=left, right=right):
                return _combined(node.op, self.value(left), self.value(right))
            case ast.JoinedStr(values=parts):
                texts = [self.value(part) for part in parts]
                return "".join(text if isinstance(text, str) else "…" for text in texts)
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return {self.value(key): self.value(value) for key, value in pairs}
            case ast.Call(keywords=[ast.keyword(arg="default_factory", value=ast.Name(id="list"))]):
                return []
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _COLLECTORS:
                inner = self.value(argument)
                return UNKNOWN if inner is UNKNOWN else _COLLECTORS[name](inner)
            case _:
                return UNKNOWN

    def named(self, name: str) -> Any:
        """Return the value of a module-level name, following imports inside the package."""
        if name in self._assigned:
            return self.value(self._assigned[name])
        if name in self._imported:
            source, original = self._imported[name]
            module = self._package.imported(source)
            return module.named(original) if module else UNKNOWN
        return UNKNOWN

    def _items(self, nodes: list[ast.expr]) -> Any:
        items: list[Any] = []
        for node in nodes:
            starred = isinstance(node, ast.Starred)
            item = self.value(node.value if isinstance(node, ast.Starred) else node)
            if item is UNKNOWN:
                return UNKNOWN
            items.extend(item if starred else [item])
        return items


def _combined(operator: ast.operator, left: Any, right: Any) -> Any:
    """Return the sum or product of two known values of the same kind."""
    if UNKNOWN in (left, right):
        return UNKNOWN
    try:
        if isinstance(operator, ast.Add):
            return left + right
        if isinstance(operator, ast.Mult):
            return left * right
        if isinstance(operator, ast.Pow):
            return left**right
    except TypeError:
        pass
    return UNKNOWN
