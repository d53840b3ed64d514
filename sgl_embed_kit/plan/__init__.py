"""Arithmetic only: what a server will take."""
