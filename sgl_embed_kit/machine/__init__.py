"""What this machine has, behind one seam: the `Machine` protocol."""

from sgl_embed_kit.machine.folders import Folder
from sgl_embed_kit.machine.machine import Gpu, Machine, PortUse, RealMachine

__all__ = ["Folder", "Gpu", "Machine", "PortUse", "RealMachine"]
