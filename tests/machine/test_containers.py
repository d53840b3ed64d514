"""Containers, by the control groups of their processes."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.machine.containers import container_of

ID = "0123456789abcdef" * 4
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice"


def process(folder: Path, name: str, groups: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "cgroup").write_text(groups)
    return folder


@pytest.mark.parametrize(
    ("groups", "container"),
    [
        (f"12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n", "docker 0123456789ab"),
        (f"0::/system.slice/docker-{ID}.scope\n", "docker 0123456789ab"),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", "podman 0123456789ab"),
        (f"0::{POD}/cri-containerd-{ID}.scope\n", "containerd 0123456789ab"),
        (f"0::{POD}/crio-{ID}.scope\n", "crio 0123456789ab"),
        (f"4:memory:/kubepods/besteffort/pod1-2/{ID}\n", "kubernetes 0123456789ab"),
        (f"0::/lxc/{ID}\n", "container 0123456789ab"),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("0::/\n", None),
        (f"0::/system.slice/{ID}0.service\n", None),
    ],
)
def test_each_engine_is_known_by_its_groups(
    tmp_path: Path, groups: str, container: str | None
) -> None:
    process(tmp_path, "self", "0::/\n")
    assert container_of(7, process(tmp_path, "7", groups)) == container


def test_a_process_of_ones_own_container_is_in_no_other(tmp_path: Path) -> None:
    process(tmp_path, "self", f"0::/system.slice/docker-{ID}.scope\n")
    assert container_of(7, process(tmp_path, "7", f"0::/system.slice/docker-{ID}.scope\n")) is None


def test_a_process_that_is_gone_or_foreign_is_in_none_that_is_told(tmp_path: Path) -> None:
    assert container_of(7, tmp_path) is None
    assert container_of(os.getpid()) is None
