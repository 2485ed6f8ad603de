# Runs as PID 1 of a mount, PID, IPC and UTS namespace of its own: all mounts and processes vanish with it.
# Environment: what maintainer scripts may see.
set -eu
# mount_root ROOT LOWER UPPER WORK CACHE OPTIONS
mount_root() {
  root=$1
  hostname fragment
  # features that would make the upper layer unreadable from outside the mount are off (overlayfs.rst)
  mount -t overlay fragment-build "$root" \
    -o "lowerdir=$2,upperdir=$3,workdir=$4,redirect_dir=off,metacopy=off,index=off,xino=off$6"
  # read-only: the settings of the kernel in it are the machine's
  mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
  mount -t tmpfs -o mode=0755,nosuid,noexec dev "$root/dev"
  for node in null zero full random urandom tty; do
    if [ -e "/dev/$node" ]; then
      : > "$root/dev/$node"
      mount --bind "/dev/$node" "$root/dev/$node"
    fi
  done
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s /proc/self/fd/0 "$root/dev/stdin"
  ln -s /proc/self/fd/1 "$root/dev/stdout"
  ln -s /proc/self/fd/2 "$root/dev/stderr"
  mkdir -m 1777 "$root/dev/shm"
  mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"
  mount -t tmpfs -o mode=0755,nosuid,nodev run "$root/run"
  mkdir -m 1777 "$root/run/lock"
  # apt strips the chroot directory from the paths it gives dpkg: the cache has to lie inside
  mount --bind "$5" "$root/var/cache/apt/archives"
}
