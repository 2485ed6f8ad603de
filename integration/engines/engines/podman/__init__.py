"""podman, as root and as a user without rights."""

from . import control, execs, forms, life, limits, network, rights, storage, thin, thinned  # noqa: F401
from .engine import podman, rootless

BATTERIES = [podman, rootless]
