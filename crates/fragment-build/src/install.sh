# Runs as PID 1 of a mount, PID, IPC and UTS namespace of its own: all mounts and processes vanish with it.
# Arguments: base, job directory, package cache, apt configuration, packages.
# Environment: what maintainer scripts may see.
set -eu
base=$1 job=$2 cache=$3 config=$4
shift 4
root=$job/root
hostname fragment
# features that would make the upper layer unreadable from outside the mount are off (overlayfs.rst)
mount -t overlay fragment-build "$root" \
  -o "lowerdir=$base,upperdir=$job/upper,workdir=$job/work,redirect_dir=off,metacopy=off,index=off,xino=off"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
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
mount --bind "$cache" "$root/var/cache/apt/archives"
APT_CONFIG=$config apt-get --quiet --yes --no-install-recommends --no-remove install -- "$@"
# byte code checked by nothing: it neither depends on times nor has to be validated at every import (PEP 552)
if [ -n "${PYTHON_DIRECTORIES:-}" ]; then
  python=$(chroot "$root" /bin/sh -c 'command -v python3')
  for directory in $PYTHON_DIRECTORIES; do
    [ -d "$root$directory" ] || continue
    find "$root$directory" -type d -name __pycache__ -prune -exec rm -rf {} +
    # exit code 1 means that some file does not compile: test data of the library does not on purpose
    PYTHONHASHSEED=0 chroot "$root" "$python" -m compileall -q -f -j 1 --invalidation-mode unchecked-hash "$directory" || [ $? -eq 1 ]
  done
  chroot "$root" "$python" -c 'import sys; print("\n".join(sys.builtin_module_names))' > "$job/python-builtins"
fi
