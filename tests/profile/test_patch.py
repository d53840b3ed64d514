"""Edits of a profile as YAML to paste."""

import pytest
import yaml

from sgl_embed_kit.profile.patch import patch


def test_a_section_is_a_line_that_says_where_it_belongs() -> None:
    assert patch(server={"port": 30001}) == "server: {port: 30001}  # in the profile"


def test_several_sections_are_several_lines() -> None:
    text = patch(hardware={"gpus": 1}, parallel={"tensor": 1, "data": 1})
    assert text.splitlines() == [
        "hardware: {gpus: 1}  # in the profile",
        "parallel: {tensor: 1, data: 1}  # in the profile",
    ]


@pytest.mark.parametrize(
    "value", [True, None, 0.66, "no", "a: b # c", "x" * 300, "Ω", ["a", 1], {"a": {"b": 1}}]
)
def test_what_is_pasted_is_what_was_meant(value: object) -> None:
    text = patch(env={"NAME": value})
    assert yaml.safe_load(text) == {"env": {"NAME": value}}
