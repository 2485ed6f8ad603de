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
# a loopback is all the network that scripts have: some look for an address of their own (perl is what mmdebstrap is written in)
: >"$job/network"
# by hand, not with --net=FILE: unshare(1) asks /proc, which is the machine's here, for its number in our PID namespace
unshare --net -- sh -ec 'mount --bind /proc/self/ns/net "$1"; exec perl -MSocket -e "$2"' sh "$job/network" '
  my ($get, $set, $up) = (0x8913, 0x8914, 1); # netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
  my $request = pack "a16 s x22", "lo", 0;
  socket my $socket, AF_INET, SOCK_DGRAM, 0 or die "loopback: $!";
  ioctl $socket, $get, $request or die "loopback: $!";
  $request = pack "a16 s x22", "lo", $up | unpack "x16 s", $request;
  ioctl $socket, $set, $request or die "loopback: $!";'
# in_root COMMAND…: in that network, and without what the environment tells of the machine's
in_root() {
  (
    unset $OURS OURS APT_CONFIG
    export PYTHONDONTWRITEBYTECODE=1
    exec nsenter "--net=$job/network" -- chroot "$root" /usr/bin/env "PATH=$skipped:$PATH" "$@"
  )
}
echo ready
while IFS= read -r line; do
  status=0
  eval "$line" >>"$log" 2>&1 </dev/null || status=$?
  echo "$status"
done
