#!/bin/busybox sh
# The first process of a guest: mounts what a Linux system has, runs /payload/$PAYLOAD, powers off.
# The first serial port is the console; what the payload prints goes to the other one, $TESTS.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp TRACER_TEST_BIN=/payload TRACER_TEST_REDUCED=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpffs /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The old hierarchy too: what tracer says about it is tested.
mkdir /run/cgroup-v1
mount -t cgroup -o none,name=old cgroup-v1 /run/cgroup-v1
for link in fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  target=${link#*:}
  [ -e "/dev/${link%:*}" ] || ln -s "/proc/self/$target" "/dev/${link%:*}"
done
hostname -F /etc/hostname
ip link set lo up
echo "vm: booted $(uname -rm) after $(cut -d' ' -f1 /proc/uptime) s"
cd /payload
PATH=/payload/bin:/bin "./$PAYLOAD" > "/dev/$TESTS" 2>&1 < /dev/null
status=$?
# No kernel message may come between.
dmesg -n 1
echo
echo "vm: exit $status after $(cut -d' ' -f1 /proc/uptime) s"
poweroff -f
