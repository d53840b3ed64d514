"""The checks that ask a server that runs, with the functions that look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps

from sgl_embed_kit.doctor.catalogue import LIVE, catalogue
from sgl_embed_kit.doctor.engine import Check, Finding, Report, run_checks
from sgl_embed_kit.doctor.live import canaries, connection, exposure, limits, model
from sgl_embed_kit.doctor.live.answers import NO_ANSWER, READ_THE_LOG, LiveError
from sgl_embed_kit.doctor.live.subject import LiveSubject

Look = Callable[[LiveSubject], Finding]
CHECK_SECONDS = 150.0
"""Each request has a limit of its own; this one is for a check that makes several."""

_FIRST_CONTACT: dict[str, Look] = {
    "SGE-LIVE-001": connection.reach,
    "SGE-LIVE-002": connection.tls,
}
_LOOKS: dict[str, Look] = {
    "SGE-LIVE-003": connection.auth,
    "SGE-LIVE-004": connection.health,
    "SGE-LIVE-005": connection.keep_alive,
    "SGE-LIVE-006": model.version,
    "SGE-LIVE-007": model.kind,
    "SGE-LIVE-008": model.served_name,
    "SGE-LIVE-009": model.context,
    "SGE-LIVE-010": model.plan,
    "SGE-LIVE-011": exposure.guard,
    "SGE-LIVE-012": exposure.routes,
    "SGE-LIVE-013": exposure.origins,
    "SGE-LIVE-014": canaries.first,
    "SGE-LIVE-015": canaries.norm,
    "SGE-LIVE-016": canaries.repeat,
    "SGE-LIVE-017": canaries.batch,
    "SGE-LIVE-018": canaries.base64,
    "SGE-LIVE-019": canaries.nfc,
    "SGE-LIVE-020": canaries.last_id,
    "SGE-LIVE-021": limits.too_long,
    "SGE-LIVE-022": limits.longest,
    "SGE-LIVE-023": limits.poison,
}


def _of_a_server_that_answers(look: Look) -> Look:
    """Make of a server's silence a finding, told once and not by every check."""

    @wraps(look)
    def looking(subject: LiveSubject) -> Finding:
        try:
            subject.contact()
        except LiveError:
            return NO_ANSWER
        try:
            return look(subject)
        except LiveError as error:
            return error.cured(READ_THE_LOG)

    return looking


LIVE_CHECKS = tuple(
    Check(
        about,
        _FIRST_CONTACT.get(about.id) or _of_a_server_that_answers(_LOOKS[about.id]),
        CHECK_SECONDS,
    )
    for about in catalogue().values()
    if about.category == LIVE
)


def run_live_checks(
    subject: LiveSubject, checks: Sequence[Check[LiveSubject]], ignored: Mapping[str, str]
) -> Report:
    """Run live checks: the harmless ones side by side, then the others one after the other.

    Args:
        subject: The server, and what it should be like.
        checks: What to run.
        ignored: Ids of checks whose errors and warnings are only told, each with the reason.
    """
    began = time.perf_counter()
    groups = [[check for check in checks if not check.about.harm]]
    groups += [[check] for check in checks if check.about.harm]
    results = [result for group in groups for result in run_checks(subject, group, ignored).results]
    return Report(tuple(results), time.perf_counter() - began)
