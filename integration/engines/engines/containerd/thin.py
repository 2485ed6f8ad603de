"""Images that hold the app alone."""

from ..commands import expect, expect_in, until
from .engine import containerd


@containerd.check(thin=True)
def curl_says_what_it_is(ctr):
    expect_in("libcurl/", ctr.run(*ENTRY["curl"], "--version", image=ctr.image("curl")).ok().output, "version")


@containerd.check(thin=True)
def curl_asks_a_python_app(ctr):
    server = ctr.begin(*ENTRY["python"], "serve", image=ctr.image("python"))
    place = ("--with-ns", f"network:/proc/{ctr.task(server)[0]}/ns/net")
    ask = {"image": ctr.image("curl"), "options": place}
    until(lambda: ctr.run(*ENTRY["curl"], "--silent", "http://127.0.0.1:8080/", **ask).output == '{"hello": "from python"}', "the answer")


@containerd.check(thin=True)
def a_python_app_prints(ctr):
    ctr.run(image=ctr.image("python")).ok().prints('{"hello": "from python"}')


@containerd.check(thin=True)
def a_go_program_prints(ctr):
    ctr.run(image=ctr.image("go"), options=("--net-host",)).ok().prints("hello from go, libc true")


@containerd.check(thin=True)
def redis_answers(ctr):
    container = ctr.begin(image=ctr.image("redis"))
    until(lambda: ctr.exec(container, "redis-cli", "ping").output == "PONG\n", "the answer")


@containerd.check(thin=True)
def a_shell_script_starts_again_and_sees_what_it_wrote(ctr):
    container = ctr.begin(image=ctr.image("script"), options=("--null-io",))
    expect(ctr.end(container), 0, "exit status")
    for times in (2, 3):
        ctr.call("tasks", "start", container).ok().prints(f"app: start {times}")
        ctr.call("tasks", "delete", container)


@containerd.check(thin=True)
def exec_of_a_shell(ctr):
    container = ctr.begin(*ENTRY["script"], "stay", image=ctr.image("script"))
    ctr.exec(container, "sh", input="echo $((6 * 7))\nls /app/run.sh\nexit 3\n").exits(3).prints("42\n/app/run.sh")
    with ctr.terminal("tasks", "exec", "--tty", "--exec-id", "shell", container, "sh") as terminal:
        terminal.await_text("[#$] ")
        terminal.send("exit 4\n")
        expect(terminal.wait(), 4, "status")


@containerd.check(thin=True)
def the_snapshot_of_a_thin_container_has_its_own_writes(ctr):
    container, _ = ctr.logged("sh", "-c", "head -c 3000000 /dev/urandom >/written", image=ctr.image("script"))
    expect(ctr.end(container), 0, "exit status")
    said = ctr.ok("snapshots", "usage", "-b", container)
    expect(3_000_000 <= int(said.splitlines()[-1].split()[1]) < 3_200_000, True, f"size in {said!r}")


@containerd.check(thin=True)
def a_thin_container_with_a_read_only_root(ctr):
    ctr.run("sh", "-c", "ls /app; ! touch /app/file 2>/dev/null", image=ctr.image("script"), options=("--read-only",)).ok().prints("run.sh")


@containerd.check(thin=True)
def a_thin_container_with_limits_and_a_filter(ctr):
    ctr.run(image=ctr.image("python"), options=("--memory-limit", str(128 << 20), "--seccomp")).ok().prints('{"hello": "from python"}')


@containerd.check(thin=True)
def without_composition_a_thin_image_is_refused(ctr):
    said = ctr.run(image=ctr.image("script"), options=("--annotation", "dev.fragment.compose=off"))
    if ctr.runtime.ours:
        said.exits(1).complains("no such file or directory|not found")
    else:
        said.ok().prints("app: start 1")


# the first words of an app: ctr replaces an image's entry point by the words it is given
ENTRY = {"curl": ("/usr/bin/curl",), "python": ("/app/main.py",), "script": ("/app/run.sh",)}
