# Ends a transaction that was interrupted. Configuration files are kept, nothing is asked.
section output
dpkg --force-confdef --force-confold --configure -a 2>&1 </dev/null
status=$?
section status
echo "$status"
installed
section audit
dpkg --audit 2>&1
section updates
ls /var/lib/dpkg/updates 2>/dev/null
section end
