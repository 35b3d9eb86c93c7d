# Brings the system's own lists up to date. A repository that does not answer is an error.
section update
timeout -k 5 280 apt-get -q -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
  update 2>&1 </dev/null
status=$?
section update-status
echo "$status"
section end
