# $1: 1 if new packages may be installed; $2: 1 to ask for the age of each package file; $3: 1 to keep the lists for looks
# that follow; $4: phased follow, take or skip
new=$1 dates=$2 keep=$3 phased=$4
private -
set --
[ "$new" = 1 ] && set -- "$@" --with-new-pkgs
case $phased in
take) set -- "$@" -o APT::Get::Always-Include-Phased-Updates=true ;;
skip) set -- "$@" -o APT::Get::Never-Include-Phased-Updates=true ;;
esac
installed
section upgrade
aptget "$@" -s upgrade 2>&1
status=$?
section upgrade-status
echo "$status"
versions $(dpkg-query -W -f '${binary:Package} ')
section releases
find "$lists" -maxdepth 1 -type f -name '*Release' | while IFS= read -r file; do
  printf '%s\t%s\n' "${file##*/}" "$(sed -n '/^Date: */{s///p;q;}' "$file")"
done
cached
if [ "$dates" = 1 ] && command -v curl >/dev/null; then
  section modified
  names=$(aptget -s --ignore-hold dist-upgrade 2>/dev/null | sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' | head -n 80)
  # The version stands in the file's name; one curl asks for all of them, over one connection for each mirror.
  [ -z "$names" ] || aptget --print-uris download $names 2>/dev/null |
    sed -n "s/^'\(http[^']*\)' \([^ ]*\) .*/\1 \2/p" >"$work/uris"
  [ ! -s "$work/uris" ] || timeout 30 curl -sIL --max-time 25 -w '= %{url_effective}\n' \
    $(cut -d ' ' -f 1 "$work/uris") 2>/dev/null | tr -d '\r'
  section uris
  cat "$work/uris" 2>/dev/null
fi
[ "$keep" = 1 ] && keep
section end
