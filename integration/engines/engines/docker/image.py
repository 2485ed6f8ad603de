"""Images: built, committed, saved and loaded. docker's builder runs every step with the daemon's runtime."""

from ..commands import expect, expect_in
from .engine import BUSYBOX, docker


def build(docker, lines, **files):
    """Builds an image from a Dockerfile's lines and files beside it; its name."""
    (docker.scratch / "Dockerfile").write_text("\n".join(lines))
    for name, text in files.items():
        (docker.scratch / name).write_text(text)
    docker.call("build", "--no-cache", "--tag", docker.unique, docker.scratch, limit=120).ok()
    return docker.unique


@docker.check
def build_keeps_what_steps_write(docker):
    image = build(docker, [f"FROM {BUSYBOX}", "RUN mkdir /made && echo one >/made/file && rm /bin/yes", "COPY given /made/given",
                           "RUN cat /made/given >>/made/file && chown app:extra /made/file && chmod 640 /made/file", "USER app", 'CMD ["cat", "/made/file"]'], given="two\n")
    docker.run("--user", "0", image).ok().prints("one\ntwo")
    docker.run(image, "stat", "-c", "%u:%g %a", "/made/file").ok().prints("1000:2000 640")
    docker.run(image, "test", "-e", "/bin/yes").exits(1)


@docker.check
def build_steps_have_directory_user_and_environment(docker):
    image = build(docker, [f"FROM {BUSYBOX}", "ARG GIVEN=argument", "ENV SET=environment", "WORKDIR /work", "RUN chown app .", "USER app", 'RUN echo "$(id -un) $PWD $GIVEN $SET" >told', "CMD cat /work/told"])
    docker.run(image).ok().prints("app /work argument environment")


@docker.check
def a_build_step_that_fails_fails_the_build(docker):
    (docker.scratch / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN exit 23\n")
    said = docker.call("build", docker.scratch).exits(23)
    expect_in("returned a non-zero code: 23", said.output + said.errors, "message")


@docker.check
def build_in_stages(docker):
    image = build(docker, [f"FROM {BUSYBOX} AS first", "RUN echo built >/result", f"FROM {BUSYBOX}", "COPY --from=first /result /result", "CMD cat /result"])
    docker.run(image).ok().prints("built")


@docker.check
def commit_keeps_writes_and_settings(docker):
    docker.call("run", "--name", docker.unique, BUSYBOX, "sh", "-c", "echo written >/root/file; rm /bin/yes").ok()
    docker.ok("commit", "--change", 'CMD ["cat", "/root/file"]', docker.unique, docker.unique)
    docker.run(docker.unique).ok().prints("written")
    docker.run(docker.unique, "test", "-e", "/bin/yes").exits(1)


@docker.check
def commit_of_a_running_container(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("exec", container, "sh", "-c", "echo while it runs >/root/file")
    docker.ok("commit", container, docker.unique)
    docker.run(docker.unique, "cat", "/root/file").ok().prints("while it runs")
    expect(docker.inspect(container, "{{.State.Status}}"), "running", "status")


@docker.check
def save_and_load(docker):
    image = build(docker, [f"FROM {BUSYBOX}", "RUN echo saved >/file"])
    archive = docker.scratch / "image.tar"
    docker.ok("save", "--output", archive, image)
    docker.ok("rmi", image)
    docker.ok("load", "--input", archive)
    docker.run(image, "cat", "/file").ok().prints("saved")


@docker.check
def export_and_import(docker):
    docker.call("run", "--name", docker.unique, BUSYBOX, "sh", "-c", "echo exported >/file").ok()
    archive = docker.scratch / "root.tar"
    docker.ok("export", "--output", archive, docker.unique)
    docker.ok("import", "--change", "CMD cat /file", archive, docker.unique)
    docker.run(docker.unique).ok().prints("exported")
