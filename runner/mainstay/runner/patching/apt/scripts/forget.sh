# $1: the folder with private lists that an earlier look has kept.
case $1 in
*/mainstay-??????) [ -O "$1/conf" ] && rm -rf "$1" ;;
esac
section end
