"""What is composed, said through podman."""

import pathlib

from .. import cage, control
from ..commands import expect_in
from .engine import BUSYBOX, podman, rootless

for check in (*control.EVERYWHERE, control.an_annotation_is_stronger_than_the_image):
    podman.check(alone=True)(check)


@podman.check(alone=True)
def variables_reach_the_runtime_by_conmon_env_vars(podman):
    name = control.image(podman, "compose: auto\n")
    file = pathlib.Path("/etc/containers/containers.conf.d/variables.conf")
    file.parent.mkdir(exist_ok=True)
    file.write_text('[engine]\nconmon_env_vars = ["FRAGMENT_COMPONENTS=curl"]\n')
    try:
        podman.call("run", "--rm", name, *control.GLOB).ok().prints("/usr/bin/curl")
    finally:
        file.unlink()


@podman.check(alone=True)
def the_configuration_of_the_node_is_followed(podman):
    name = control.image(podman, "compose: auto\n")
    with control.node("components: [curl]\n"):
        podman.run(name, *control.GLOB).ok().prints("/usr/bin/curl")


@rootless.check(alone=True)
def a_users_own_configuration_is_followed(podman):
    podman.run(BUSYBOX, "true").ok()
    with control.configured(cage.HOME / ".config/fragment/fragment.yaml", "compose: auto\ncolour: blue\n"):
        finished = podman.run(BUSYBOX, "true")
        expect_in("fragment.yaml:2: `colour` (of `blue`)", finished.errors.replace("\\", ""), "the message")
