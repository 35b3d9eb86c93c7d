# Starts units anew that run replaced code. As root. $1: yes where PID 1 has to start anew; then the units.
# Output, tab-separated: `init STATUS`; per unit `done NAME` or `kept NAME WHY`; `state Id=… ActiveState=… …`; `end`.
LC_ALL=C
export LC_ALL
init=$1
shift
if [ "$init" = yes ]; then
  systemctl daemon-reexec
  printf 'init\t%s\n' "$?"
fi
for unit in "$@"; do
  why=
  case $unit in
    ssh.service | sshd.service)
      # where stopping it ends its connections (KillMode=control-group) we would cut our own branch
      case $(systemctl show -p KillMode -- "$unit") in *=process | *=none) ;; *) why="stopping it would end its connections" ;; esac
      ;;
  esac
  case $unit in
    systemd-logind.service)
      # it keeps its sessions over a restart, but not the screen and keyboard that it handed to one of them
      if grep -qs '^SEAT=' /run/systemd/sessions/*; then why="somebody is logged in at its screen"; fi
      ;;
  esac
  case $(systemctl show -p RefuseManualStop -- "$unit") in *=yes) why="it refuses to be stopped by hand" ;; esac
  if [ "$why" ]; then
    printf 'kept\t%s\t%s\n' "$unit" "$why"
    continue
  fi
  # only what runs: one that was stopped meanwhile stays so
  systemctl try-restart -- "$unit" 2>&1 | head -n 5 | sed 's/^/# /'
  printf 'done\t%s\n' "$unit"
done
# one that falls over at once has done so by then
[ $# -eq 0 ] || sleep 1
for unit in "$@"; do
  printf 'state\t%s\n' "$(systemctl show -p Id -p ActiveState -p SubState -p Result -p NRestarts -- "$unit" | tr '\n' '\t')"
done
echo end
