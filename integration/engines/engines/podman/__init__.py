"""podman, as root and as a user without rights."""

from .engine import podman
from . import control, life  # noqa: F401

BATTERIES = [podman]
