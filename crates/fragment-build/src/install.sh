# Behind mount.sh. Arguments: base, job directory, package cache, apt configuration, packages.
base=$1 job=$2 cache=$3 config=$4
shift 4
mount_root "$job/root" "$base" "$job/upper" "$job/work" "$cache" ""
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
