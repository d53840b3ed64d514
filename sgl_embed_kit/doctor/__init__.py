"""Checks as data, the engine that runs them, and the reports that show them."""

from sgl_embed_kit.doctor.engine import Report, Result, Status, run_checks
from sgl_embed_kit.doctor.subject import Subject

__all__ = ["Report", "Result", "Status", "Subject", "run_checks"]
