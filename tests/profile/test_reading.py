"""Putting a profile together: extends, ${VAR}, --set, and what a profile must not hold."""

from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.profile import Loaded, read_profile
from sgl_embed_kit.profile.masking import Mask
from sgl_embed_kit.profile.problems import InvalidProfileError, Origin


def write(folder: Path, **files: str) -> Path:
    """Write profiles and return the path of the first one."""
    paths = []
    for name, text in files.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text, encoding="utf-8")
    return paths[0]


def read(path: Path, *settings: str, **env: str) -> Loaded:
    return read_profile(str(path), settings, env=env)


def problems(path: Path, *settings: str, **env: str) -> list[str]:
    with pytest.raises(InvalidProfileError) as caught:
        read(path, *settings, **env)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


class TestExtends:
    def test_a_profile_overrides_key_by_key_and_each_value_knows_its_file(
        self, tmp_path: Path
    ) -> None:
        base = "model: {path: org/base, dtype: float32}\nlimits:\n  context_length: 512\n"
        path = write(
            tmp_path,
            child="extends: base.yaml\nmodel:\n  path: org/child\nserver: {port: 80}\n",
            base=base,
        )
        loaded = read(path)
        assert loaded.profile.model.path == "org/child"
        assert loaded.profile.model.dtype == "float32"
        assert loaded.profile.limits.context_length == 512
        assert loaded.origins[("model", "path")] == Origin(str(path), 3, 3)
        base_file = str(tmp_path / "base.yaml")
        assert loaded.origins[("limits", "context_length")] == Origin(base_file, 3, 3)
        assert ("launch", "timeout_seconds") not in loaded.origins

    def test_a_bundled_profile_can_be_extended_by_its_name(self, tmp_path: Path) -> None:
        path = write(tmp_path, child="extends: minilm-cpu\nserver: {port: 1234}\n")
        profile = read(path).profile
        assert (profile.model.name, profile.server.port) == ("all-minilm-l6-v2", 1234)

    @pytest.mark.parametrize("named", ["../x.yaml", "/etc/passwd", "a/b.yaml", "..", "7", "nosuch"])
    def test_it_leads_nowhere_but_to_this_folder_and_the_bundle(
        self, tmp_path: Path, named: str
    ) -> None:
        (tmp_path.parent / "x.yaml").write_text("model: {path: x}")
        path = write(tmp_path, child=f"model: {{path: x}}\nextends: {named}\n")
        (problem,) = problems(path)
        assert problem.startswith("2:1: `extends` is ")

    def test_a_circle_is_an_error_not_a_hang(self, tmp_path: Path) -> None:
        path = write(tmp_path, a="extends: b.yaml\n", b="extends: a.yaml\n")
        (problem,) = problems(path)
        assert "b.yaml:1:1: `extends` is 'a.yaml'" in problem

    def test_a_long_chain_is_an_error(self, tmp_path: Path) -> None:
        files = {f"p{n}": f"extends: p{n + 1}.yaml\n" for n in range(20)}
        path = write(tmp_path, **files, p20="model: {path: x}\n")
        assert "extends no more than 7 others in a row" in problems(path)[0]


class TestVariables:
    def test_they_are_expanded_in_texts_with_defaults(self, tmp_path: Path) -> None:
        text = "model: {path: '${ROOT}/m-${SIZE:-small}', served_name: a}\nenv: {A: '${B:-}'}\n"
        loaded = read(write(tmp_path, p=text), ROOT="/models")
        assert loaded.profile.model.path == "/models/m-small"
        assert loaded.profile.env == {"A": ""}

    def test_what_was_expanded_is_shown_as_it_was_written(self, tmp_path: Path) -> None:
        text = "model: {path: x}\nenv: {HF_TOKEN: '${MY_TOKEN}', B: c}\n"
        loaded = read(write(tmp_path, p=text), MY_TOKEN="hf_secret")
        assert loaded.profile.env == {"HF_TOKEN": "hf_secret", "B": "c"}
        assert loaded.shown.env == {"HF_TOKEN": "${MY_TOKEN}", "B": "c"}
        assert loaded.shown.model == loaded.profile.model

    def test_a_missing_one_is_an_error_with_its_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, p="model:\n  path: x\nenv:\n  A: ${NOT_SET}\n")
        assert problems(path) == ["4:3: `env.A` needs the variable NOT_SET, which is not set"]

    def test_an_expanded_value_that_is_wrong_is_not_printed(self, tmp_path: Path) -> None:
        path = write(tmp_path, p="model: {path: x, dtype: '${D}'}\n")
        (problem,) = problems(path, D="top-secret")
        assert "top-secret" not in problem
        assert "`model.dtype` is …:" in problem


class TestSettings:
    def test_a_setting_goes_before_the_file_and_has_the_type_it_is_written_in(
        self, tmp_path: Path
    ) -> None:
        path = write(tmp_path, p="model: {path: x}\nlimits: {context_length: 512}\n")
        loaded = read(path, "limits.context_length=4096", "server.host=0.0.0.0")
        assert loaded.profile.limits.context_length == 4096
        assert loaded.profile.server.host == "0.0.0.0"
        origin = loaded.origins[("limits", "context_length")]
        assert str(origin) == "--set limits.context_length"

    def test_a_wrong_setting_is_named_like_a_wrong_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, p="model: {path: x}\n")
        assert problems(path, "server.port=http", "limits.contxt=1") == [
            "--set limits.contxt: `limits.contxt` is not a key of a profile; did you mean "
            "`context_length`?",
            "--set server.port: `server.port` is 'http': must be a whole number",
        ]

    @pytest.mark.parametrize("setting", ["server.port", "=1", "a..b=1", ""])
    def test_what_is_no_setting_is_wrong_use(self, tmp_path: Path, setting: str) -> None:
        with pytest.raises(UsageError):
            read(write(tmp_path, p="model: {path: x}\n"), setting)


class TestSensitive:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("sglang: {extra_args: {ssl-keyfile-password: a}}", "extra.ssl-keyfile-password"),
            ("env: {HF_TOKEN: hf_abc}", "env.HF_TOKEN"),
            ("env: {OPENAI_API_KEY: x}", "env.OPENAI_API_KEY"),
            ("env: {DB_PASSWORD: x}", "env.DB_PASSWORD"),
            ("env: {ANYTHING: sk-123}", "env.ANYTHING"),
        ],
    )
    def test_a_secret_is_refused_with_what_to_write(
        self, tmp_path: Path, text: str, place: str
    ) -> None:
        path = write(tmp_path, p=f"model: {{path: x}}\n{text}\n")
        (problem,) = problems(path)
        name = place.rsplit(".", 1)[1]
        assert f"`{name}` is a secret, and a profile holds none; write ${{" in problem

    def test_a_secret_from_the_environment_is_fine(self, tmp_path: Path) -> None:
        path = write(tmp_path, p="model: {path: x}\nenv: {HF_TOKEN: '${T}'}\n")
        assert read(path, T="hf_abc").profile.env == {"HF_TOKEN": "hf_abc"}

    @pytest.mark.parametrize(
        "text",
        [
            "sglang: {extra_args: {trust-remote-code: true}}",
            "env: {LD_PRELOAD: /tmp/x.so}",
            "env: {PYTHONPATH: /tmp}",
            "env: {SGL_EMBED_GUARD: '0'}",
        ],
    )
    def test_what_could_run_foreign_code_needs_to_be_allowed(
        self, tmp_path: Path, text: str
    ) -> None:
        path = write(tmp_path, p=f"model: {{path: x}}\n{text}\n")
        (problem,) = problems(path)
        assert "it needs --allow-unsafe" in problem
        read_profile(str(path), allow_unsafe=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parallel: {tensor: 2}", "2:1: tensor 2 x data 1 needs 2 GPUs, hardware.gpus is 1"),
        (
            "parallel: {tensor: 2, data: 2}\nhardware: {gpus: 2}",
            "2:1: tensor 2 x data 2 needs 4 GPUs, hardware.gpus is 2",
        ),
        ("parallel: {data: 2}\nhardware: {device: cpu}", "2:1: a server on the CPU is not spread"),
        ("hardware: {device: cpu, gpu: A10}", "2:25: a profile for the CPU names no GPU"),
        (
            "limits: {context_length: 2048, max_total_tokens: 1024}",
            "2:32: a KV pool of 1024 tokens is smaller than the context of 2048",
        ),
        (
            "sglang: {extra_args: {tokenizer-worker-num: 2}}",
            "2:23: SGLang's extra HTTP workers never load the guard",
        ),
        ("sglang: {extra_args: {smg-grpc-mode: true}}", "2:23: the guard does not watch gRPC"),
        ("sglang: {version: newest}", "2:10: `sglang.version` is 'newest': must be like 0.5.23"),
    ],
)
def test_keys_that_contradict_each_other(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(write(tmp_path, p=f"model: {{path: x}}\n{text}\n"))
    assert problem.startswith(expected)


def test_what_contradicts_the_guard_is_fine_without_it(tmp_path: Path) -> None:
    text = (
        "model: {path: x}\nguard: {enabled: false}\nsglang: {extra_args: {tokenizer-worker-num: 2}}"
    )
    assert read(write(tmp_path, p=text)).profile.guard.enabled is False


class TestMasking:
    SECRET = "hush-hush"

    @pytest.mark.parametrize(
        "text",
        [
            "model: {path: x, dtype: '${V}'}",
            "model: {path: x}\nsglang: {extra_args: {schedule-policy: '${V}'}}",
            "model: {path: x}\nlimits: {context_length: '${V}'}",
            "model: {path: 'x', served_name: 'a:${V}'}",
        ],
    )
    def test_no_message_shows_a_value_of_the_environment(
        self, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("V", self.SECRET)
        path = write(tmp_path, p=f"{text}\n")
        with pytest.raises(InvalidProfileError) as caught:
            read_runnable(str(path), (), None)
        assert self.SECRET not in caught.value.why

    def test_the_name_stands_for_the_value(self, tmp_path: Path) -> None:
        mask = read(write(tmp_path, p="model: {path: '${V}/m'}\n"), V=self.SECRET).mask
        assert mask(f"{self.SECRET}/m is here") == "${V}/m is here"

    def test_a_longer_value_goes_before_one_that_is_in_it(self) -> None:
        assert Mask({"aaaa": "A", "aaaabbbb": "B"})("aaaabbbb aaaa") == "${B} ${A}"

    def test_a_very_short_value_is_left_where_it_is(self) -> None:
        assert Mask({"1": "ONE"})("port 31111") == "port 31111"

    def test_a_default_of_the_file_is_no_value_of_the_environment(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, p="model: {path: '${V:-long-enough}'}\n")).mask.names == {}

    def test_errors_are_masked_on_their_way(self) -> None:
        with pytest.raises(KitError) as caught, Mask({self.SECRET: "V"}).errors():
            raise KitError(self.SECRET, why=self.SECRET, cure=f"ls {self.SECRET}")
        assert (caught.value.what, caught.value.why) == ("${V}", "${V}")
        assert caught.value.cure == "ls ${V}"
