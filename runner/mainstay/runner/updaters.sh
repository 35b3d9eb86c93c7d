# The fence around other updaters. As root, POSIX sh, systemd 243 or newer.
# Two things end it: each unit's own condition compares the clock, so that a fence that is left behind is without effect;
# and a persistent timer takes the files away, also after a reboot.
#   on RUN SECONDS UNIT…   fence these services
#   off                    take every fence of ours away
#   left                   name what there is of it
#   busy UNIT…             name those that are working right now
PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
umask 022
units=/etc/systemd/system
name=90-mainstay-fence.conf
expiry=mainstay-fence-expiry
tab=$(printf '\t')

write() { cat >"$1.new" && mv -f "$1.new" "$1"; }

on() {
  run=$1 seconds=$2
  shift 2
  version=$(systemctl --version | awk 'NR == 1 { print $2 + 0 }')
  [ "${version:-0}" -ge 243 ] || { echo "old$tab$version"; return 1; }
  now=$(date +%s) || return 1
  end=$((now + seconds))
  when=$(date -u -d "@$end" '+%Y-%m-%d %H:%M:%S') || return 1
  # the way out first: nothing may be fenced that has none
  write "$units/$expiry.service" <<UNIT || return 1
# Written by mainstay run $run. Takes the fence around other updaters away when its time is over; see $expiry.timer.
[Unit]
Description=End of mainstay's fence around other updaters
[Service]
Type=oneshot
ExecCondition=/bin/sh -c '[ "\$\$(date +%%s)" -ge $end ]'
ExecStart=/bin/sh -c 'rm -f $units/*.d/$name $units/timers.target.wants/$expiry.timer $units/$expiry.timer $units/$expiry.service; rmdir --ignore-fail-on-non-empty $units/*.d 2>/dev/null; rm -f /var/lib/systemd/timers/stamp-$expiry.timer; systemctl daemon-reload; systemctl --no-block stop $expiry.timer'
UNIT
  write "$units/$expiry.timer" <<UNIT || return 1
# Written by mainstay run $run.
[Unit]
Description=End of mainstay's fence around other updaters
[Timer]
OnCalendar=$when UTC
AccuracySec=1s
Persistent=true
UNIT
  mkdir -p "$units/timers.target.wants" && ln -sf "../$expiry.timer" "$units/timers.target.wants/$expiry.timer" || return 1
  for unit in "$@"; do
    mkdir -p "$units/$unit.d" || return 1
    write "$units/$unit.d/$name" <<UNIT || return 1
# Written by mainstay run $run: this updater is kept quiet while the run works here, until $when UTC at the latest.
[Service]
ExecCondition=/bin/sh -c '[ "\$\$(date +%%s)" -ge $end ]'
UNIT
  done
  systemctl daemon-reload || return 1
  systemctl restart "$expiry.timer" || return 1
  for unit in "$@"; do
    case " $(systemctl show -p DropInPaths --value -- "$unit") " in
      *"/$name "*) echo "fenced$tab$unit" ;;
      *) echo "open$tab$unit" ;;
    esac
  done
}

off() {
  for file in "$units"/*.d/"$name"; do
    [ -e "$file" ] || continue
    rm -f "$file"
    rmdir "${file%/*}" 2>/dev/null
  done
  systemctl stop "$expiry.timer" 2>/dev/null
  rm -f "$units/timers.target.wants/$expiry.timer" "$units/$expiry.timer" "$units/$expiry.service" \
    "$units"/*.d/"$name.new" "$units/$expiry.timer.new" "$units/$expiry.service.new" /var/lib/systemd/timers/stamp-"$expiry.timer"
  systemctl daemon-reload
  systemctl reset-failed "$expiry.timer" "$expiry.service" 2>/dev/null
}

left() {
  for file in "$units"/*.d/"$name" "$units/$expiry.timer" "$units/$expiry.service" "$units/timers.target.wants/$expiry.timer"; do
    if [ -e "$file" ] || [ -L "$file" ]; then echo "left$tab$file"; fi
  done
  # what systemd itself still goes by
  systemctl show '*.service' -p Id -p DropInPaths 2>/dev/null | awk -v name="/$name" -F= '
    $1 == "Id" { id = $2 } $1 == "DropInPaths" { drops = $2 }
    /^$/ { if (index(drops, name)) print "left\t" id " (in memory)"; id = drops = "" }
    END { if (index(drops, name)) print "left\t" id " (in memory)" }'
  case $(systemctl is-active "$expiry.timer") in active) echo "left$tab$expiry.timer (in memory)" ;; esac
}

busy() {
  for unit in "$@"; do
    case $(systemctl show -p ActiveState --value -- "$unit") in
      active | activating | deactivating | reloading) echo "busy$tab$unit" ;;
    esac
  done
}

task=$1
shift
case $task in on | off | left | busy) "$task" "$@" || { echo "failed$tab$?"; exit 1; } ;; *) exit 64 ;; esac
echo end
