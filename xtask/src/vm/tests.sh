#!/bin/sh
# Runs the tests that are named in `names`, each in a process of its own: one that hangs is ended,
# named, and the others run. Prints what cargo's tests do, with the time that each took.
limit=120
passed=0
failed=0
echo "running $(wc -l < names) tests"
while read -r name; do
  printf 'test %s ... ' "$name"
  read -r begin rest < /proc/uptime
  timeout -s KILL "$limit" ./kernel --exact --test-threads=1 "$name" > /tmp/log 2>&1 < /dev/null
  status=$?
  read -r end rest < /proc/uptime
  took=$((${end%.*} - ${begin%.*}))
  if [ "$status" -eq 0 ] && grep -q '^test result: ok. 1 passed' /tmp/log; then
    passed=$((passed + 1))
    echo "ok <$took s>"
    grep -F '**** SKIPPED' /tmp/log
    continue
  fi
  failed=$((failed + 1))
  echo "FAILED <$took s>"
  {
    echo "---- $name ended with status $status after $took s"
    [ "$took" -lt "$limit" ] || echo "it hung and was ended"
    cat /tmp/log
  } >> /tmp/failures
  # What it may have left behind would be in the way of the next one.
  killall -q -KILL tracer tracer-workload
done < names
echo
if [ "$failed" -eq 0 ]; then
  echo "test result: ok. $passed passed; 0 failed; 0 ignored"
else
  echo "failures:"
  cat /tmp/failures
  echo "test result: FAILED. $passed passed; $failed failed; 0 ignored"
  exit 1
fi
