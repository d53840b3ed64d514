"""What is taken out of a text to be shared, and what stays in it."""

import json
import shlex
import socket
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgl_embed_kit.redaction import Private, Redactor, private_here

HF = "hf_" + "aB3" * 11 + "x"
"""Of the form of a Hugging Face token."""
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ-_"


@pytest.mark.parametrize(
    ("text", "redacted", "kind"),
    [
        (f"a\n{PEM}\nb", "a\n<private key>\nb", "private key"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "<private key>", "private key"),
        (f"token is {HF}.", "token is <key>.", "key"),
        ("sk-" + "a1" * 12, "<key>", "key"),
        ("github_pat_" + "a1" * 12, "<key>", "key"),
        ("AKIA" + "A1" * 8, "<key>", "key"),
        (f"jwt={JWT};", "jwt=<key>;", "key"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer <key>", "key"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic <key>", "key"),
        ("https://me:pw@hub.example/x", "https://<key>@hub.example/x", "key"),
        ("https://token@hub.example", "https://<key>@hub.example", "key"),
        ("'api_key': 'abc', 'x': 1", "'api_key': '<key>', 'x': 1", "key"),
        ('{"admin_api_key": "abc"}', '{"admin_api_key": "<key>"}', "key"),
        ("HF_TOKEN=abc sglang", "HF_TOKEN=<key> sglang", "key"),
        ("http://h/x?access_token=abc&y=1", "http://h/x?access_token=<key>&y=1", "key"),
        ("password: 1234", "password: <key>", "key"),
        ("--api-key abc --port 1", "--api-key <key> --port 1", "key"),
        ("--watermark-key-b=abc", "--watermark-key-b=<key>", "key"),
        ("/home/alice/models", "~/models", "home folder"),
        ("open('/Users/alice')", "open('~')", "home folder"),
        (r"C:\Users\alice\x", r"~\x", "home folder"),
        ("ip-10-1-2-3.ec2.internal up", "<host name> up", "host name"),
        ("GPU-3f2504e0-4f89-11d3-9a0c-0305e82c3301", "<device id>", "device id"),
        ("eth0 00:1A:2b:3c:4d:5e up", "eth0 <hardware address> up", "hardware address"),
        ("from 10.0.0.5:8080", "from <address>:8080", "address"),
        ("at 192.168.1.20.", "at <address>.", "address"),
        ("http://[2001:db8::5]:30000", "http://[<address>]:30000", "address"),
        ("fe80::1%eth0: refused", "<address>: refused", "address"),
        ("addr:2001:db8::1,", "addr:<address>,", "address"),
        ("::ffff:10.0.0.5", "<address>", "address"),
    ],
)
def test_each_kind_is_found_where_it_stands(text: str, redacted: str, kind: str) -> None:
    redact = Redactor()
    assert redact(text) == redacted
    assert redact.removed == {kind: 1}
    assert Redactor().keys(text) == (redacted if "key" in kind else text)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:30000, 0.0.0.0, [::1]:30000, [::]:80",
        "[2026-11-21 17:35:27] at 17:35:27.123",
        "Prefill batch, #new-token: 12, #cached-token: 0, token usage: 0.01,",
        "max_total_num_tokens=16384, chunked_prefill_size=4096",
        "--max-total-tokens 16384 --tokenizer-path /data/m --api-key-file key.txt",
        "'api_key': None, 'hf_chat_template_name': None, 'ssl_keyfile_password': None",
        'api-key: "%s"\\n\' "$SGL_EMBED_API_KEY" >> "$keys"',
        'export SGL_EMBED_API_KEY="$(openssl rand -hex 32)"',
        "api_key_env: SGL_EMBED_API_KEY",
        "tiktoken==0.14.0, password == secret_of_none",
        "c10::cuda at::add_ std::abort",
        "torch 2.14.1, glibc 2.39",
        "https://github.com/sgl-project/sglang/issues/40459",
        "Basic usage of the bearer",
        "${HF_TOKEN} <key> ~/models",
    ],
)
def test_what_is_not_private_stays(text: str) -> None:
    redact = Redactor()
    assert redact(text) == text
    assert not redact.removed


def test_four_numbers_between_dots_may_be_a_version() -> None:
    redact = Redactor()
    assert redact("nvidia-cublas==13.1.2.3", addresses=False) == "nvidia-cublas==13.1.2.3"


def test_what_has_no_form_of_its_own_is_told() -> None:
    redact = Redactor(
        Private(("s3cr3t/x",), ("alice",), ("/srv/people/alice",), ("node7.acme.lan", "node7"))
    )
    text = "/srv/people/alice/m by Alice on NODE7 (node7.acme.lan): s3cr3t/x s3cr3t%2Fx malice"
    expected = "~/m by <user name> on <host name> (<host name>): <key> <key> malice"
    assert redact(text) == expected
    assert redact.removed == {"home folder": 1, "user name": 1, "host name": 2, "key": 2}


def test_names_that_tell_of_nobody_and_very_short_ones_stay() -> None:
    assert Redactor(Private(users=("ada",)))("ada") == "<user name>"
    redact = Redactor(Private(("short",), ("root", "al"), ("/",), ("localhost", "")))
    text = "root al / localhost short"
    assert redact(text) == text


def test_a_folder_that_only_begins_like_the_home_stays() -> None:
    redact = Redactor(Private(homes=("/root",)))
    assert redact("/root /root/x /rootless /data/root") == "~ ~/x /rootless /data/root"


def test_a_secret_with_quotes_is_found_in_json_too() -> None:
    secret = 'pa"ss\\word'
    text = json.dumps({"log": f"it was {secret}"})
    assert json.loads(Redactor(Private((secret,)))(text)) == {"log": "it was <key>"}


writings = {
    "as it is": str,
    "JSON": lambda text: json.dumps({"x": text}),
    "JSON in UTF-8": lambda text: json.dumps({"x": text}, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps([json.dumps([text])]),
    "repr": lambda text: repr({"x": text}),
    "repr in repr": lambda text: repr([repr([text])]),
    "repr in JSON": lambda text: json.dumps({"x": repr({"y": text})}),
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode("utf-8", "surrogateescape")),
    "shell": shlex.quote,
    "shell in JSON": lambda text: json.dumps(f"run {shlex.quote(text)}"),
    "shell in repr": lambda text: repr([shlex.quote(text), "it's"]),
    "address": lambda text: f"http://h/?x={quote(text, safe='', errors='surrogateescape')}",
    "form": lambda text: f"x={quote_plus(text, errors='surrogateescape')}",
}
"""Ways in which a program may write a text down."""
awkward = st.text(
    st.one_of(
        st.sampled_from("\"'\\$ ab/+%&é漢😀\udcff\t"), st.characters(exclude_categories=["Cs"])
    ),
    min_size=6,
    max_size=20,
)


@pytest.mark.parametrize("write", writings.values(), ids=writings.keys())
@settings(deadline=None)
@given(secret=awkward)
def test_a_secret_is_found_however_it_is_written(write: Callable[[str], str], secret: str) -> None:
    written = write(secret)
    shown = Redactor(Private((secret,))).keys(f"<{written}> <{written}>")
    assert written not in shown
    assert shown.count("<key>") == 2


def test_each_line_of_a_secret_is_one() -> None:
    redact = Redactor(Private(("first-line\nsecond-line\nab",)))
    assert redact.keys("first-line x\nsecond-line y\nab") == "<key> x\n<key> y\nab"


def test_ones_own_log_keeps_all_but_keys() -> None:
    redact = Redactor(Private(("s3cr3t",), ("alice",), ("/srv/alice",), ("node7",)))
    text = "/home/bob /srv/alice node7 10.0.0.5 GPU-3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    assert redact.keys(f"{text} s3cr3t api_key='abc'") == f"{text} <key> api_key='<key>'"
    assert redact.removed == {"key": 2}


def test_a_name_of_a_field_says_that_its_value_is_a_key() -> None:
    redact = Redactor(Private(users=("alice",)))
    value = {"HF_TOKEN": "x", "api_key_env": "NAME", "alice": ["alice", 1, None], "key": ""}
    assert redact.everywhere(value) == {
        "HF_TOKEN": "<key>",
        "api_key_env": "NAME",
        "<user name>": ["<user name>", 1, None],
        "key": "",
    }


def test_a_command_is_one_line_without_its_keys() -> None:
    argv = ("sglang", "--api-key", "a b", "--x-token=1 2", "HF_TOKEN=z z", f"--y={HF}", "it's")
    assert Redactor().command(argv) == (
        "sglang --api-key <key> --x-token=<key> HF_TOKEN=<key> --y=<key> 'it'\"'\"'s'"
    )


def test_what_is_private_here_is_this_machines_and_this_environments() -> None:
    env = {"USER": "alice", "HOME": "/srv/alice", "MY_PASSWORD": "hunter22", "PATH": "/bin"}
    private = private_here(["known-key"], ["bob"], env)
    assert private.secrets == ("known-key", "hunter22")
    assert {"alice", "bob"} <= {*private.users}
    assert "/srv/alice" in private.homes
    assert socket.gethostname() in private.hosts


pieces = [*"ab:./@ =-'\"\n01_", "key", "token", "::", "://", "10.0.0.5", HF]
texts = st.lists(st.sampled_from(pieces), max_size=30).map("".join)


names = st.from_regex(r"\Azq[a-z0-9]{3,12}\Z")
hosts = st.builds("{}-{}.lan".format, names, st.integers(0, 99))
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40)
public = st.ip_addresses().filter(lambda a: not (a.is_loopback or a.is_unspecified))
around = st.sampled_from([" ", "'", '"', "\n", "(", "=", "/", ", ", "_", "@"])


@given(names, hosts, keys, public.map(str), st.lists(around, min_size=5, max_size=5), texts)
def test_nothing_planted_is_left(
    user: str, host: str, key: str, address: str, between: list[str], text: str
) -> None:
    redact = Redactor(Private((key,), (user,), (f"/srv/{user}",), (host,)))
    planted = [user, f"/srv/{user}/x", f"http://{host}:80/", key, f"/home/{user}z/y"]
    mixed = text + "".join(a + b for a, b in zip(between, planted, strict=True))
    shown = redact(f"{mixed} {address} {mixed}")
    for private in (user, host, key):
        assert private not in shown.replace("<user name>", "").replace("<host name>", "")
    assert address not in shown.split()


@pytest.mark.parametrize(
    ("char", "in_an_address"), [("\udc80", "%80"), ("\udca9", "%A9"), ("\udcff", "%ff")]
)
def test_a_byte_that_is_no_text_is_found_in_an_address(char: str, in_an_address: str) -> None:
    redact = Redactor(Private((f"pass{char}word",)))
    assert redact(f"at pass{in_an_address}word.") == "at <key>."


@pytest.mark.parametrize("char", ["\ud800", "\udc7f", "\udd00", "\udfff"])
def test_half_a_character_is_found_as_it_is(char: str) -> None:
    assert Redactor(Private((f"pass{char}word",)))(f"at pass{char}word.") == "at <key>."
