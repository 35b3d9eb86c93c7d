# Which processes run code that was replaced on disk, and does the kernel. As root, reads only. POSIX sh.
# $1: the login that we came with; its own connections are not told.
# Output, tab-separated: `process PID UNIT COMM MAIN|- CONTAINER|-`, `file PID PATH`, `kernel WORD`, needrestart's own lines, `end`.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
login=$1 tab=$(printf '\t')
have() { command -v "$1" >/dev/null 2>&1; }

# we, and everything that we came through (sudo, our connection), but not the daemon that listens
ours=" " pid=$$
while :; do
  up=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
  [ "${up:-0}" -gt 1 ] || break
  ours="$ours$pid "
  pid=$up
done
inside=$(readlink /proc/1/ns/pid) || exit 1

main_pid() {
  [ -d /run/systemd/system ] || return
  systemctl show --value -p MainPID -- "$1" 2>/dev/null
}

# an executable mapping of a file under the places of code that is gone from its folder
grep -slE '^[0-9a-f]+-[0-9a-f]+ ..x. .* /(usr|lib|lib32|lib64|libx32|bin|sbin|opt)/.* \(deleted\)$' /proc/[0-9]*/maps |
  while IFS=/ read -r _ _ pid _; do
    case $ours in *" $pid "*) continue ;; esac
    said=$(tr '\000\t\n' '   ' <"/proc/$pid/cmdline" 2>/dev/null)
    case $said in "sshd: $login@notty"* | "sshd: $login [priv]"* | "sshd-session: $login@notty"* | "sshd-session: $login [priv]"*) continue ;; esac
    comm=$(tr '\t\n' '  ' <"/proc/$pid/comm" 2>/dev/null) || continue
    # version 2's line (0::), else systemd's own of version 1
    group=$(awk -F: '$1 == "0" { two = $0 } $2 == "name=systemd" { one = $0 } END { print one ? one : two }' "/proc/$pid/cgroup" 2>/dev/null)
    group=${group#*:*:}
    unit=${group##*/} main=- container=-
    case $group in
      */user.slice/* | /user.slice/*) case $group in
        */user@*.service*) unit=${group#*/user@} unit=user@${unit%%/*} ;;
      esac ;;
      # a service may have groups of its own inside
      *.service/*) unit=${group%%.service/*} unit=${unit##*/}.service ;;
    esac
    case $group in *docker* | *libpod* | *kubepods* | *lxc* | *machine.slice* | *containerd*) container=container ;; esac
    [ "$(readlink "/proc/$pid/ns/pid")" = "$inside" ] || container=container
    # a daemon's own program lives in its unit too: only what is not the main process is a connection
    case $unit in ssh.service | sshd.service) [ "$(main_pid "$unit")" = "$pid" ] && main=main ;; esac
    printf 'process\t%s\t%s\t%s\t%s\t%s\n' "$pid" "$unit" "$comm" "$main" "$container"
    grep -E '^[0-9a-f]+-[0-9a-f]+ ..x. .* /.* \(deleted\)$' "/proc/$pid/maps" 2>/dev/null | sed 's/^[^/]*//; s/ (deleted)$//' |
      sort -u | head -n 8 | sed "s/^/file$tab$pid$tab/"
  done

if [ -e "/boot/vmlinuz-$(uname -r)" ]; then
  up=$(cut -d. -f1 /proc/uptime) now=$(date +%s) made=$(stat -c %Z "/boot/vmlinuz-$(uname -r)" 2>/dev/null)
  if [ "${made:-0}" -gt "$((now - up))" ]; then echo "kernel${tab}replaced"; else echo "kernel${tab}same"; fi
fi

# it only looks: -b neither asks nor starts anything
if have needrestart; then
  NEEDRESTART_MODE=l NEEDRESTART_UI=NeedRestart::UI::stdio timeout 120 needrestart -b -r l 2>/dev/null | grep '^NEEDRESTART-'
fi
echo end
