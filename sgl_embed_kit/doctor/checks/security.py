"""Checks of who can reach the server, and who can read its keys."""

from __future__ import annotations

import shlex
from pathlib import Path

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.folders import with_home
from sgl_embed_kit.loopback import is_loopback
from sgl_embed_kit.machine import File, Running
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.profile.rules import is_secret_flag

READABLE_BY_OTHERS = 0o077
WRITABLE_BY_OTHERS = 0o022
STICKY = 0o1000
"""In such a folder, nobody can replace a file of somebody else."""
SECRETS_FOLDER = Path("/run/secrets")
"""Where Docker and Podman mount secrets, readable by all in the container."""


def exposure(subject: Subject) -> Finding:
    """Look whether other machines can use the server, and whether they need a key."""
    host, has_key = subject.profile.server.host, "api-key" in subject.profile.server.keys
    if is_loopback(host):
        return Finding(Status.OK, f"{host} can be reached from this machine alone")
    if has_key:
        return Finding(Status.OK, f"{host} can be reached from other machines, with a key")
    return Finding(
        Status.WARN,
        f"{host} can be reached from other machines, and asks for no key",
        "a key, or an address of this machine alone",
        patch(server={"api_key_env": "SGL_EMBED_API_KEY"}),
    )


def maintenance_routes(subject: Subject) -> Finding:
    """Look who may use SGLang's maintenance routes, such as those that replace weights.

    With an admin key they ask for that one, else for the API key, else for none
    (decide_request_auth in srt/utils/auth.py). The guard leaves them as they are.
    """
    server = subject.profile.server
    if "admin-api-key" in server.keys:
        return Finding(Status.OK, "the maintenance routes ask for the admin key")
    if is_loopback(server.host):
        return Finding(Status.OK, "the maintenance routes are open to this machine alone")
    if "api-key" in server.keys:
        return Finding(
            Status.INFO,
            "whoever has the API key may use the maintenance routes, too",
        )
    return Finding(
        Status.WARN,
        "the maintenance routes (flush the cache, replace weights, pause) are open to all",
        "an admin key",
        patch(server={"admin_api_key_env": "SGL_EMBED_ADMIN_API_KEY"}),
    )


def cross_origin(subject: Subject) -> Finding:
    """Look whether any web page can use the server through the browser of its reader.

    SGLang allows every origin and has no flag for it (CORSMiddleware in
    srt/entrypoints/http_server.py); a key is what a foreign page does not have.
    """
    server = subject.profile.server
    if "api-key" in server.keys:
        return Finding(Status.OK, "web pages may ask (SGLang's CORS is *), and lack the key")
    if is_loopback(server.host):
        return Finding(
            Status.OK, "web pages open on this machine may ask: SGLang's CORS is *, with no key"
        )
    return Finding(
        Status.WARN,
        "any web page may ask, in the browser of whoever reaches this server: CORS is *",
        "a key, which a web page does not have",
        patch(server={"api_key_env": "SGL_EMBED_API_KEY"}),
    )


def keys_in_arguments(subject: Subject) -> Finding:
    """Look for servers whose key stands in the process list.

    Their environment is no place to look: Linux shows it to the same user and to root alone
    (proc_pid_environ(5)).
    """
    running = subject.machine.running("sglang")
    if running is None:
        return Finding(Status.SKIP, "this system does not show the arguments of processes")
    servers = [process for process in running if _is_server(process)]
    shown = [(process.pid, flags) for process in servers if (flags := _secret_flags(process))]
    if not shown:
        return Finding(
            Status.OK, f"servers that run: {len(servers)}; none with a key in its arguments"
        )
    pid, flags = shown[0]
    return Finding(
        Status.WARN,
        f"ps shows the value of {' and '.join(flags)} of process {pid} to every user",
        "a key from a variable or a file, which the toolkit hands over unseen",
        "sgl-embed launch PROFILE  # with server.api_key_env, in the place of that server",
    )


def _is_server(process: Running) -> bool:
    """Say whether a process is `sglang serve` or `python -m sglang.launch_server`."""
    return any(
        Path(word).name == "sglang" or word == "sglang.launch_server" for word in process.argv[:4]
    )


def _secret_flags(process: Running) -> list[str]:
    names = (word.partition("=")[0] for word in process.argv if word.startswith("--"))
    return [name for name in names if is_secret_flag(name[2:].replace("_", "-"))]


def key_files(subject: Subject) -> Finding:
    """Look who can read the files that hold keys, or put others in their place."""
    named = [source.file for source in subject.profile.server.keys.values() if source.file]
    if not named:
        return Finding(Status.OK, "no key comes from a file")
    for name in named:
        path = with_home(name)  # which the quoted path of a cure must not need a shell for
        found = subject.machine.file(path)
        if found is None:
            return Finding(Status.SKIP, f"{name} cannot be looked at")
        if _is_mounted(found):
            continue
        if found.mode & READABLE_BY_OTHERS:
            return Finding(
                Status.WARN,
                f"{name} has the mode {found.mode:03o}: others than you may read the key",
                "600",
                f"chmod 600 {shlex.quote(str(path))}",
            )
        if found.folder_mode & WRITABLE_BY_OTHERS and not found.folder_mode & STICKY:
            folder = str(found.path.parent)
            return Finding(
                Status.WARN,
                f"{folder} has the mode {found.folder_mode:03o}: others may replace the key in it",
                "755 or less",
                f"chmod go-w {shlex.quote(folder)}",
            )
    return Finding(Status.OK, f"only you can read {' and '.join(named)}")


def _is_mounted(file: File) -> bool:
    """Say whether a container's runtime mounted a file as a secret, with modes of its own.

    Kubernetes writes each version into a folder `..2026_11_21_…` beside a link to it.
    """
    kubernetes = any(part.startswith("..") for part in file.path.parts)
    return kubernetes or SECRETS_FOLDER in file.path.parents
