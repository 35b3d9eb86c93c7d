installed
section audit
dpkg --audit 2>&1
section updates
ls /var/lib/dpkg/updates 2>/dev/null
section end
