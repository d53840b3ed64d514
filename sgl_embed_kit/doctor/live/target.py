"""Which server is asked, with which key, and what it is compared with."""

from __future__ import annotations

import os
from contextlib import suppress

from sgl_embed_kit.doctor.live.answers import quoted
from sgl_embed_kit.doctor.live.server import LiveServer, server_url
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.loopback import is_loopback
from sgl_embed_kit.profile.keys import read_key
from sgl_embed_kit.profile.masking import Mask
from sgl_embed_kit.profile.schema import KeySource

KEY_VARIABLE = "SGL_EMBED_API_KEY"
"""Where the key is taken from if neither the profile nor the command line says."""


def live_subject(
    url: str,
    described: Subject | None,
    *,
    key_variable: str | None = None,
    plain_http: bool = False,
    is_intrusive: bool = False,
) -> LiveSubject:
    """Put together what the live checks look at.

    Args:
        url: The server's address.
        described: The subject of the profile that the server should follow, if there is one.
        key_variable: Environment variable with its key; None goes by the profile, or by
            SGL_EMBED_API_KEY where there is none.
        plain_http: Whether the key may travel unencrypted to another machine.
        is_intrusive: Whether requests may be sent that could hurt the server.

    Raises:
        UsageError: the URL is none, or the key would travel in the open.
        KitError: the key is not where it is said to be.
    """
    address = server_url(url)
    key, name = _key(described, key_variable)
    if key and address.scheme == "http" and not is_loopback(address.host) and not plain_http:
        host = quoted(address.host)
        raise UsageError(
            f"The key would travel to {host} for all on the way to read.",
            why=f"http:// is not encrypted, and {host} is not this machine.",
            cure="use https:// in the URL, or add --plain-http on a network that you trust",
        )
    names = dict(described.mask.names) if described else {}
    if key:
        names[key] = name
    model = None
    if described is not None:
        with suppress(KitError):  # a folder with a fault is for the machine's checks
            model = described.model_folder()
    return LiveSubject(
        LiveServer(address, key),
        profile=described.profile if described else None,
        model=model,
        is_intrusive=is_intrusive,
        mask=Mask(names),
    )


def _key(described: Subject | None, variable: str | None) -> tuple[str | None, str]:
    """Return the key, or None, and a name for it."""
    if variable is not None:
        said = "The command line says that the server's key is there."
        return read_key(KeySource(env=variable), os.environ, said), variable
    if described is not None:
        source = described.profile.server.keys.get("api-key")
        if source is None:
            return None, ""
        return read_key(source, os.environ), source.env or "the server's key"
    if os.environ.get(KEY_VARIABLE):
        said = "The server's key is taken from there."
        return read_key(KeySource(env=KEY_VARIABLE), os.environ, said), KEY_VARIABLE
    return None, ""
