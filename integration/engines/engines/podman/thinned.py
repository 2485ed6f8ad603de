"""Full Debian images and what `fragment image thin` has made of them: `integration/thin/run` leaves both behind."""

import os
import pathlib

from ..commands import expect_in, until
from ..harness import Skip
from .engine import podman
from .network import fetched

# the port and what answers there
PAGES = {
    "nginx": ("/", "served by nginx from a thin image"),
    "python": ("/sum/a", ""),
    "node": ("/", ""),
    "cpp": ("/", ""),
    "perl": ("/cgi-bin/sum?text=a", ""),
}


def pulled(podman, name):
    """The image of that name: the thin one for ours, the full one for the yardstick."""
    made = pathlib.Path(os.environ["ENGINES_CACHE"]) / "thin"
    layout = made / ("layouts" if podman.runtime.ours else ".") / (name if podman.runtime.ours else f"full-{name}")
    if not layout.exists():
        raise Skip("integration/thin/run has not made it yet")
    return podman.ok("pull", "--quiet", f"oci:{layout}", limit=300).splitlines()[-1]


@podman.check(thin=True)
def images_made_thin_serve_published_ports(podman):
    for name, (target, words) in PAGES.items():
        image = pulled(podman, name)
        try:
            container = podman.detached("--publish", "127.0.0.1:18090:8080", image)
            until(lambda: fetched(f"http://127.0.0.1:18090{target}") not in (None, ""), f"the answer of {name}")
            expect_in(words, fetched(f"http://127.0.0.1:18090{target}"), f"the answer of {name}")
            podman.ok("rm", "--force", "--time=0", container)
        finally:
            podman.ok("rmi", "--force", image)


@podman.check(thin=True)
def a_redis_made_thin_answers_and_keeps_its_data(podman):
    image = pulled(podman, "redis")
    try:
        container = podman.detached(image)
        answer = lambda *words: podman.call("exec", container, "redis-cli", *words).output.strip()  # noqa: E731
        until(lambda: answer("ping") == "PONG", "the answer")
        answer("set", "colour", "blue")
        answer("save")
        podman.ok("restart", "--time=5", container)
        until(lambda: answer("get", "colour") == "blue", "what was saved before the restart")
        podman.ok("rm", "--force", "--time=0", container)
    finally:
        podman.ok("rmi", "--force", image)
