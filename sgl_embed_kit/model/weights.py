"""The weights of a model: which files SGLang would load, and whether they are whole."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sgl_embed_kit.model.faults import Concern, Fault, warning
from sgl_embed_kit.model.files import FORBIDDEN, MIB, MOST_FILES, ModelFiles, UnreadableError
from sgl_embed_kit.model.safetensors import (
    TORCH_NAMES,
    BrokenError,
    LfsPointerError,
    WeightFile,
    read_header,
)

INDEX_FILE = "model.safetensors.index.json"
INDEX_LIMIT = 4 * MIB
ALL_HEADERS_LIMIT = 16 * MIB
"""Bytes of all headers of a model together that are read."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SUFFIX = ".safetensors"
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
MOST_FAULTS = 20
NAMED_AT_MOST = 3
"""Files or tensors that a sentence names before it only counts them."""


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


_INDEX = msgspec.json.Decoder(_Index)


@dataclass(frozen=True)
class Weights:
    """The weights that SGLang would load.

    Attributes:
        files: Their files, each whole.
        pickles: Files in pickle formats, which can run code when they are loaded.
        ignored: Safetensors files that the index does not name, so that SGLang leaves
            them out.
    """

    files: tuple[WeightFile, ...] = ()
    pickles: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def parameters(self) -> Mapping[str, int]:
        """Number of elements by torch's name of their type, the most bytes first."""
        return self._by_dtype(lambda file: file.parameters)

    @property
    def data_bytes(self) -> Mapping[str, int]:
        """Bytes of the tensors by torch's name of their type, the most first."""
        return self._by_dtype(lambda file: file.data_bytes)

    @property
    def size(self) -> int:
        """Bytes of all tensors, without the files' headers."""
        return sum(self.data_bytes.values())

    @property
    def dtype(self) -> str | None:
        """Type of most of the bytes; None where there are no weights."""
        return next(iter(self.data_bytes), None)

    @property
    def tensors(self) -> frozenset[str]:
        """Names of all tensors."""
        return frozenset[str]().union(*(file.tensors for file in self.files))

    def _by_dtype(self, part: Callable[[WeightFile], Mapping[str, int]]) -> dict[str, int]:
        total: Counter[str] = Counter()
        order: Counter[str] = Counter()
        for file in self.files:
            total.update({TORCH_NAMES.get(name, name): n for name, n in part(file).items()})
            order.update({TORCH_NAMES.get(name, name): n for name, n in file.data_bytes.items()})
        return {name: total[name] for name, _ in order.most_common()}


def read_weights(files: ModelFiles) -> tuple[Weights, list[Fault]]:
    """Read the headers of a model's weights, and say what is wrong with the files.

    SGLang takes the *.safetensors files at the top of the folder; where there is an index,
    only those that it names (_prepare_weights, srt/model_loader/loader.py, and
    filter_duplicate_safetensors_files, weight_utils.py).
    """
    faults = [
        unreadable(files, name, reason)
        for name, reason in files.odd.items()
        if name.endswith(SUFFIX) and "/" not in name
    ]
    here = sorted(name for name in files.sizes if name.endswith(SUFFIX) and "/" not in name)
    pickles = tuple(sorted(name for name in files.sizes if name.endswith(PICKLE_SUFFIXES)))
    if not here:
        return Weights(pickles=pickles), [*faults, _no_weights(files, pickles)]
    if pickles:
        faults.append(
            warning(
                f"Of pickle formats, which can run code when loaded: {listed(pickles)}.",
                "SGLang leaves them alone, because there are .safetensors files.",
                concern=Concern.CODE,
            )
        )
    try:
        index = _read_index(files)
    except BrokenError as error:
        index = {}
        faults.append(_broken(files, INDEX_FILE, str(error)))
    wanted = set(index.values()) or set(here)
    missing = sorted((wanted | _promised_shards(here)).difference(here))
    if missing:
        faults.append(
            Fault(
                f"{files.name} lacks {listed(missing)}.",
                f"{INDEX_FILE if index else 'The names of the other files'} "
                f"{'promises' if index else 'promise'} {len(missing)} more than there "
                f"{'is' if len(missing) == 1 else 'are'}.",
                fetch_again(files),
            )
        )
    ignored = tuple(name for name in here if name not in wanted)
    if ignored:
        faults.append(
            warning(
                f"Not part of the model: {listed(ignored)}.",
                f"{INDEX_FILE} does not name them, so SGLang leaves them out.",
            )
        )
    read, broken = _read_headers(files, [name for name in here if name in wanted])
    faults += broken
    if not broken:
        faults += _against_index(files, index, read)
    return Weights(tuple(read), pickles, ignored), faults


def lfs_pointer(files: ModelFiles, name: str) -> Fault:
    """Return the fault of a file that Git LFS did not fetch."""
    return Fault(
        f"{files.name}/{name} is a Git-LFS pointer, not the file itself.",
        "The repository was cloned without Git LFS.",
        f"git -C {files.name} lfs pull",
    )


def unreadable(files: ModelFiles, name: str, reason: str, cure: str = "") -> Fault:
    """Return the fault of a file that cannot be read."""
    if reason == FORBIDDEN and files.is_local:
        cure = f"sudo chmod a+r {shlex.quote(f'{files.name}/{name}')}"
    return Fault(f"{files.name}/{name} cannot be read.", sentence(reason), cure)


def fetch_again(files: ModelFiles) -> str:
    """Return what brings a folder's files anew; nothing where a repository is broken itself."""
    return f"hf download REPOSITORY --local-dir {files.name}" if files.is_local else ""


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence: a few, then how many more."""
    more = len(names) - NAMED_AT_MOST
    shown = ", ".join(names[:NAMED_AT_MOST])
    return f"{shown} and {more} more" if more > 0 else shown


def sentence(reason: str) -> str:
    """Return a clause as a sentence."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _read_index(files: ModelFiles) -> Mapping[str, str]:
    """Return the file of each tensor; empty where there is no index."""
    if INDEX_FILE not in files.sizes:
        return {}
    try:
        return _INDEX.decode(files.read(INDEX_FILE, INDEX_LIMIT)).weight_map
    except UnreadableError as error:
        raise BrokenError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenError(f"it is no index: {error}") from error


def _read_headers(files: ModelFiles, names: Sequence[str]) -> tuple[list[WeightFile], list[Fault]]:
    read: list[WeightFile] = []
    faults: list[Fault] = []
    for name in names:
        try:
            read.append(read_header(files, name))
        except LfsPointerError:
            faults.append(lfs_pointer(files, name))
        except BrokenError as error:
            faults.append(_broken(files, name, str(error)))
        if sum(file.header_bytes for file in read) > ALL_HEADERS_LIMIT or len(faults) > MOST_FAULTS:
            faults.append(
                Fault(
                    f"{files.name} has more weights than are looked at.",
                    f"Their headers have more than {ALL_HEADERS_LIMIT // MIB} MiB, or too many "
                    "files are broken.",
                )
            )
            break
    return read, faults


def _against_index(
    files: ModelFiles, index: Mapping[str, str], read: Sequence[WeightFile]
) -> Iterator[Fault]:
    by_file = {file.name: file.tensors for file in read}
    absent = sorted(t for t, name in index.items() if t not in by_file.get(name, frozenset((t,))))
    if absent:
        yield Fault(
            f"{files.name} lacks tensors that its index promises: {listed(absent)}.",
            f"{INDEX_FILE} says that {index[absent[0]]} has {absent[0]}; it has not.",
            fetch_again(files),
        )


def _promised_shards(here: Sequence[str]) -> set[str]:
    """Return every shard that a name such as model-00001-of-00004.safetensors speaks of."""
    promised: set[str] = set()
    for name in here:
        if (match := SHARD.fullmatch(name)) and int(match[3]) <= MOST_FILES:
            promised |= {
                f"{match[1]}-{number:05}-of-{match[3]}{SUFFIX}"
                for number in range(1, int(match[3]) + 1)
            }
    return promised


def _broken(files: ModelFiles, name: str, reason: str) -> Fault:
    return Fault(f"{files.name}/{name} is broken.", sentence(reason), fetch_again(files))


def _no_weights(files: ModelFiles, pickles: Sequence[str]) -> Fault:
    why = "It has no .safetensors file."
    if pickles:
        why = (
            f"It has {pickles[0]}, a pickle file that can run code when it is loaded, "
            "and no .safetensors file."
        )
    return Fault(
        f"{files.name} holds no weights.",
        why,
        f"ls -l {files.name}" if files.is_local else "serve a model with .safetensors files",
    )
