"""What the live checks look at: what a server says of itself, and its vectors."""

import httpx
import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live.answers import LiveError
from sgl_embed_kit.profile.masking import Mask
from tests.doctor.live.fakes import KEY, FakeSglang, refusal, subject_of


@pytest.mark.parametrize(
    ("server", "release"),
    [
        (FakeSglang(), "0.5.23"),
        (FakeSglang(server={"version": "0.5\n.23"}), "0.5 .23"),
        (FakeSglang(server={"version": ""}), None),
        (FakeSglang(server={"version": None}), None),
        (FakeSglang(routes={"/server_info": refusal(403)}), None),
        (FakeSglang(routes={"/v1/models": refusal(500)}), None),
    ],
)
def test_the_release_is_what_the_server_says_if_it_says_one(
    server: FakeSglang, release: str | None
) -> None:
    assert subject_of(server).release == release


def test_a_release_that_holds_the_key_is_masked() -> None:
    server = FakeSglang(server={"version": KEY})
    assert subject_of(server, mask=Mask({KEY: "KEY"})).release == "${KEY}"


def test_an_answer_without_vectors_is_an_error() -> None:
    server = FakeSglang(routes={"/v1/embeddings": httpx.Response(200, json={"data": []})})
    with pytest.raises(LiveError, match="gives no vectors") as caught:
        subject_of(server).embed(["a"])
    assert caught.value.finding.status is Status.ERROR
    assert caught.value.finding.needed == "1 vectors of finite numbers"
