"""Checks of docker, by what they are about."""

from . import control, files, image, life, limits, network, process, security, terminal, thin  # noqa: F401
from .engine import docker

BATTERIES = [docker]
