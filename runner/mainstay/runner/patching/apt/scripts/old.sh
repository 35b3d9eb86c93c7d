# stdin: names of packages, one a line. All that going back from a change of them needs to know.
names=$(cat)
real
installed
versions $names
cached
section auto
apt-mark showauto
section conffiles
[ -z "$names" ] || dpkg-query -W -f '@${binary:Package}\n${Conffiles}\n' $names 2>/dev/null
section digests
set --
while IFS= read -r path; do set -- "$@" "$path"; done <<EOF
$(dpkg-query -W -f '${Conffiles}\n' $names 2>/dev/null | sed -n 's/^ \(\/.*\) [0-9a-f]\{32\}\( obsolete\| remove-on-upgrade\)*$/\1/p')
EOF
[ "${1:-}" = "" ] || md5sum -- "$@" 2>/dev/null
section end
