"""What crun's mount tests ask of util-linux's Python binding, which Debian does not package: a table read from a file in the
notation of /proc/self/mountinfo (proc(5)), and a target's options."""


class Fs:
    def __init__(self, line):
        fields = line.split(" ")
        dash = fields.index("-")
        self.target, self.vfs_options = (field.encode().decode("unicode_escape") for field in fields[4:6])
        self.fs_options = fields[dash + 3]


class Table:
    def __init__(self, path):
        with open(path) as lines:
            self.mounts = [Fs(line) for line in lines.read().splitlines()]

    def find_target(self, target):
        # the last mount on a directory is the one that is seen
        return next((mount for mount in reversed(self.mounts) if mount.target == target), None)
