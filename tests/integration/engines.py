"""Podman, dockerd and containerd's own client, each in directories of its own below one that is swept at the end."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from lab import Containerd, image_archive, install_busybox, unmount_and_remove

IMAGE = "localhost/app:1"
# What the container does to its image: something new, something changed, a file and a directory deleted, a directory
# replaced by an empty one, a mode changed, a rename.
SCRIPT = """
echo new > /opt/new; mkdir -p /opt/dir/sub; echo deep > /opt/dir/sub/file
echo more >> /etc/motd; rm /opt/readme; rm -r /opt/tree; rm -r /opt/again; mkdir /opt/again
chmod 600 /opt/mode; mv /opt/moved /opt/elsewhere; ln -s /etc/passwd /opt/link; echo ready > /tmp/ready
exec sleep 1000000
"""
ENDED = SCRIPT.replace("exec sleep 1000000", "exit 7")
FILES = {"opt/readme": "hello\n", "opt/tree/a": "a\n", "opt/tree/b/c": "c\n", "opt/again/x": "x\n", "opt/mode": "m\n",
         "opt/moved": "moved\n", "opt/kept": "kept\n"}
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")  # we have no CAP_SYS_RESOURCE


def make_image(base):
    """The image as a `docker save` archive: busybox below, FILES above."""
    lower, upper = os.path.join(base, "lower"), os.path.join(base, "upper")
    install_busybox(lower)
    for name, text in FILES.items():
        path = os.path.join(upper, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    path = os.path.join(base, "image.tar")
    image_archive(path, IMAGE, [lower, upper], ["/bin/sleep", "1000000"])
    return path


def wait_until(ready, what, seconds=60):
    for _ in range(seconds * 10):
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def parse_changes(text):
    """`docker diff` and `podman diff`: path to A, C or D."""
    return {line[2:]: line[0] for line in text.splitlines() if line}


class Engine:
    """A directory on a tmpfs of its own, and what runs in it. `holds` are paths in the arguments of what it started."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="ctriage-engine-", dir="/tmp")
        self.janitor = subprocess.Popen(["/usr/bin/python3", "-B", __file__, self.base], stdin=subprocess.PIPE,
                                        start_new_session=True)
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=755,strictatime", "ctriage-engine", self.base], check=True)
            self.image = make_image(os.path.join(self.base, "image"))
            self.begin()
        except BaseException:
            self.stop()
            raise

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def stop(self):
        try:
            self.end()
        finally:
            sweep(self.base)
            self.janitor.communicate()


class Docker(Engine):
    daemon = None

    def begin(self):
        self.data, self.socket = os.path.join(self.base, "data"), os.path.join(self.base, "s")
        self.log = open(os.path.join(self.base, "log"), "wb")
        self.daemon = subprocess.Popen(
            ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root", self.data, "--exec-root",
             os.path.join(self.base, "exec"), "-H", f"unix://{self.socket}", "-p", os.path.join(self.base, "pid")],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.run("version", check=False).returncode == 0, "dockerd")
        self.run("load", "-i", self.image)

    def run(self, *arguments, check=True):
        return subprocess.run(["/usr/bin/docker", "-H", f"unix://{self.socket}", *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=check, timeout=120, text=True)

    def start(self, name, script=SCRIPT, *options):
        return self.run("run", "-d", "--name", name, "--network", "none", *options, IMAGE, "/bin/sh", "-c", script).stdout.strip()

    def inspect(self, name):
        return json.loads(self.run("inspect", name).stdout)[0]

    def end(self):
        if self.daemon is None:
            return
        for name in self.run("ps", "-aq", check=False).stdout.split():
            self.run("rm", "-f", name, check=False)
        self.daemon.terminate()
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()


class Podman(Engine):
    """In a mount namespace without cgroup v2, which Debian's crun and runc cannot use beside v1. The containers' mounts
    are to be seen there only, as rootless Podman's are."""

    holder = None

    def begin(self):
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                                        "umount /sys/fs/cgroup/unified; echo; exec sleep 1000000"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.root = os.path.join(self.base, "root")
        self.run("load", "-i", self.image)

    def run(self, *arguments, check=True):
        where = [word for name in ("root", "runroot", "tmpdir") for word in (f"--{name}", os.path.join(self.base, name))]
        return subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "--", "podman", *where, "--runtime", "runc",
                               "--cgroup-manager", "cgroupfs", "--events-backend", "file", *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check, timeout=120, text=True)

    def start(self, name, script=SCRIPT, *options):
        return self.run("run", "-d", "--name", name, "--network", "none", *ULIMITS, *options, IMAGE, "/bin/sh", "-c",
                        script).stdout.strip()

    def inspect(self, name):
        return json.loads(self.run("inspect", name).stdout)[0]

    def end(self):
        if self.holder is None:
            return
        self.run("rm", "-f", "-a", "-t", "0", check=False)
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class RootlessPodman(Engine):
    """A user's Podman, with the kernel's overlayfs or fuse-overlayfs. The user and his ids are in files of one mount
    namespace only, and so is a /dev/fuse that he may open."""

    UID, FIRST = 54321, 700000  # of the user, and of those that he was given
    holder = None

    def __init__(self, fuse=False):
        self.fuse = fuse
        self.made = []
        super().__init__()

    def begin(self):
        self.home = os.path.join(self.base, "home")
        os.mkdir(self.home)
        os.chown(self.home, self.UID, self.UID)
        lines = {"passwd": f"rootless:x:{self.UID}:{self.UID}::{self.home}:/bin/sh", "group": f"rootless:x:{self.UID}:",
                 "subuid": f"rootless:{self.FIRST}:65536", "subgid": f"rootless:{self.FIRST}:65536"}
        for name, line in lines.items():
            if not os.path.exists(f"/etc/{name}"):  # who has no users has no subuid; something must be there to mount over
                open(f"/etc/{name}", "x").close()
                self.made.append(f"/etc/{name}")
            with open(f"/etc/{name}", encoding="utf-8") as old, open(f"{self.base}/{name}", "w", encoding="utf-8") as new:
                new.write(old.read() + line + "\n")
        script = "".join(f"mount --bind {self.base}/{name} /etc/{name}; " for name in lines)
        script += f"mknod -m 666 {self.base}/fuse c 10 229; mount --bind {self.base}/fuse /dev/fuse; "
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "slave", "/bin/sh", "-ec",
                                        script + "echo ready; exec sleep 1000000"], stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise OSError("no mount namespace for rootless Podman")
        self.root = os.path.join(self.home, "root")
        self.run("load", "-i", self.image)

    def run(self, *arguments, check=True):
        where = [word for name in ("root", "runroot", "tmpdir") for word in (f"--{name}", os.path.join(self.home, name))]
        if self.fuse:
            where += ["--storage-opt", "overlay.mount_program=/usr/bin/fuse-overlayfs"]
        user = ["setpriv", f"--reuid={self.UID}", f"--regid={self.UID}", "--clear-groups", "env", "-C", self.home,
                f"HOME={self.home}", f"XDG_RUNTIME_DIR={self.home}", "USER=rootless"]
        return subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "--", *user, "podman", *where, "--storage-driver",
                               "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
                               *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check, timeout=120, text=True)

    start, inspect = Podman.start, Podman.inspect

    def end(self):
        Podman.end(self)
        for path in self.made:
            os.unlink(path)


class Ctr(Containerd):
    """containerd without the CRI: its own client and other namespaces."""

    def __init__(self):
        self.tasks = []
        super().__init__()

    def ctr(self, namespace, *arguments, check=True):
        return subprocess.run(["ctr", "-a", self.socket, "-n", namespace, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=check, timeout=120, text=True)

    def load(self, namespace):
        path = make_image(os.path.join(self.base, f"image-{namespace}"))
        self.ctr(namespace, "images", "import", path)

    def start(self, namespace, name, script=SCRIPT, *options):
        self.tasks.append((namespace, name))
        self.ctr(namespace, "run", "-d", *options, IMAGE, name, "/bin/sh", "-c", script)

    def remove(self, namespace, name):
        self.tasks.remove((namespace, name))
        self.ctr(namespace, "task", "kill", "-s", "KILL", name, check=False)
        self.ctr(namespace, "task", "rm", "-f", name, check=False)
        self.ctr(namespace, "container", "rm", name, check=False)

    def stop(self):
        for namespace, name in list(self.tasks):
            self.remove(namespace, name)
        super().stop()


def sweep(base):
    """Ends what was started with a path below `base` in its arguments and the children of its shims; unmounts, removes."""
    for path in sorted(os.listdir("/proc")):
        if not path.isdigit():
            continue
        try:
            with open(f"/proc/{path}/cmdline", "rb") as file:
                arguments = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = os.path.basename(arguments[0])
        if not program.startswith(("containerd", "dockerd", "conmon")) or not any(base + "/" in word for word in arguments):
            continue
        pid = int(path)
        children = []
        if program.startswith(("containerd-shim", "conmon")):
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = [int(word) for word in file.read().split()]
        for one in children + [pid]:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                pass
    unmount_and_remove(base)


if __name__ == "__main__":  # the janitor of an Engine
    sys.stdin.read()
    if os.path.isdir(sys.argv[1]):
        sweep(sys.argv[1])
