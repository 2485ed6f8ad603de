"""What is composed, said through docker, which hands no annotation on."""

from .. import control
from .engine import docker

for check in control.EVERYWHERE:
    docker.check(alone=True)(check)


@docker.check(alone=True)
def the_configuration_of_the_node_is_followed(docker):
    name = control.image(docker, "compose: auto\n")
    with control.node("components: [curl]\n"):
        docker.run(name, *control.GLOB).ok().prints("/usr/bin/curl")
