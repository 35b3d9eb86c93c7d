# Ends a transaction that was interrupted. Configuration files are kept, nothing is asked.
# What dpkg and apt print goes into a file first: a connection that breaks meanwhile must not break them.
said=$(mktemp) || exit 70
trap 'rm -f "$said"' EXIT
dpkg --force-confdef --force-confold --configure -a >"$said" 2>&1 </dev/null
status=$?
section output
cat "$said"
# What dpkg can't end alone: files that are half there, dependencies that are not met. apt may bring back whole what is
# broken, in the version that it has; where it would remove anything, or bring anything else, it is left for somebody
# to look at.
states=$(dpkg-query -W -f '${db:Status-Status} ${db:Status-Eflag} ${Package} ${binary:Package}=${Version}\n')
sick=$(printf '%s\n' "$states" |
  awk '$1 != "installed" && $1 != "config-files" && $1 != "not-installed" || $2 == "reinstreq" {print $3}')
half=$(printf '%s\n' "$states" | awk '$1 == "half-installed" || $2 == "reinstreq" {print $4}')
how=
if [ -n "$half" ] || ! apt-get -q check >/dev/null 2>&1 </dev/null; then
  set -- -y -q --no-remove -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 -f install
  [ -z "$half" ] || set -- "$@" --reinstall $half
  plan=$(apt-get -s "$@" 2>&1 </dev/null) && printf '%s\n' "$plan" | awk -v sick="$sick" '
    BEGIN {n = split(sick, words, " "); for (i = 1; i <= n; i++) broken[words[i]] = 1}
    {name = $2; sub(/:.*/, "", name)}
    $1 == "Remv" || $1 == "Purg" {bad = 1}
    $1 == "Inst" {if (name in broken) some = 1; else bad = 1}
    END {exit bad || !some}' && {
    how=${half:+"apt-get install --reinstall"}
    how=${how:-apt-get -f install}
    apt-get "$@" >"$said" 2>&1 </dev/null
    cat "$said"
  }
fi
section fixed
echo "$how"
section status
echo "$status"
installed
section audit
dpkg --audit 2>&1
section updates
ls /var/lib/dpkg/updates 2>/dev/null
section end
