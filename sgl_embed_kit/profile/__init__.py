"""What the user asks for: a YAML file becomes a frozen `Profile`."""

from sgl_embed_kit.profile.loading import Loaded, load_profile, read_profile
from sgl_embed_kit.profile.schema import Profile

__all__ = ["Loaded", "Profile", "load_profile", "read_profile"]
