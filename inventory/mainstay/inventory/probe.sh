# Tells all facts of a host at once: no root, nothing written. POSIX sh (dash, busybox ash, bash); what a host lacks is left out.
# Each section begins with a line that only this run knows, so that no file's content can pass for one.
main() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
  export PATH LC_ALL
  read -r mark </proc/sys/kernel/random/uuid || return 1
  have() { command -v "$1" >/dev/null 2>&1; }
  # a hung daemon must not cost the other facts
  if have timeout; then patient() { timeout 10 "$@"; }; else patient() { "$@"; }; fi
  section() { printf '\n%s %s\n' "$mark" "$1"; }

  printf '\nmainstay-probe 1 %s\n' "$mark"
  section clock
  date +%s.%N
  section files
  release=/etc/os-release
  [ -r "$release" ] || release=/usr/lib/os-release
  grep -s '' "$release" /etc/machine-id /proc/sys/kernel/random/boot_id /proc/uptime \
    /proc/sys/kernel/osrelease /run/systemd/container /run/reboot-required.pkgs /var/run/reboot-required.pkgs \
    /var/lib/mainstay/owner /var/lib/mainstay/lock /dev/null

  section flags
  [ -O / ] && echo root
  if have sudo || have doas; then echo sudo; fi
  if [ -d /run/systemd/system ]; then echo systemd; fi
  if [ -e /run/reboot-required ] || [ -e /var/run/reboot-required ]; then echo reboot-required; fi
  have needrestart && echo needrestart
  [ -e /.dockerenv ] && echo container=docker
  [ -e /run/.containerenv ] && echo container=podman
  have apt-get && have dpkg && [ -s /var/lib/dpkg/status ] && echo manager=apt
  for manager in dnf5 dnf yum zypper apk; do have "$manager" && echo "manager=$manager"; done

  section arch
  if have dpkg; then dpkg --print-architecture; else uname -m; fi

  section kernels
  for kernel in /boot/vmlinuz-[0-9]* /lib/modules/*/modules.dep; do [ -e "$kernel" ] && echo "$kernel"; done

  section space
  stat -f -c '%a %S %d %c %n' / /boot /boot/efi /etc /usr /var /var/lib /var/lib/dpkg /var/cache/apt/archives \
    /var/cache/dnf /tmp 2>/dev/null
  section mounts
  grep -sE '^[^ ]+ (/|/boot|/boot/efi|/etc|/usr|/var|/var/lib|/var/lib/dpkg|/var/cache|/var/cache/apt|/var/cache/apt/archives|/var/cache/dnf|/tmp) ' /proc/self/mounts

  if [ -r /var/lib/dpkg/status ]; then
    section dpkg
    # dpkg --audit would need root here. An update that dpkg could not finish lies in a file of its own, and may know better.
    for update in /var/lib/dpkg/updates/[0-9]*; do [ -e "$update" ] && echo "$update"; done
    awk '/^Package: / { name = $2 } /^Status: / && !/ ok (installed|config-files|not-installed)$/ { print name ": " $2, $3, $4 }' \
      /var/lib/dpkg/status && echo read
  fi

  if [ -r /proc/locks ]; then
    section locks
    files=$(stat -c 'file %i %n' /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/cache/apt/archives/lock \
      /var/lib/apt/lists/lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock /lib/apk/db/lock)
    printf '%s\n' "$files"
    inodes=
    set -- $files
    while [ $# -ge 3 ]; do
      inodes="$inodes${inodes:+|}$2"
      shift 3
    done
    [ "$inodes" ] && grep -E ":($inodes) " /proc/locks | while read -r _ _ _ _ pid rest; do
      echo "held $pid $rest"
      [ -r "/proc/$pid/cmdline" ] && printf 'command %s %s\n' "$pid" "$(tr '\000\n' '  ' <"/proc/$pid/cmdline" | cut -c 1-200)"
    done
    echo read
  fi

  if [ -d /run/systemd/system ] && have systemctl; then
    section units
    {
      patient systemctl list-units --all --plain --no-legend --no-pager --full \
        --type=service,socket,timer,mount,automount,swap,path,target --state=active,reloading,failed && echo read
    } | awk '{ i = $1 ~ /[.]/ ? 1 : 2 } /^read$/ { print } $i ~ /[.](service|timer)$/ || $(i + 2) == "failed" { print $i, $(i + 2), $(i + 3) }'
    # units of systemd-run: one command's, gone with it
    for unit in /run/systemd/transient/*.service; do [ -e "$unit" ] && echo "${unit##*/} transient"; done
    section updaters
    set --
    for unit in apt-daily.timer apt-daily-upgrade.timer dnf-automatic.timer dnf-automatic-install.timer \
      dnf-automatic-download.timer dnf-automatic-notifyonly.timer dnf5-automatic.timer yum-cron.service \
      packagekit-background.timer transactional-update.timer os-update.timer rpm-ostreed-automatic.timer; do
      for folder in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        [ -e "$folder/$unit" ] || continue
        set -- "$@" "$unit"
        break
      done
    done
    if [ $# -eq 0 ]; then
      echo read
    else
      patient systemctl show --no-pager -p Id,LoadState,ActiveState,UnitFileState "$@" && echo read
    fi
    if have unattended-upgrade; then
      echo unattended-upgrade
      apt-config shell install APT::Periodic::Unattended-Upgrade/i enable APT::Periodic::Enable/i && echo asked
    fi
  fi
  section cron
  grep -slE '^[^#]*(^|[^a-z_-])((apt|apt-get|aptitude) .*upgrade|(dnf|yum|zypper) .*(upgrade|update|up|dup|patch)|apk .*upgrade|unattended-upgrade|cron-apt|yum-cron)' \
    /etc/crontab /etc/cron.d/* /etc/cron.hourly/* /etc/cron.daily/* /etc/cron.weekly/* /etc/crontabs/root
  section end
}
# one write: a line at a time would be a packet each
answer=$(main </dev/null 2>/dev/null)
printf '%s\n' "$answer"
