"""What this machine has, behind one seam: the `Machine` protocol."""

from sgl_embed_kit.machine.cgroup import Group
from sgl_embed_kit.machine.files import File
from sgl_embed_kit.machine.folders import Folder
from sgl_embed_kit.machine.machine import Machine, OpenFiles, RealMachine
from sgl_embed_kit.machine.nvidia import Gpu, GpuProcess, Nvidia
from sgl_embed_kit.machine.packages import Distribution
from sgl_embed_kit.machine.ports import PortRules, PortUse
from sgl_embed_kit.machine.processes import Running
from sgl_embed_kit.machine.servers import ServerRecord

__all__ = [
    "Distribution",
    "File",
    "Folder",
    "Gpu",
    "GpuProcess",
    "Group",
    "Machine",
    "Nvidia",
    "OpenFiles",
    "PortRules",
    "PortUse",
    "RealMachine",
    "Running",
    "ServerRecord",
]
