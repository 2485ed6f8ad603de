# Behind mount.sh. Arguments: directory of worlds (the layers are named relative to it), lower layers, job directory, package
# cache, log. Runs the command lines that come on standard input and answers each with its exit status.
# Environment: APT_CONFIG; OURS, the variables that scripts of packages do not see.
cd "$1"
job=$3 log=$5
mount_root "$job/root" "$2" "$job/upper" "$job/work" "$4" ",volatile"
# what only makes files that no component holds is not run: byte code takes half of the time of an installation
skipped=/run/fragment-skipped
mkdir "$root$skipped"
for name in py3compile pycompile pypy3compile; do
  ln -s /bin/true "$root$skipped/$name"
done
# in_root COMMAND…: without a network, and without what the environment tells of the machine's
in_root() {
  (
    unset $OURS OURS APT_CONFIG
    export PYTHONDONTWRITEBYTECODE=1
    exec unshare --net -- chroot "$root" /usr/bin/env "PATH=$skipped:$PATH" "$@"
  )
}
echo ready
while IFS= read -r line; do
  status=0
  eval "$line" >>"$log" 2>&1 </dev/null || status=$?
  echo "$status"
done
