"""Keys: what the checks find."""

from sgl_embed_kit.doctor.engine import Status
from tests.doctor.checks.cases import Case

CASES: list[Case] = [
    ("SGE-KEY-001", {}, Status.OK, "asks for no key"),
    (
        "SGE-KEY-001",
        {"server": {"api_key_env": "SGL_EMBED_TEST_NO_SUCH_KEY"}},
        Status.ERROR,
        "SGL_EMBED_TEST_NO_SUCH_KEY",
    ),
]
