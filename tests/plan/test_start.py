"""How long a start may take, with the arithmetic written out."""

import pytest

from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.plan.shapes import MINILM, TINY
from sgl_embed_kit.plan.start import StartTime, start_time


def test_a_large_model_on_a_gpu() -> None:
    known = known_model("Qwen/Qwen3-Embedding-8B")
    assert known is not None
    found = start_time(known.shape, is_cpu=False, is_here=True, probe_tokens=40960)
    size = 2 * known.shape.parameters  # bfloat16
    assert found == StartTime(size, 240.0, size / 50e6, 0.0, 300.0, 40.96)
    assert found.seconds == pytest.approx(884, abs=1)
    assert str(found) == (
        "240 s for imports + 303 s for reading 15.1 GB of weights + 300 s for kernels + "
        "41 s for the probe"
    )


def test_weights_that_are_fetched_take_longer_and_no_probe_none() -> None:
    here = start_time(MINILM, is_cpu=True, is_here=True)
    fetched = start_time(MINILM, is_cpu=True, is_here=False)
    assert fetched.seconds - here.seconds == pytest.approx(4 * MINILM.parameters / 5e6)
    assert here.seconds == pytest.approx(300 + 4 * MINILM.parameters / 50e6)  # float32 in the file
    assert "probe" not in str(here)
    assert "fetching 0.1 GB of weights" in str(fetched)


def test_a_probe_on_the_cpu_is_given_its_time() -> None:
    assert start_time(TINY, is_cpu=True, is_here=True, probe_tokens=200).probe == 10.0


def test_of_an_unknown_model_eight_billion_parameters_are_assumed() -> None:
    found = start_time(None, is_cpu=False, is_here=True)
    assert (found.weight_bytes, found.weights) == (16_000_000_000, 320.0)
