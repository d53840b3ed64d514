"""What runs: this user's servers, and a server that was asked; as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.servers import READY

ENDED = "ended"
COLUMNS = 80
WIDTHS = (24, 8, 5, 8, 22, 8)
"""Of name, process id, port, time since the start, state and restarts."""
MINUTE, HOUR, DAY = 60, 3600, 86400


class ServerJson(BaseModel):
    """A server that this toolkit started and that runs."""

    name: str = Field(description="Its served model name.")
    profile: str = Field(description="The profile's name; empty for none.")
    model: str = Field(description="The profile's model.path.")
    url: str = Field(description="Its address for clients on this machine.")
    host: str
    port: int
    pid: int | None = Field(description="Of the server; null while there is none.")
    launcher_pid: int
    started: str = Field(description="When the server started, in ISO 8601.")
    uptime_seconds: float = Field(ge=0)
    state: str = Field(description="The phase of its start, ready, stopping, or ended.")
    ready: bool
    ready_after_seconds: float | None = Field(description="From its start; null before.")
    restarts: int = Field(ge=0)
    log: str


class AnswerJson(BaseModel):
    """What came of asking a server by its address."""

    url: str
    up: bool = Field(description="Whether a server of embeddings answers there.")
    ready: bool = Field(description="Whether an embedding came back.")
    model: str | None = Field(description="The model that it names; null where it does not.")
    dimension: int | None = Field(description="Of the embedding; null where none came.")
    sglang: str | None = Field(description="Its release; null where it does not say.")
    milliseconds: float | None = Field(description="For the embedding; null where none came.")
    why_not: str = Field(description="What keeps it from being ready; empty where it is.")


class StatusJson(BaseModel):
    """What `sgl-embed status --format json` prints."""

    schema_name: Literal["sgl-embed.status/1"] = Field(alias="schema")
    servers: list[ServerJson]
    asked: AnswerJson | None = Field(description="The server at --url; null without it.")


@dataclass(frozen=True)
class Status:
    """What is told.

    Attributes:
        servers: Servers of ours.
        asked: What a server at an address said; None where none was asked.
    """

    servers: Sequence[ServerRecord]
    asked: AnswerJson | None = None

    def as_json(self) -> str:
        """Return the object that `--format json` prints (status.schema.json)."""
        servers = [_server_json(one) for one in self.servers]
        told = StatusJson(schema="sgl-embed.status/1", servers=servers, asked=self.asked)
        return told.model_dump_json(by_alias=True, indent=2)

    def as_text(self) -> str:
        """Return lines of at most 80 columns."""
        lines = [] if self.asked is None else _answer_lines(self.asked)
        if self.servers:
            lines += [_row(("NAME", "PID", "PORT", "UP", "STATE", "RESTARTS"))]
        for one in self.servers:
            pid = "-" if one.pid is None else str(one.pid)
            since = duration(one.uptime)
            lines.append(
                _row((one.name, pid, str(one.port), since, state_of(one), str(one.restarts)))
            )
            source = f"  {one.url}  {f'{one.profile}: ' if one.profile else ''}"
            lines.append(source + shortened(one.model, COLUMNS - len(source)))
        return "\n".join(lines)


def state_of(record: ServerRecord) -> str:
    """Return what a server is doing, for people."""
    if record.server is not None and not record.server.is_running():
        return ENDED
    return record.phase or "starting"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR:02}h"


def shortened(text: str, width: int) -> str:
    """Return the end of a text that is too long, which tells more of a path than its beginning."""
    return text if len(text) <= width else f"…{text[len(text) - max(width, 2) + 1 :]}"


def _row(cells: tuple[str, ...]) -> str:
    name, pid, port, since, state, restarts = cells
    widths = WIDTHS
    return (
        f"{shortened(name, widths[0]):<{widths[0]}}{pid:>{widths[1]}}  {port:<{widths[2]}} "
        f"{since:<{widths[3]}}{state:<{widths[4]}}{restarts:>{widths[5]}}"
    )


def _answer_lines(answer: AnswerJson) -> list[str]:
    state = "up, but not ready" if answer.up else "not up"
    lines = [f"{answer.url}: {'up and ready' if answer.ready else state}"]
    if answer.model:
        lines.append(f"  model      {shortened(answer.model, COLUMNS - 13)}")
    if answer.dimension is not None:
        lines.append(f"  embedding  {answer.dimension} dimensions in {answer.milliseconds:.0f} ms")
    if answer.sglang:
        lines.append(f"  SGLang     {answer.sglang}")
    return lines


def _server_json(record: ServerRecord) -> ServerJson:
    state = state_of(record)
    return ServerJson(
        name=record.name,
        profile=record.profile,
        model=record.model,
        url=record.url,
        host=record.host,
        port=record.port,
        pid=record.pid,
        launcher_pid=record.launcher.pid,
        started=record.since.isoformat(timespec="seconds"),
        uptime_seconds=round(record.uptime, 1),
        state=state,
        ready=state == READY,
        ready_after_seconds=record.ready_after and round(record.ready_after, 1),
        restarts=record.restarts,
        log=record.log,
    )
