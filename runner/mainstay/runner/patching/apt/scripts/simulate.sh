# $1: private or real; $2: together or each; $3: options of apt-get in one word list, or -; $4: the folder that an earlier
# look has kept, or -; stdin: one want a line
lists_of=$1 how=$2 options=$3 kept=$4
[ "$options" = - ] && options=
wants=$(cat)
"$lists_of" "$kept"
simulate() {
  section simulate
  aptget $options -s -y install "$@" 2>&1
  status=$?
  section status
  echo "$status"
}
if [ "$how" = each ]; then
  printf '%s\n' "$wants" | while IFS= read -r want; do simulate "$want"; done
  section end
  exit 0
fi
# What would come is described in the same round trip: the size and the digest stand in the signed lists.
plan=$(simulate $wants)
printf '%s\n' "$plan"
section native
dpkg --print-architecture
section sources
aptcache policy
specs=$(printf '%s\n' "$plan" | sed -n 's/^Inst \([^ ]*\) \(\[[^]]*\] \)\{0,1\}(\([^ ]*\) .*/\1=\3/p')
section described
[ -z "$specs" ] || aptcache show $specs 2>/dev/null | grep -E '^(Package|Version|Architecture|Size|SHA256):|^$'
section versions
names=$(printf '%s\n' "$specs" | sed 's/=.*//')
[ -z "$specs" ] || aptcache policy $names
section end
