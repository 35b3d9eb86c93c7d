# $1: package; $2: folder for the result. Puts a package file together from the files that are installed.
package=$1 folder=$2
work=$(mktemp -d /var/tmp/mainstay-XXXXXX) || exit 70
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 143' TERM
mkdir -p "$work/tree/DEBIAN" "$folder"
section output
exec 3>&1
build() {
  dpkg-query -s "$package" | awk '
    /^[^ ]/ {skip = /^(Status|Conffiles|Config-Version|Triggers-Pending|Triggers-Awaited|Rebuilt-From):/}
    !skip {print}
    END {print "Rebuilt-From: installed files"}' | grep -v '^$' >"$work/tree/DEBIAN/control" || return 1
  for part in $(dpkg-query --control-list "$package"); do
    [ "$part" = md5sums ] || cp -p "$(dpkg-query --control-path "$package" "$part")" "$work/tree/DEBIAN/$part" || return 1
  done
  # A path that is a link on disk while the package calls it a folder (/lib since the merge of /usr) must not become a link
  # of the package; the files below it are read through it.
  dpkg-query -L "$package" >"$work/listed" || return 1
  : >"$work/take"
  previous=
  while IFS= read -r path; do
    case $path in
    "diverted by "*" to: "* | "locally diverted to: "*)
      # The package's own file lies where the diversion has put it.
      sed -i '$d' "$work/take"
      mkdir -p "$work/tree${previous%/*}"
      cp -a "${path##* to: }" "$work/tree$previous" || return 1
      continue
      ;;
    "package diverts others to: "*) continue ;;
    /. | "") continue ;;
    esac
    previous=$path
    case $path in
    /bin | /sbin | /lib | /lib32 | /lib64 | /libx32) continue ;;
    esac
    [ -e "$path" ] || [ -L "$path" ] || continue
    printf '%s\n' "${path#/}" >>"$work/take"
  done <"$work/listed"
  tar -C / --no-recursion --verbatim-files-from -T "$work/take" -cf "$work/data.tar" || return 1
  tar -C "$work/tree" -xpf "$work/data.tar" --same-owner --numeric-owner || return 1
  # dpkg keeps the list of configuration files in its status alone. Without it they would be overwritten like any file.
  dpkg-query -W -f '${Conffiles}\n' "$package" | sed -n 's/^ \(\/.*\) [0-9a-f]\{32\}$/\1/p' |
    while IFS= read -r path; do
      [ -e "$work/tree$path" ] && printf '%s\n' "$path"
    done >"$work/conffiles"
  [ ! -s "$work/conffiles" ] || cp "$work/conffiles" "$work/tree/DEBIAN/conffiles"
  chmod 755 "$work/tree" "$work/tree/DEBIAN"
  dpkg-deb -Zgzip -z1 --build "$work/tree" "$work/rebuilt.deb"
}
build >&3 2>&1
status=$?
section status
echo $status
if [ $status = 0 ]; then
  sum=$(sha256sum <"$work/rebuilt.deb")
  sum=${sum%% *}
  mv "$work/rebuilt.deb" "$folder/$sum.deb"
  section file
  printf '%s  %s\n' "$sum" "$folder/$sum.deb"
fi
section end
