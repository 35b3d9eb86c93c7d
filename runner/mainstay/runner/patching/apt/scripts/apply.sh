# $1: options of apt-get in one word list, or -; $2: 1 when going back; $3: seconds to wait for the lock.
# Then words: +want, =name:version that may change (version - for a removal), ~name that is to be marked as automatic,
# @file that is removed when all went well.
set -uf
export LC_ALL=C LANGUAGE=C DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical APT_LISTCHANGES_FRONTEND=none
export NEEDRESTART_SUSPEND=1 PATH="$PATH:/usr/sbin:/sbin"
options=$1 back=$2 wait=$3
shift 3
[ "$options" = - ] && options=
wants= meant= autos= files=
for word; do
  rest=${word#?}
  case $word in
  +*) wants="$wants $rest" ;;
  =*) meant="$meant $rest" ;;
  ~*) autos="$autos $rest" ;;
  @*) files="$files $rest" ;;
  esac
done
if [ "$back" = 1 ]; then
  # What failed half-way is brought to an end as far as it goes; what is put back next replaces the rest.
  dpkg --force-confdef --force-confold --configure -a </dev/null || echo "mainstay: some packages are not configured, going on"
fi
# Between the check and now somebody may have changed the host: nothing but what was meant may happen.
plan=$(apt-get -q $options -s -y install $wants 2>&1 </dev/null) || {
  printf '%s\nmainstay: the set can not be installed any more\n' "$plan"
  exit 71
}
printf '%s\n' "$plan" | awk -v meant="$meant" '
  BEGIN {n = split(meant, words, " "); for (i = 1; i <= n; i++) allowed[words[i]] = 1}
  $1 == "Inst" {version = substr($3, 1, 1) == "[" ? $4 : $3; sub(/^\(/, "", version); key = $2 "=" version}
  $1 == "Remv" || $1 == "Purg" {key = $2 "=-"}
  ($1 == "Inst" || $1 == "Remv" || $1 == "Purg") && !(key in allowed) {print "mainstay: not meant: " $0; bad = 1}
  END {exit bad}' || exit 72
# `install` marks everything it is given as wanted by hand; what was automatic stays automatic.
autos="$autos $(apt-mark showauto | awk -v meant="$meant" '
  BEGIN {n = split(meant, words, " "); for (i = 1; i <= n; i++) {sub(/=.*/, "", words[i]); ours[words[i]] = 1}}
  $1 in ours')"
apt-get -y -q -o "DPkg::Lock::Timeout=$wait" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
  -o Dpkg::Use-Pty=0 $options install $wants </dev/null
status=$?
[ -z "${autos# }" ] || apt-mark auto $autos >/dev/null 2>&1 || echo "mainstay: marks of automatic installation not restored"
[ "$status" != 0 ] || [ -z "$files" ] || rm -f $files
exit $status
