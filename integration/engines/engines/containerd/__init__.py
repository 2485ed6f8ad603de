"""Checks of containerd through ctr, its own command line."""

from . import daemon_life, files, life, limits, process, security, thin  # noqa: F401
from .engine import containerd

BATTERIES = [containerd]
