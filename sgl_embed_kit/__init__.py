"""Deployment toolkit and preflight checker for SGLang embedding servers.

The package is lazy (PEP 562): the guard is imported from it inside every SGLang
process, so importing it must pull in nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgl_embed_kit.client import EmbeddingClient as EmbeddingClient

__version__ = "0.1.0.dev0"
__all__ = ["EmbeddingClient", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "EmbeddingClient":
        from sgl_embed_kit.client import EmbeddingClient

        return EmbeddingClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
