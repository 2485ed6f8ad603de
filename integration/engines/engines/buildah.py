"""buildah on storage of its own: images built step by step, each step a container."""

import pathlib

from . import control, images
from .commands import call, expect, expect_in
from .harness import Battery
from .podman.engine import BUSYBOX, Podman


class Buildah(Podman):
    command = ("buildah",)
    network = "netavark"
    allowed = (r"^cgroups: \S*/(buildah-buildah\d+|libpod_parent(/conmon)?)$",)

    def start(self):
        super().start()
        self.kept = set(self.ok("images", "--quiet", "--no-trunc").split())

    def load(self, archive):
        # buildah itself has no such command; the storage is the same
        call(["podman", "load", "--quiet", "--input", archive], environment=self.environment, limit=300).ok()

    def clean(self):
        self.ok("rm", "--all")
        made = [image for image in self.ok("images", "--all", "--quiet", "--no-trunc").split() if image not in self.kept]
        if made:
            self.ok("rmi", "--force", *made)

    def build(self, text, *words, files=(), **options):
        """Builds from a Containerfile; the finished command."""
        context = self.scratch / "context"
        context.mkdir(exist_ok=True)
        (context / "Containerfile").write_text(text)
        for name, content in dict(files).items():
            (context / name).write_text(content)
            (context / name).chmod(0o755)
        return self.call("build", "--isolation=oci", f"--runtime={self.runtime.path}", "--tag", f"localhost/{self.unique}", *words, context, **options)

    def built(self, *words):
        """Output of a command in the image that was built."""
        container = self.ok("from", f"localhost/{self.unique}")
        return self.step(container, *words).ok().output.strip()

    def step(self, container, *words, **options):
        """buildah run in a working container; flags come first, with the container after them."""
        flags = [word for word in words if word.startswith("--")]
        return self.call("run", "--isolation=oci", f"--runtime={self.runtime.path}", *flags, container, "--", *words[len(flags):], **options)


buildah = Battery("buildah", Buildah)


@buildah.check
def each_step_sees_what_the_steps_before_wrote(buildah):
    buildah.build(f"""FROM {BUSYBOX}
RUN echo one >/one && mkdir /d && echo deep >/d/deep
RUN cat /one /d/deep >/two && rm /one
RUN test ! -e /one && cat /two >/three && rm -r /d && mkdir /d
""", "--layers").ok()
    expect(buildah.built("sh", "-c", "cat /three; ls /d"), "one\ndeep", "what the image has")


@buildah.check
def steps_are_one_layer_where_asked(buildah):
    buildah.build(f"FROM {BUSYBOX}\nRUN echo one >/one\nRUN cat /one >/two\n", "--squash").ok()
    expect(buildah.built("cat", "/two"), "one", "what the image has")


@buildah.check
def a_step_that_fails_ends_the_build_with_its_status(buildah):
    finished = buildah.build(f"FROM {BUSYBOX}\nRUN echo before; exit 42\nRUN echo never\n")
    expect(finished.status, 42, "buildah's status")
    expect_in("exit status 42", finished.errors, "what it says")
    expect("never" in finished.output, False, "the next step ran")


@buildah.check
def a_step_whose_command_is_missing_fails(buildah):
    buildah.build(f'FROM {BUSYBOX}\nRUN ["/no/such/program"]\n').complains("no such file or directory")


@buildah.check
def steps_have_the_images_user_directory_and_environment(buildah):
    buildah.build(f"""FROM {BUSYBOX}
ENV A=b
WORKDIR /home/app/made
RUN chown app:app /home/app/made
USER app
RUN id -un >who && pwd >where && echo $A >what
""").ok()
    expect(buildah.built("cat", "/home/app/made/who", "/home/app/made/where", "/home/app/made/what"), "app\n/home/app/made\nb", "what the step saw")


@buildah.check
def arguments_reach_steps(buildah):
    buildah.build(f"FROM {BUSYBOX}\nARG WORD=default\nRUN echo $WORD >/word\n", "--build-arg", "WORD=given").ok()
    expect(buildah.built("cat", "/word"), "given", "what the step saw")


@buildah.check
def steps_that_were_made_are_not_made_again(buildah):
    text = f"FROM {BUSYBOX}\nRUN cat /proc/sys/kernel/random/uuid >/uuid\nRUN echo {{}} >/last\n"
    buildah.build(text.format("first"), "--layers").ok()
    first = buildah.built("cat", "/uuid")
    buildah.build(text.format("second"), "--layers").ok()
    expect(buildah.built("cat", "/uuid", "/last"), f"{first}\nsecond", "the kept step and the new one")


@buildah.check
def a_build_of_several_stages_copies_from_one_to_the_next(buildah):
    buildah.build(f"FROM {BUSYBOX} AS first\nRUN echo made >/made\nFROM {BUSYBOX}\nCOPY --from=first /made /copied\nRUN cat /copied >/seen\n").ok()
    expect(buildah.built("sh", "-c", "cat /seen; test -e /made || echo none"), "made\nnone", "what the image has")


@buildah.check
def files_are_copied_with_owner_and_mode(buildah):
    buildah.build(f"FROM {BUSYBOX}\nCOPY --chown=1000:2000 --chmod=640 file /copied\nRUN stat -c '%u %g %a' /copied >/seen\n", files={"file": "x"}).ok()
    expect(buildah.built("cat", "/seen"), "1000 2000 640", "what the step saw")


@buildah.check
def a_step_mounts_a_cache_a_secret_and_the_context(buildah):
    (buildah.scratch / "secret").write_text("hush")
    buildah.build(f"""FROM {BUSYBOX}
RUN --mount=type=secret,id=word cat /run/secrets/word >/seen
RUN --mount=type=bind,source=file,target=/there cat /there >>/seen
RUN --mount=type=tmpfs,target=/scratch echo x >/scratch/x
RUN test ! -e /scratch/x && test ! -e /run/secrets/word
""", f"--secret=id=word,src={buildah.scratch}/secret", files={"file": "bound"}).ok()
    expect(buildah.built("cat", "/seen"), "hushbound", "what the steps saw")


@buildah.check
def a_working_container_is_run_changed_and_committed(buildah):
    container = buildah.ok("from", BUSYBOX)
    buildah.step(container, "sh", "-c", "echo written >/file").ok()
    buildah.step(container, "sh", "-c", "cat /file; exit 3").exits(3).prints("written")
    buildah.ok("config", "--env", "A=b", "--workingdir", "/tmp", "--user", "app", "--cmd", "true", container)
    buildah.step(container, "sh", "-c", "echo $A $(pwd) $(id -un)").ok().prints("b /tmp app")
    (buildah.scratch / "file").write_text("copied\n")
    buildah.ok("copy", container, buildah.scratch / "file", "/copied")
    buildah.ok("commit", "--quiet", container, f"localhost/{buildah.unique}")
    expect(buildah.built("cat", "/file", "/copied"), "written\ncopied", "what the image has")


@buildah.check
def a_working_container_is_mounted_for_the_host(buildah):
    container = buildah.ok("from", BUSYBOX)
    place = pathlib.Path(buildah.ok("mount", container))
    (place / "outside").write_text("from outside\n")
    buildah.step(container, "sh", "-c", "cat /outside; echo from inside >/inside").ok().prints("from outside")
    expect((place / "inside").read_text(), "from inside\n", "what the step wrote")
    buildah.ok("umount", container)


@buildah.check
def a_step_on_a_terminal(buildah):
    container = buildah.ok("from", BUSYBOX)
    with buildah.terminal("run", "--isolation=oci", f"--runtime={buildah.runtime.path}", "--tty", container, "sh") as terminal:
        terminal.await_text("# ")
        terminal.send("test -t 0 && tty\n")
        terminal.await_text("/dev/pts/0")
        terminal.send("exit 4\n")
        expect(terminal.wait(), 4, "its status")


@buildah.check
def a_step_has_volumes_users_and_capabilities(buildah):
    (buildah.scratch / "file").write_text("shared\n")
    container = buildah.ok("from", BUSYBOX)
    buildah.step(container, f"--volume={buildah.scratch}:/data:ro", "cat", "/data/file").ok().prints("shared")
    buildah.step(container, f"--volume={buildah.scratch}:/data:ro", "touch", "/data/x").exits(1)
    buildah.step(container, "--user=1234:5678", "sh", "-c", "echo $(id -u) $(id -g)").ok().prints("1234 5678")
    buildah.step(container, "--cap-drop=CAP_CHOWN", "chown", "1:1", "/tmp").exits(1)
    buildah.step(container, "--hostname=somebody", "hostname").ok().prints("somebody")


@buildah.check
def a_step_takes_standard_input(buildah):
    container = buildah.ok("from", BUSYBOX)
    buildah.step(container, "wc", "-c", input="x" * 100_000).ok().prints("100000")


@buildah.check
def an_image_of_many_layers_is_built_upon(buildah):
    buildah.build(f"FROM {images.base('layered')}\nRUN ls /layers | wc -l >/count && rm /layers/0\nRUN test ! -e /layers/0 && cat /layers/last >>/count\n", "--layers").ok()
    expect(buildah.built("cat", "/count"), "41\n39", "what the steps saw")


@buildah.check
def a_whole_debian_is_built_upon(buildah):
    buildah.build(f"FROM {images.base('debian')}\nRUN useradd --create-home somebody && python3 -c 'print(6*7)' >/home/somebody/answer\nUSER somebody\nRUN cat ~/answer >~/seen\n").ok()
    expect(buildah.built("cat", "/home/somebody/seen"), "42", "what the steps saw")


# thin images: the yardstick builds upon a whole Debian, ours upon nothing


def ground(buildah):
    return "scratch" if buildah.runtime.ours else images.base("debian")


APP = "#!/bin/sh\nset -e\nseq 3 | tr '\\n' ' '\ncat /app/data 2>/dev/null || echo none\n"


@buildah.check(thin=True)
def an_app_upon_nothing_runs_in_a_step(buildah):
    buildah.build(f"FROM {ground(buildah)}\nCOPY app /app/app\nRUN [\"/app/app\"]\n", files={"app": APP}).ok()
    expect(buildah.built("/app/app"), "1 2 3 none", "what the image prints")


@buildah.check(thin=True)
def steps_upon_nothing_see_each_others_writes(buildah):
    buildah.build(f"""FROM {ground(buildah)}
COPY app /app/app
RUN echo written >/app/data
RUN /app/app >/app/output && rm /app/data
RUN test ! -e /app/data && sed s/written/seen/ /app/output >/app/last
""", "--layers", files={"app": APP}).ok()
    expect(buildah.built("cat", "/app/last"), "1 2 3 seen", "what the image has")


@buildah.check(thin=True)
def an_image_built_upon_nothing_holds_its_own_files_alone(buildah):
    buildah.build(f"FROM {ground(buildah)}\nCOPY app /app/app\nRUN /app/app >/app/output\n", files={"app": APP}).ok()
    container = buildah.ok("from", f"localhost/{buildah.unique}")
    place = pathlib.Path(buildah.ok("mount", container))
    expect((place / "app/output").read_text(), "1 2 3 none\n", "what the step wrote")
    if buildah.runtime.ours:
        # mount points of the engine's and the runtime's stay, as empty directories and files
        held = sorted(str(file.relative_to(place)) for file in place.rglob("*") if file.is_file() and file.stat().st_size)
        expect(held, ["app/app", "app/output"], "files of the image")


BATTERIES = [buildah]


@buildah.check(alone=True)
def an_image_says_what_is_composed_under_its_steps(buildah):
    for wishes, found in (("components: [curl]\n", "/usr/bin/curl"), ("compose: auto\n", "/usr/bin/cur?")):
        name = control.image(buildah, wishes)
        finished = buildah.build(f'FROM {name}\nRUN ["sh", "-c", "echo /usr/bin/cur?"]\n').ok()
        expect_in(found, finished.output, "what the step prints")
