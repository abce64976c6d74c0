"""The same container by CRI pods of containerd, by Podman and by dockerd: one way to start, stop and name it."""
import os
import shutil
import subprocess

import engines
import lab
from lab import Containerd

DATA_DIRECTORY = {"cri": "var/lib/containerd", "docker": "var/lib/docker", "podman": "var/lib/containers/storage"}


class Running:
    def __init__(self, target, pid, container_id, base):
        self.target, self.pid, self.container_id = target, pid, container_id
        self.root = f"/proc/{pid}/root"
        self.base = base

    def wait_for(self, path):
        def ready():
            if not os.path.exists(f"/proc/{self.pid}"):
                raise AssertionError(f"{self.target} has ended")
            return os.path.lexists(self.root + path)

        engines.wait_until(ready, path, 30)


class Cri:
    kind = "cri"

    def __init__(self):
        lab.need("containerd", "runc", "ctr")
        self.engine = Containerd()
        self.base = self.engine.base
        self.data = os.path.join(self.base, "root")
        image = os.path.join(self.base, "pause")
        lab.install_busybox(image)
        self.engine.add_image("localhost/pause:1", [image], ["/bin/sleep", "1000000"])

    def load(self, path):
        self.engine._ctr("images", "import", path)

    def start(self, name, image, command, mounts=()):
        from cri_pod import run_pod
        ns = f"real-{os.getpid()}"
        sandbox, container_id, uid = run_pod(self.engine.socket, ns, name, "app", image, self.engine.logs, command, pid="container",
                                             mounts=[(inside, outside, False) for outside, inside in mounts])
        self.engine.pods.append(sandbox)
        pod = lab.Pod(self.engine, ns, name, "app", sandbox, container_id, uid)
        made = Running(f"{ns}/{name}/app", pod.pid, container_id, self.base)
        made.upper, made.lowers = pod.upper, pod.lowers
        return made

    def stop_container(self, running):
        import grpc
        from cri_pod import call, f_int, f_str
        with grpc.insecure_channel("unix://" + self.engine.socket) as channel:
            call(channel, "StopContainer", f_str(1, running.container_id) + f_int(2, 0))

    def execute(self, running, name, *command):
        return subprocess.Popen(["ctr", "-a", self.engine.socket, "-n", "k8s.io", "task", "exec", "--exec-id", name, running.container_id,
                                 *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.engine.stop()


class ByName:
    """Docker and Podman: the same words."""

    options = ()

    def load(self, path):
        self.engine.run("load", "-i", path)

    def start(self, name, image, command, mounts=()):
        name = f"{name}-{self.kind}-{os.getpid()}"
        volumes = [word for outside, inside in mounts for word in ("-v", f"{outside}:{inside}")]
        container_id = self.engine.run("run", "-d", "--name", name, "--network", "none", *self.options, *volumes, image, *command).stdout.strip()
        return Running(name, self.engine.inspect(name)["State"]["Pid"], container_id, self.base)

    def stop_container(self, running):
        self.engine.run("stop", "-t", "0", running.target)

    def execute(self, running, name, *command):
        self.engine.run("exec", "-d", running.target, *command)

    def stop(self):
        self.engine.stop()


class Docker(ByName):
    kind = "docker"

    def __init__(self):
        lab.need("dockerd", "docker", "runc")
        self.engine = engines.Docker()
        self.base, self.data = self.engine.base, self.engine.data


class Podman(ByName):
    kind = "podman"
    options = engines.ULIMITS

    def __init__(self):
        lab.need("podman", "conmon", "runc")
        self.engine = engines.Podman()
        self.base, self.data = self.engine.base, self.engine.root


ALL = (Cri, Podman, Docker)


def available():
    return [kind for kind in ALL if all(shutil.which(p, path="/usr/sbin:/usr/bin:/sbin:/bin")
                                        for p in {"cri": ("containerd", "runc", "ctr"), "podman": ("podman", "conmon", "runc"),
                                                  "docker": ("dockerd", "docker", "runc")}[kind.kind])]
