#!/bin/sh
# On a kernel that is too old tracer must say so; the result is printed as cargo's tests do.
/payload/tracer trace -- true 2> /tmp/stderr
status=$?
cat /tmp/stderr
wanted='kernel 5.10 is too old: tracer needs 5.15 or newer'
if [ "$status" -eq 1 ] && grep -qF "$wanted" /tmp/stderr; then
  echo 'test refusal ... ok'
  echo 'test result: ok. 1 passed; 0 failed; 0 ignored'
else
  echo "exit status $status; wanted is 1 and: $wanted"
  echo 'test refusal ... FAILED'
  echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'
  exit 1
fi
