"""Checks of the model: its path, its files, and each thing that they say of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.model.architectures import Task
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.faults import Concern, Fault, Severity
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import try_tokenizer
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.model.source import REPO_ID, Kind
from sgl_embed_kit.model.weights import listed
from sgl_embed_kit.plan.plan import gigabytes
from sgl_embed_kit.profile.patch import patch

TRUST = "trust-remote-code"


def path(subject: Subject) -> Finding:
    """Look whether `model.path` may be read as something else than what it is taken for."""
    written, source = subject.profile.model.path, subject.source
    slash = "; the slash at its end is left out" if subject.profile.model.had_slash else ""
    status = Status.INFO if slash else Status.OK
    if source.kind is Kind.REPO:
        owner = written.split("/")[0]
        if subject.folder is None and Path(owner).is_dir():
            return Finding(
                Status.WARN,
                f"there is a folder {owner} here, but no {written}: it is taken for a repository "
                f"of the hub{slash}",
                "the path of a folder, or the id of a repository",
                patch(model={"path": f"./{written}"}),
            )
        return Finding(status, f"{written} is a repository of the hub{slash}")
    if source.kind is not Kind.FOLDER:
        return Finding(Status.OK, f"{written} is a model that the toolkit makes")
    if REPO_ID.fullmatch(written):
        return Finding(
            Status.INFO,
            f"{written} is a folder here, which is served, not the repository of that name; "
            f"./{written} would say so{slash}",
        )
    return Finding(status, f"{written} is the path of a folder{slash}")


def model(subject: Subject) -> Finding:
    """Look whether the model's files are here, whole, and of a kind that SGLang serves."""
    if subject.folder is None:
        waits = "from the hub" if subject.source.kind is Kind.REPO else "will be made in the cache"
        return Finding(Status.OK, f"{subject.profile.model.path}, {waits}")
    needed = "a folder that SGLang can serve"
    try:
        facts = subject.folders.facts(subject.folder)
    except KitError as error:
        return Finding(Status.ERROR, f"{error.what.rstrip('.')}: {error.why}", needed, error.cure)
    if facts.inner is not None:
        inner = subject.folder / facts.inner
        return Finding(
            Status.ERROR,
            f"{subject.folder} has no config.json; the model is one folder deeper, in {inner}",
            needed,
            patch(model={"path": str(inner)}),
        )
    told = _told(facts, facts.about(Concern.FILES, Concern.SERVING), needed)
    if told is not None:
        return told
    architecture = facts.architectures[0] if facts.architectures else "unknown architecture"
    return Finding(Status.OK, f"{architecture}, {gigabytes(facts.weight_bytes)} of weights")


def _of_facts(look: Callable[[Subject, ModelFacts], Finding]) -> Callable[[Subject], Finding]:
    """Give a check the model's facts; without them it says why it cannot tell."""

    @wraps(look)
    def looks(subject: Subject) -> Finding:
        try:
            facts = subject.model_facts()
        except KitError as error:
            return Finding(Status.SKIP, error.what)
        if facts is not None:
            if not facts.is_whole:
                return Finding(Status.SKIP, "the model's files are not whole")
            return look(subject, facts)
        if subject.source.kind is Kind.REPO:
            return Finding(Status.SKIP, "told once the model's files are here")
        return Finding(Status.OK, "as the toolkit will make it")

    return looks


@_of_facts
def pooling(subject: Subject, facts: ModelFacts) -> Finding:
    """Look whether vectors will be pooled as the model was trained for."""
    served = facts.served
    needed = "the vectors that the model was trained for"
    told = _told(facts, facts.about(Concern.POOLING), needed)
    if told is not None:
        return told
    if served is None or served.task is not Task.EMBED or served.pooling is None:
        return Finding(Status.SKIP, "how SGLang would pool this model is not known")
    alone, declared = served.pooling, facts.pooling
    if declared is None:
        return Finding(Status.OK, f"{_named(alone)}; the model declares none")
    if declared is alone:
        return Finding(Status.OK, f"{_named(declared)}, as declared")
    if not subject.profile.guard.enabled:
        return Finding(
            Status.ERROR,
            f"the model declares {declared} pooling, SGLang would pool by {alone}",
            f"{declared} pooling, or the vectors are wrong",
            patch(guard={"enabled": True}),
        )
    return Finding(
        Status.OK, f"{_named(declared)}, as declared: the guard's doing, SGLang pools by {alone}"
    )


@_of_facts
def tokenizer(subject: Subject, facts: ModelFacts) -> Finding:
    """Look at what becomes of a text: its end, its tokens' ids, its Unicode form."""
    assert subject.folder is not None
    found, faults = try_tokenizer(local_files(subject.folder), facts)
    told = _told(facts, faults, "the tokens that the model was trained with")
    if told is not None:
        return told
    if found is None:
        return Finding(Status.SKIP, "there is no tokenizer.json to try")
    ends = f"a text ends in {found.last}" if found.last else "a text's end gets no token"
    if not found.joins_forms:
        return Finding(
            Status.INFO,
            f"{ends}; é as one character and as e with an accent are other tokens: send texts "
            "in Unicode's NFC form, as the client does",
        )
    return Finding(Status.OK, f"{ends}; {found.vocabulary:,} tokens")


@_of_facts
def prompts(_subject: Subject, facts: ModelFacts) -> Finding:
    """Look at the prompts that clients are to put before a text."""
    told = _told(facts, facts.about(Concern.PROMPTS), "the prompts that the model was trained with")
    if told is not None:
        return told
    names = [name for name, text in facts.prompts.texts.items() if text]
    default = facts.prompts.default
    if default in names:
        return Finding(
            Status.INFO,
            f"the model wants its prompt {default!r} before every text; SGLang puts none there, "
            "so clients have to",
        )
    return Finding(Status.OK, f"for {listed(names)}" if names else "the model declares none")


@_of_facts
def code(subject: Subject, facts: ModelFacts) -> Finding:
    """Look for what could run code: Python files of the model's author, and pickles."""
    files = listed(sorted({code.file for code in facts.remote_code}))
    pickles = listed(facts.weights.pickles)
    parts = [f"Python code of its author, {files}"] if files else []
    parts += [f"weights in pickle formats, {pickles}"] if pickles else []
    if not parts:
        return Finding(Status.OK, "the model brings none")
    brings = f"the model brings {' and '.join(parts)}"
    if files and subject.profile.sglang.extra_args.get(TRUST):
        return Finding(
            Status.WARN,
            f"{brings}, and the profile has the server run that code",
            "a model that SGLang serves with its own code",
            patch(sglang={"extra_args": {TRUST: False}}),
        )
    return Finding(Status.INFO, f"{brings}; none of it is run")


def length(subject: Subject) -> Finding:
    """Look whether the context is one that the model can do, and was made for."""
    context = subject.settled(subject.profile).limits.context_length
    usable, meant = _positions(subject)
    if context is None or usable is None:
        return Finding(Status.SKIP, "the model's positions are not known")
    if context > usable:
        return Finding(
            Status.ERROR,
            f"a context of {context:,} tokens, where the model has positions for {usable:,}",
            f"{usable:,} at most, or a longer text ends the server",
            patch(limits={"context_length": usable}),
        )
    if meant is not None and context > meant:
        return Finding(
            Status.WARN,
            f"a context of {context:,} tokens, where the model's card speaks of {meant:,}",
            f"{meant:,} at most; config.json allows more, but nobody vouches for the vectors",
            patch(limits={"context_length": meant}),
        )
    return Finding(Status.OK, f"a context of {context:,} of the model's {usable:,} tokens")


def _positions(subject: Subject) -> tuple[int | None, int | None]:
    """Return the tokens that a text can have by the model's files, and by its card."""
    try:
        facts = subject.model_facts()
    except KitError:
        return None, None
    if facts is not None:
        return facts.usable_positions, facts.known.card.context if facts.known else None
    known = known_model(subject.source.model_path)
    meant = known.card.context if known else None
    return subject.bounds.positions if subject.bounds else None, meant


def _named(pooling: Pooling) -> str:
    return {Pooling.CLS: "CLS", Pooling.MEAN: "mean", Pooling.LAST: "last token"}[pooling]


def _told(facts: ModelFacts, faults: Sequence[Fault], needed: str) -> Finding | None:
    """Return faults as a finding, the first with its reason and its cure; None without any."""
    if not faults:
        return None
    first, *others = faults
    found = f"{first.what.rstrip('.')}: {first.why}" if first.why else first.what
    found += "".join(f" Also: {fault.what}" for fault in others)
    status = Status.ERROR if first.severity is Severity.ERROR else Status.WARN
    return Finding(
        status, found, needed, first.cure or f"sgl-embed model show {shlex.quote(facts.name)}"
    )
