"""What this machine has, behind one seam: the `Machine` protocol."""

from sgl_embed_kit.machine.machine import Gpu, Machine, PortUse, RealMachine

__all__ = ["Gpu", "Machine", "PortUse", "RealMachine"]
