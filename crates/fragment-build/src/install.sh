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
# what PHP's extensions define: the names of their files do not tell
chroot "$root" /bin/sh -c 'command -v php > /dev/null || exit 0; exec php -r "$0"' '
  foreach (get_loaded_extensions() as $name) {
    $extension = new ReflectionExtension($name);
    foreach (array_merge(array_keys($extension->getFunctions()), $extension->getClassNames()) as $defined)
      echo strtolower("$name\t$defined"), "\n";
  }' > "$job/php-names"
# a store of certificates that Java made (type JKS) has the time of its making in every entry, and at its end a digest of all
if [ -f "$root/etc/ssl/certs/java/cacerts" ]; then
  chroot "$root" perl -e '
    my $file = "/etc/ssl/certs/java/cacerts";
    open my $in, "<:raw", $file or die "$file: $!";
    my $data = do { local $/; <$in> };
    my ($magic, $version, $count) = unpack "N3", $data;
    die "$file is no JKS of version 2" unless $magic == 0xfeedfeed && $version == 2;
    my $at = 12;
    for (1 .. $count) {
      my ($tag, $alias) = unpack "Nn", substr $data, $at, 6;
      die "$file holds more than certificates" unless $tag == 2;
      $at += 6 + $alias;
      substr($data, $at, 8) = pack "Q>", 1000 * $ENV{SOURCE_DATE_EPOCH};
      $at += 8;
      $at += 2 + unpack "n", substr $data, $at, 2; # type
      $at += 4 + unpack "N", substr $data, $at, 4; # certificate
    }
    $data = substr $data, 0, $at;
    open my $out, ">:raw", "/tmp/store" or die $!;
    print $out map("\0$_", split //, "changeit"), "Mighty Aphrodite", $data; # JavaKeyStore.java of the JDK
    close $out or die $!;
    my ($digest) = split / /, `sha1sum /tmp/store`;
    open $out, ">:raw", $file or die "$file: $!";
    print $out $data, pack "H*", $digest;
    close $out or die "$file: $!";'
fi
