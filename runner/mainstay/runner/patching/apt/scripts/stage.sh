# $1: options of apt-get in one word list, or -; stdin: first the wants, one a line; then, after an empty line, file names.
# Downloads without installing, and says what lies in the cache.
options=$1
[ "$options" = - ] && options=
input=$(cat)
wants=$(printf '%s\n' "$input" | sed '/^$/,$d')
names=$(printf '%s\n' "$input" | awk 'past {print} /^$/ {past = 1}')
section download
[ -z "$wants" ] || apt-get -y -q -o DPkg::Lock::Timeout=120 $options --download-only install $wants 2>&1 </dev/null
status=$?
section status
echo "$status"
eval "$(apt-config shell archives Dir::Cache::archives/d)"
section files
for name in $names; do
  [ -f "$archives$name" ] && sha256sum "$archives$name"
done
section end
