"""Take keys, user names, home folders, host names and addresses out of a text to be shared.

The rules are data, in redaction.yaml. What they cannot know, such as this machine's name and
the values of its keys, is a `Private`.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import shlex
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sgl_embed_kit.data_files import data_file

SHORTEST_SECRET = 6
"""A shorter value stands in too many other words, and would not be much of a secret."""
SHORTEST_NAME = 3
"""Likewise for the name of a user or a host."""
_ESCAPED = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
SECRET_NAME = re.compile(r"(?i)(?:token|key|password|passwd|secret|credentials?)$")
"""Names of variables and of fields whose values are taken for secrets."""
ADDRESS = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f.:]{0,40}"
    r"(?:%[\w.\-]{1,32})?(?![0-9A-Za-z])"
)
ADDRESS_V4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")


@dataclass(frozen=True)
class Private:
    """What is private and cannot be recognised by its form.

    Attributes:
        secrets: Values of keys, passwords and tokens.
        users: Names of users.
        homes: Their home folders.
        hosts: Names of this machine.
    """

    secrets: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


NOTHING_PRIVATE = Private()


def private_here(
    secrets: Iterable[str] = (), users: Iterable[str] = (), env: Mapping[str, str] = os.environ
) -> Private:
    """Return what is private of this user on this machine.

    Args:
        secrets: Values that are known to be secret.
        users: Names of other users that are known.
        env: The environment; variables that are named like secrets hold some.
    """
    host = socket.gethostname()
    named = [env.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")]
    return Private(
        secrets=(*secrets, *secrets_in(env)),
        users=(*users, *named, _user()),
        homes=(env.get("HOME", ""), _home()),
        hosts=(host, host.partition(".")[0], env.get("HOSTNAME", "")),
    )


def secrets_in(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the variables that are named like secrets."""
    return tuple(text for name, text in env.items() if SECRET_NAME.search(name))


class Redactor:
    """Replaces what is private, and counts what it replaced.

    Attributes:
        removed: How many of each kind were replaced so far; never what they were.
    """

    def __init__(self, private: Private = NOTHING_PRIVATE) -> None:
        self.removed: Counter[str] = Counter()
        self._known = [*_known(private)]

    def __call__(self, text: str, *, addresses: bool = True) -> str:
        """Return a text without what is private.

        Args:
            text: Any text.
            addresses: Whether addresses are looked for; four numbers between dots may also
                be a version.
        """
        for kind, pattern in self._known:
            text = self._replace(kind, pattern, text)
        for rule in _rules():
            text = self._replace(rule.kind, rule.pattern, text)
        if addresses:
            text = ADDRESS_V4.sub(self._address, ADDRESS.sub(self._address, text))
        return text

    def keys(self, text: str) -> str:
        """Return a text without keys; what else is private stays, as in a log of one's own."""
        for kind, pattern in self._known:
            if kind == "key":
                text = self._replace(kind, pattern, text)
        lowered = text.lower()
        for rule in _key_rules():
            if any(hint in lowered for hint in rule.hints):
                text = self._replace(rule.kind, rule.pattern, text)
        return text

    def command(self, argv: Sequence[str]) -> str:
        """Return a command as one line for a shell, without the keys in its arguments."""
        shown: list[str] = []
        for word in argv:
            name, equals, _ = word.partition("=")
            follows_a_name = bool(shown) and shown[-1].startswith("--") and "=" not in shown[-1]
            if follows_a_name and SECRET_NAME.search(shown[-1]):
                shown.append("<key>")
            elif equals and SECRET_NAME.search(name):
                shown.append(f"{name}=<key>")
            else:
                shown.append(self(word, addresses=False))
        return " ".join(word if word.endswith("<key>") else shlex.quote(word) for word in shown)

    def everywhere(self, value: Any) -> Any:
        """Return a value as JSON and YAML know it, with all its texts and names redacted."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self(str(key)): self._of_key(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(inner) for inner in value]
        return value

    def _of_key(self, key: str, value: Any) -> Any:
        """Return the redacted value of a key, which may say that the value is a secret."""
        if isinstance(value, str) and value and SECRET_NAME.search(key):
            self.removed["key"] += 1
            return "<key>"
        return self.everywhere(value)

    def _replace(self, kind: str, pattern: re.Pattern[str], text: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            self.removed[kind] += 1
            marker = "~" if kind == "home folder" else f"<{kind}>"
            if "secret" not in pattern.groupindex:
                return marker
            begin, end = (index - match.start() for index in match.span("secret"))
            return match[0][:begin] + marker + match[0][end:]

        return pattern.sub(replaced, text)

    def _address(self, match: re.Match[str]) -> str:
        """Replace what is an address, but for those that every machine has."""
        found = match[0] if match[0].endswith("::") else match[0].rstrip(".:")
        try:
            address = ipaddress.ip_address(found)
        except ValueError:  # a time, for instance
            return match[0]
        if address.is_loopback or address.is_unspecified:
            return match[0]
        self.removed["address"] += 1
        return f"<address>{match[0][len(found) :]}"


def _known(private: Private) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield the patterns of what is known, longer texts first: one may be within another."""
    secrets = {line for secret in private.secrets for line in (secret, *secret.splitlines())}
    for secret in _longest_first(secrets):
        if len(secret) >= SHORTEST_SECRET:
            yield "key", re.compile("".join(map(_in_any_form, secret)))
    for home in _longest_first(private.homes):
        yield "home folder", re.compile(rf"(?<![\w.]){re.escape(home.rstrip('/'))}(?![\w\-])")
    for kind, names in (("host name", private.hosts), ("user name", private.users)):
        for name in _longest_first(names):
            if len(name) >= SHORTEST_NAME and name.lower() not in _rules_file()["generic_names"]:
                yield (
                    kind,
                    re.compile(rf"(?i)(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"),
                )


def _in_any_form(char: str) -> str:
    """Return a pattern of a character of a secret: as it is, or escaped however often.

    By JSON, by Python's repr, by a shell, in an address; a text within a text is escaped
    once more, which only makes more backslashes.
    """
    if re.fullmatch(r"[A-Za-z0-9._~-]", char):
        return re.escape(char)
    units = char.encode("utf-16-be", "surrogatepass")
    utf_8 = char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "replace")
    code = f"{ord(char):x}"
    forms = [
        rf"\\*{re.escape(char)}",
        "".join(f"%(?i:{byte:02x})" for byte in utf_8),
        "".join(rf"\\+x(?i:{byte:02x})" for byte in utf_8),
        "".join(rf"\\+u(?i:{units[i : i + 2].hex()})" for i in range(0, len(units), 2)),
        rf"\\+(?:x|u|U)0*(?i:{code})",
    ]
    if char in _ESCAPED:
        forms.append(rf"\\+{_ESCAPED[char]}")
    if char == "\\":
        forms[0] = r"\\+"
    if char == "'":
        forms.append(r"""\\*'[\\"]+'[\\"]*'""")  # a quote between quotes
    if char == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if len(text) > 1}, key=lambda text: (-len(text), text))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ""


@dataclass(frozen=True)
class Rule:
    """How a kind of what is private looks.

    Attributes:
        kind: The kind.
        pattern: What it looks like.
        hints: Lower-case texts of which one stands in every match of a key.
    """

    kind: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...]


@cache
def _rules() -> list[Rule]:
    return [
        Rule(rule["kind"], re.compile(rule["pattern"]), tuple(rule.get("hints", ())))
        for rule in _rules_file()["rules"]
    ]


@cache
def _key_rules() -> list[Rule]:
    return [rule for rule in _rules() if rule.hints]


@cache
def _rules_file() -> dict[str, Any]:
    content: dict[str, Any] = data_file(__package__, "redaction.yaml")
    return content
