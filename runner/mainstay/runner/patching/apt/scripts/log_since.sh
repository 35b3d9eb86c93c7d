# $1: inode, $2: size of the package log at the mark
section log
tail_of() { tail -c "+$(($2 + 1))" "$1"; }
if [ "$(stat -c %i /var/log/dpkg.log 2>/dev/null)" = "$1" ]; then
  tail_of /var/log/dpkg.log "$2"
else
  [ "$(stat -c %i /var/log/dpkg.log.1 2>/dev/null)" != "$1" ] || tail_of /var/log/dpkg.log.1 "$2"
  cat /var/log/dpkg.log 2>/dev/null
fi
section end
