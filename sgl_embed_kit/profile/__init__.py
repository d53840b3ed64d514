"""What the user asks for: a YAML file becomes a frozen `Profile`."""

from sgl_embed_kit.profile.loading import load_profile
from sgl_embed_kit.profile.schema import Profile

__all__ = ["Profile", "load_profile"]
