# $1: seconds to wait here at the most. Says who holds a lock of dpkg's or apt's, or nothing.
# /proc/locks names the process and the inode; nothing needs to be installed for that.
until_=$(($(cut -d . -f 1 /proc/uptime) + $1))
eval "$(apt-config shell lists Dir::State::lists/d archives Dir::Cache::archives/d)"
holder() {
  for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock "${lists}lock" "${archives}lock"; do
    inode=$(stat -c %i "$file" 2>/dev/null) || continue
    pid=$(awk -v inode="$inode" '{n = split($6, at, ":")} $2 != "->" && at[n] == inode {print $5; exit}' /proc/locks)
    [ -n "$pid" ] || continue
    printf '%s\t%s\t%s\n' "$file" "$pid" "$(tr '\0\t\n' '   ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-200)"
    return
  done
}
while :; do
  held=$(holder)
  [ -n "$held" ] || break
  [ "$(cut -d . -f 1 /proc/uptime)" -lt "$until_" ] || break
  sleep 0.5
done
section held
printf '%s\n' "$held"
section end
