"""Where clients on this machine reach a server."""

from __future__ import annotations

from sgl_embed_kit.profile import Profile


def url_of(profile: Profile) -> str:
    """Return the address at which this machine reaches a profile's server."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
    host = anywhere.get(profile.server.host, profile.server.host)
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{profile.server.port}"
