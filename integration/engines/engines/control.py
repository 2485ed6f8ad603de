"""What is composed, said through an engine: checks for every engine that takes an image of its own and runs it.

An image holds a /.fragment.yaml and nothing else; its program is a shell of the library, which tells whether curl is there without
naming it. Nothing of that is the yardstick's to do.
"""

import contextlib
import pathlib

from . import images
from .commands import expect_in

GLOB = ("sh", "-c", "echo /usr/bin/cur?")


def image(engine, wishes):
    """Loads an image with this /.fragment.yaml; its name."""
    name = images.base(f"says-{engine.unique}")
    layer = images.Layer()
    layer.file(".fragment.yaml", wishes)
    archive = images.Archive(engine.scratch / "image.tar")
    archive.image(name, [layer.bytes()], Env=[images.PATH], Cmd=["true"])
    archive.close()
    engine.load(archive.path)
    return name


@contextlib.contextmanager
def configured(file, text):
    """With a configuration file of this content; what was there comes back."""
    before = file.read_text() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    try:
        yield
    finally:
        if before is None:
            file.unlink()
            file.parent.rmdir()
        else:
            file.write_text(before)


def node(text):
    return configured(pathlib.Path("/etc/fragment/fragment.yaml"), text)


def an_image_says_what_is_composed_under_it(engine):
    engine.call("run", "--rm", image(engine, "components: [curl]\n"), *GLOB).ok().prints("/usr/bin/curl")
    engine.call("run", "--rm", image(engine, "compose: auto\n"), *GLOB).ok().prints("/usr/bin/cur?")


def an_image_keeps_composition_off(engine):
    finished = engine.call("run", "--rm", image(engine, "compose: off\n"), *GLOB)
    finished.exits(127)
    expect_in("composition is off", finished.errors, "the message")


def a_mistake_of_an_image_is_told_with_its_line(engine):
    finished = engine.call("run", "--rm", image(engine, "compose: auto\ncolour: blue\n"), *GLOB)
    expect_in("/.fragment.yaml:2: `colour` (of `blue`)", finished.errors.replace("\\", ""), "the message")


def an_annotation_is_stronger_than_the_image(engine):
    name = image(engine, "components: [curl]\n")
    annotated = ("run", "--rm", "--annotation", "dev.fragment.exclude=curl", name)
    engine.call(*annotated, *GLOB).ok().prints("/usr/bin/cur?")


EVERYWHERE = (
    an_image_says_what_is_composed_under_it,
    an_image_keeps_composition_off,
    a_mistake_of_an_image_is_told_with_its_line,
)
