"""Write what the docs take from the program: schemas, the profiles' keys, the checks.

Usage: write_docs.py, or `make docs`. A test holds the committed files to it.
"""

import json
from pathlib import Path
from typing import Any

from sections import with_section

from sgl_embed_kit.doctor.catalogue import About, catalogue
from sgl_embed_kit.doctor.log_report import LogJson
from sgl_embed_kit.doctor.report import ReportJson
from sgl_embed_kit.launch.event_json import event_schema
from sgl_embed_kit.launch.status import StatusJson
from sgl_embed_kit.profile.editor import SCHEMA_FILE, json_schema

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    for path, content in pages().items():
        (ROOT / path).write_text(content, encoding="utf-8")
        print(f"written to {path}")


def pages() -> dict[str, str]:
    """Return the content of each file that is written, by its path in the repository."""
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    checks = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    following = (ROOT / "docs" / "following.md").read_text(encoding="utf-8")
    report = ReportJson.model_json_schema(mode="serialization")
    status = StatusJson.model_json_schema(mode="serialization")
    log = LogJson.model_json_schema(mode="serialization")
    return {
        f"profiles/{SCHEMA_FILE}": json.dumps(json_schema(), indent=2) + "\n",
        "sgl_embed_kit/doctor/report.schema.json": json.dumps(report, indent=2) + "\n",
        "sgl_embed_kit/doctor/log.schema.json": json.dumps(log, indent=2) + "\n",
        "sgl_embed_kit/launch/status.schema.json": json.dumps(status, indent=2) + "\n",
        "sgl_embed_kit/launch/event.schema.json": json.dumps(event_schema(), indent=2) + "\n",
        "docs/following.md": with_section(following, "events", event_table()),
        "docs/profiles.md": with_section(page, "keys", key_table()),
        "docs/checks.md": with_section(checks, "checks", checks_section()),
    }


def checks_section() -> str:
    """Return what is known of each check, a part of the page each."""
    return "\n\n".join(_check(about) for about in catalogue().values())


def _check(about: About) -> str:
    reads = ", ".join(f"`{key}`" for key in about.reads) or "nothing of the profile"
    cure = about.cure if about.cure.endswith(".") else f"`{about.cure}`"
    parts = [
        f"### {about.id}",
        f"**{about.title}** ({about.category}; at worst {about.severity}). {about.means}",
        about.why,
        f"Cure: {cure}",
        f"Reads: {reads}.",
    ]
    if about.harm:
        parts.append(f"Harm: {about.harm}")
    if about.known_issue:
        parts.append(f"Upstream: <{about.known_issue.url}> ({about.known_issue.versions})")
    return "\n\n".join(parts)


def event_table() -> str:
    """Return the events of a launch as a Markdown table: name, meaning, its own fields."""
    rows = ["| event | what happened | fields |", "| --- | --- | --- |"]
    for event in event_schema()["oneOf"]:
        own = [f"`{n}`" for n, about in event["properties"].items() if _is_own(n, about)]
        rows.append(f"| `{event['title']}` | {event['description']} | {', '.join(own)} |")
    return "\n".join(rows)


def _is_own(name: str, about: dict[str, Any]) -> bool:
    return "description" in about and name not in {"time", "elapsed", "pid"}


def key_table() -> str:
    """Return the keys of a profile as a Markdown table: key, default, meaning."""
    schema = json_schema()
    rows = ["| key | default | what it says |", "| --- | --- | --- |"]
    for name, value in schema["properties"].items():
        section = _section(schema, value)
        if section is None:
            rows.append(_row(name, value))
        else:
            required = section.get("required", ())
            rows += [
                _row(f"{name}.{key}", inner, is_required=key in required)
                for key, inner in section["properties"].items()
            ]
    return "\n".join(rows)


def _section(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    reference = value.get("$ref")
    if reference is None:
        return None
    found: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return found


def _row(key: str, value: dict[str, Any], *, is_required: bool = False) -> str:
    default = value.get("default")
    shown = "" if default is None or default == {} else f"`{json.dumps(default)}`"
    words = value["description"].replace("|", r"\|")
    return f"| `{key}` | {'needed' if is_required else shown} | {words} |"


if __name__ == "__main__":
    main()
