#!/usr/bin/python3
"""A container without an engine: overlayfs on a tmpfs of its own, namespaces of unshare(1), pivot_root(8).

Needs root, util-linux, iproute2 and busybox-static. As a program (run.sh demo) it plays a small intrusion, prints
"pid N" once the container is ready and removes everything when its standard input ends.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BUSYBOX = "/bin/busybox"

# Runs in the new namespaces, still on the host's root. $1 merged, $2 lowerdir, $3 upper, $4 work, $5 command.
# The old root goes to /mnt of the new one and is detached; /mnt is in the image, so nothing is left in the upper layer.
START = r"""
set -e
mount -t overlay overlay -o "lowerdir=$2,upperdir=$3,workdir=$4" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o size=64m,mode=755 dev "$1/dev"
mknod -m 666 "$1/dev/null" c 1 3
mknod -m 666 "$1/dev/zero" c 1 5
mknod -m 666 "$1/dev/urandom" c 1 9
mkdir -m 1777 "$1/dev/shm"
ip link set lo up
hostname box
cd "$1"
pivot_root . mnt
exec /bin/busybox chroot . /bin/sh -c '
umount -l /mnt
cd /
eval "$1"' sh "$5"
"""

JANITOR = """cat >/dev/null; n=0
while grep -q " $1 " /proc/mounts && [ $n -lt 50 ]; do umount "$1" || sleep 0.1; n=$((n + 1)); done
rm -rf --one-file-system "$1"
"""

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"


def install_busybox(root):
    """A root file system of busybox and its applets, with the places that mounts need."""
    for name in ("bin", "dev", "etc", "mnt", "opt", "proc", "root", "sys", "tmp", "usr/bin", "usr/local/bin",
                 "usr/share/doc/busybox", "var/log"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    shutil.copy(BUSYBOX, os.path.join(root, "bin/busybox"))
    for applet in subprocess.check_output([BUSYBOX, "--list"], text=True).split():
        link = os.path.join(root, "bin", applet)
        if not os.path.lexists(link):
            os.symlink("busybox", link)
    for name, text in (("etc/passwd", PASSWD), ("etc/group", "root:x:0:\n"), ("etc/hosts", "127.0.0.1 localhost\n"),
                       ("etc/motd", "welcome\n"), ("usr/share/doc/busybox/copyright", "GPL-2\n")):
        with open(os.path.join(root, name), "w", encoding="ascii") as file:
            file.write(text)


class Box:
    """One running container. `pid` is its init on the host, `upper`, `lowers` (top first) and `base` are host paths.

    On a tmpfs mounted strictatime every read shows in the access times; `disk=True` keeps the layers in the directory
    itself, for what needs a page cache. `files` (path to bytes) make a second image layer above busybox."""

    def __init__(self, command="sleep 1000000", files=None, disk=False, size="2g", inodes=None, base=None, wait_for=None,
                 pass_fds=()):
        self.base = tempfile.mkdtemp(prefix="ctriage-box-", dir=base or "/tmp")
        self.mounted = False
        self.process = None
        self.pid = None
        # Cleans up when we cannot: it notices our end, whatever it was, by the end of its standard input.
        self.janitor = subprocess.Popen(["/bin/sh", "-c", JANITOR, "sh", self.base], stdin=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            if not disk:
                options = f"size={size},mode=755,strictatime" + (f",nr_inodes={inodes}" if inodes else "")
                subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ctriage-box", self.base], check=True)
                self.mounted = True
            self.merged, self.upper, self.work, image, app = (
                os.path.join(self.base, name) for name in ("merged", "upper", "work", "image", "app"))
            for path in (self.merged, self.upper, self.work, image, app):
                os.mkdir(path)
            install_busybox(image)
            for name, data in (files or {}).items():
                path = os.path.join(app, name.lstrip("/"))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(data)
                os.chmod(path, 0o755 if data[:4] == b"\x7fELF" else 0o644)
            self.lowers = [app, image]
            self._start(command, wait_for, pass_fds)
        except BaseException:
            self.stop()
            raise

    def _start(self, command, wait_for, pass_fds):
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "BOX": os.path.basename(self.base)}
        ready = wait_for or "box-is-up"
        if wait_for is None:
            command = f"echo {ready}; {command}"
        # Two steps: the one that stays outside to wait has nothing of the container, or it would be a member of it.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--kill-child=KILL", "unshare", "--mount", "--uts", "--net", "--ipc",
             "/bin/sh", "-c", START, "sh", self.merged, ":".join(self.lowers), self.upper, self.work, command],
            env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=pass_fds)
        seen = b""
        while ready.encode() not in seen:
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                raise RuntimeError("the box did not start: " + seen.decode(errors="replace"))
            seen += chunk
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            self.pid = int(file.read().split()[0])

    @property
    def root(self):
        """The merged tree, through the container's own eyes."""
        return f"/proc/{self.pid}/root"

    def enter(self, *command, **options):
        """Runs a command inside, the way an intruder on the node would: setns(2)."""
        return subprocess.Popen(["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-n", "-i", "-r", "-w", *command],
                                env={"PATH": "/bin:/usr/bin"}, **options)

    def run(self, script):
        """Runs a shell script inside and waits."""
        process = self.enter("/bin/sh", "-ec", script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = process.communicate(timeout=300)[0].decode(errors="replace")
        if process.returncode != 0:
            raise RuntimeError(f"in the box: {output}")
        return output

    def pids(self):
        """The host's pids of everything in the box's pid or mount namespace; an nsenter(1) that waits has the latter."""
        mine = [os.readlink(f"/proc/{self.pid}/ns/{kind}") for kind in ("pid", "mnt")]
        found = set()
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and any(os.readlink(f"/proc/{name}/ns/{kind}") == inode
                                          for kind, inode in zip(("pid", "mnt"), mine)):
                    found.add(int(name))
            except OSError:
                pass
        return found

    def stop(self):
        if self.process is not None:
            try:
                if self.pid:
                    os.kill(self.pid, signal.SIGKILL)  # init of the pid namespace: takes all the others with it
            except ProcessLookupError:
                pass
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None
        for _ in range(50):  # the mount namespace dies with its last process, a moment later
            if not self.mounted:
                break
            if subprocess.run(["umount", self.base], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                self.mounted = False
            else:
                time.sleep(0.1)
        shutil.rmtree(self.base, ignore_errors=True)
        if self.janitor is not None:
            self.janitor.communicate()
            self.janitor = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# What the intruder does, in words of busybox. The image has /opt/implant. A same-size change of /etc/passwd with its
# old time put back, a setuid drop, a program that deletes itself, one that never was a file, a file and a directory of the
# image gone, and a shell script of its own.
INTRUSION = r"""
cp /bin/busybox /usr/local/bin/.httpd
chmod 4755 /usr/local/bin/.httpd
touch -r /etc/passwd /tmp/.ref
printf '9' | dd of=/etc/passwd bs=1 seek=7 conv=notrunc 2>/dev/null
touch -r /tmp/.ref /etc/passwd
rm -f /tmp/.ref /etc/motd
rm -rf /usr/share/doc/busybox
mkdir /usr/share/doc/busybox
echo gone > /usr/share/doc/busybox/README
printf '#!/bin/sh\nexec /bin/sh -i\n' > /usr/local/bin/backup
chmod 755 /usr/local/bin/backup
cp /opt/implant /tmp/implant
/tmp/implant run PORT1 &
/opt/implant memfd PORT2 &
sleep 2
echo intrusion played
"""


def intrusion(port=4444):
    return INTRUSION.replace("PORT1", str(port)).replace("PORT2", str(port + 1))


def build_implant(into, name="implant"):
    """Compiles testdata/lab/NAME.c once into the directory `into`; gives its bytes."""
    source = os.path.join(os.path.dirname(__file__), f"../../testdata/lab/{name}.c")
    target = os.path.join(into, name)
    if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
        os.makedirs(into, exist_ok=True)
        made = f"{target}.{os.getpid()}"
        subprocess.run(["gcc", "-O1", "-static", "-s", "-pthread", "-w", "-o", made, source], check=True)
        os.rename(made, target)
    with open(target, "rb") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description="A throw-away container with an intruder in it, until stdin ends")
    parser.add_argument("--build-dir", required=True, help="where the compiled implant is kept")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    command = intrusion() + "while :; do sleep 1000; done"
    with Box(command, files={"/opt/implant": build_implant(options.build_dir)}, wait_for="intrusion played") as box:
        print("pid", box.pid, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
