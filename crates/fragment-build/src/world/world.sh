# Behind mount.sh. Arguments: directory of worlds (the layers are named relative to it), lower layers, job directory, package
# cache, log. Runs the command lines that come on standard input and answers each with its exit status.
cd "$1"
job=$3 log=$5
mount_root "$job/root" "$2" "$job/upper" "$job/work" "$4" ",volatile"
echo ready
while IFS= read -r line; do
  status=0
  eval "$line" >>"$log" 2>&1 </dev/null || status=$?
  echo "$status"
done
