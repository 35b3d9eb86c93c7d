"""What proves dumps, as one file that runs on another machine: `archive.build()` makes it. Python 3.11 is all it needs there.

    python3 -I TOOL hold ROOT NAME -- ARGV…    run a program in a scratch place of its own, which is gone afterwards
    python3 -I TOOL prove ORDER.json           prove one dump that lies in such a place
    python3 -I TOOL watch PLACE BYTES NOTED    end a restore that writes more than that
    python3 -I TOOL sweep ROOT                 clean what was killed

ROOT is an absolute folder of ours alone (0700, made if it is missing), NAME one name in it, PLACE is ROOT/NAME.

`hold` cleans what is there of an earlier PLACE, makes it, holds its lock, and runs ARGV there: its working folder is PLACE, its
environment ours and MAINSTAY_PLACE; stdin, stdout and stderr go through. In it the job restores the dump and calls `prove`, once
in each PLACE:

    python3 -I "$tool" hold "$root" "$name" -- sh -c '
      restic restore "$2" --target "$MAINSTAY_PLACE/files" … && python3 -I "$0" prove "$1"' "$tool" "$order" "$snapshot"

What works in PLACE (by its working folder) or in the folders that `prove` makes for its servers is ended when ARGV ends, and all
of it is removed. On SIGTERM, SIGINT or SIGHUP everything in PLACE is sent SIGTERM and has 60 s for its end (restic takes its lock
away) before it is killed. A `hold` that is killed itself holds its lock no longer: the next `sweep` (or `hold` of that NAME) ends
and removes what it left; places that are held are left alone. A `hold` of a NAME that is held ends the earlier one's work, so NAME
is to be of one run and one point. ARGV stays in the caller's process group. What restic restored as root is read by servers without
rights all the same: they are given the open file.

`watch` works until it is sent SIGTERM. Where more than BYTES and a margin is written below PLACE, or hardly any room is left, it
sends SIGINT to the process whose id and stat (as in /proc) are the two lines of the file NOTED, prints {"written": BYTES} or
{"free": BYTES} and ends with 0.

An order is JSON, UTF-8; no key may be missing but those with a default in brackets, and no other may be there:

    kind       "postgresql", "mysql" or "sqlite"
    unit       the point's, for words
    item       the point's: a database, "" for none, "(globals)", "(cluster)"
    at         the point's time, RFC 3339 with its zone
    made_at    when it was complete, likewise; [""]: it holds nothing later than at
    file       absolute path of the restored dump
    size       its bytes, as the repository has it
    place      PLACE, absolute; somebody holds it
    seconds    what is left of max_time
    checks     [Assertion as JSON: source, database, query and one of equals, at_least, newer_than (seconds)]; [[]]
    roles      names of the cluster's roles, where they are known; [[]]
    superuser  of a base backup; ["postgres"]
    machine    this one, as people call it; ["this machine"]

`prove` prints one line of JSON: {"verdict", "reason", "scope", "left_out": […], "roles": […], "measures": {"recover", "verify":
seconds; "files", "bytes"}, "limit": bool}. verdict: succeeded, failed (reason: what is wrong with the dump, or what stays of the
trial), refused (limit: time or room was lacking), unknown (something is lacking on this machine). `sweep` prints {"removed": NAME}
for each place.

Exit status: 0; 64 the command or the order is wrong; 69 Python is too old or not whole; 70 a bug, with a traceback; 71 something of
a scratch place stays, and is named; 128 + n after a signal. Of `hold` else: ARGV's own, 127 where there is no such program.
Messages go to stderr.
"""
