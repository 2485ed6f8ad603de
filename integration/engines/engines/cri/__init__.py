"""Checks of containerd through the container runtime interface, as Kubernetes uses it."""

from . import container, files, limits, pod, security, thin  # noqa: F401
from .engine import cri

BATTERIES = [cri]
