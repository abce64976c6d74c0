"""What the integration tests share: a private containerd, images, and reading a bundle with other people's tools."""
import glob
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from box import Box, build_implant, install_busybox, intrusion  # noqa: E402,F401  (offered to the tests)

BUILD_DIR = os.environ.get("CTRIAGE_BUILD_DIR", os.path.join(os.path.dirname(__file__), "../../build/integration"))
# Under a sanitizer everything is slow and its report must not be mistaken for one of our exit statuses. LeakSanitizer
# needs ptrace and clone, which a process that entered the sandbox has given up; the fault twin counts leaked descriptors.
SANITIZER = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "exitcode=99:print_stacktrace=1",
             "LSAN_OPTIONS": "exitcode=99", "TSAN_OPTIONS": "exitcode=99"}
os.environ.update(SANITIZER)  # for every program that a test starts


def binary():
    path = os.environ.get("CTRIAGE")
    if not path or not os.access(path, os.X_OK):
        raise unittest.SkipTest(f"no ctriage binary: {path or 'CTRIAGE is not set'}")
    return os.path.abspath(path)


def need_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root: makes namespaces and mounts")


def need(*programs):
    for program in programs:
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            raise unittest.SkipTest(f"needs {program}")


class Run:
    """One finished call of ctriage."""

    def __init__(self, arguments, process, out, err):
        self.arguments, self.status, self.out, self.err = arguments, process.returncode, out, err

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return (f"ctriage {' '.join(self.arguments)}: status {self.status}\n"
                f"stdout: {self.out.decode(errors='backslashreplace')[-6000:]}\n"
                f"stderr: {self.err.decode(errors='backslashreplace')[-6000:]}")


def start(*arguments, program=None, prefix=(), env=None, stdout=subprocess.PIPE, **options):
    return subprocess.Popen([*prefix, program or binary(), *arguments], stdin=subprocess.DEVNULL, stdout=stdout,
                            stderr=subprocess.PIPE, env={**os.environ, **SANITIZER, **(env or {})}, **options)


def finish(process, timeout=300):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError("hangs\n" + str(Run(process.args[1:], process, out, err))) from None
    return Run([str(a) for a in process.args[1:]], process, out, err)


def ctriage(*arguments, timeout=300, **options):
    return finish(start(*arguments, **options), timeout)


class Case(unittest.TestCase):
    """Keeps temporary directories and says what ctriage said when a status is not the expected one."""

    maxDiff = None

    def temp(self, base="/tmp"):
        path = tempfile.mkdtemp(prefix="ctriage-test-", dir=base)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def expect(self, run, *statuses):
        for report in (b"AddressSanitizer", b"runtime error:", b"LeakSanitizer", b"terminate called"):
            self.assertNotIn(report, run.err, str(run))
        self.assertIn(run.status, statuses, str(run))
        return run

    def one_bundle(self, directory, suffix=".ctriage.tar"):
        found = sorted(glob.glob(os.path.join(glob.escape(directory), "*" + suffix)))
        self.assertEqual(len(found), 1, f"in {directory}: {os.listdir(directory)}")
        return found[0]


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Bundle:
    """A bundle through Python's tarfile and zstd(1), not through our own reader."""

    def __init__(self, path):
        self.path = path
        self.streams = {}  # name to its members in order
        self.order = []
        self._tar = tarfile.open(path, "r:")
        for member in self._tar:
            self.order.append(member.name)
            self.streams.setdefault(re.sub(r"\.\d{5,}$", "", member.name), []).append(member)

    def close(self):
        self._tar.close()

    def raw(self, stream):
        return b"".join(self._tar.extractfile(m).read() for m in self.streams[stream])

    def bytes(self, stream):
        data = self.raw(stream)
        if stream.endswith(".zst"):
            data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
        return data

    def records(self, stream):
        if stream not in self.streams:
            return []
        return [json.loads(line) for line in self.bytes(stream).splitlines()]

    def json(self, stream):
        return json.loads(self.bytes(stream))

    def containers(self):
        return sorted({name.split("/")[1] for name in self.streams if name.startswith("containers/")})

    def layer(self, container):
        """The upper layer as name to (TarInfo, SHA-256 of a regular file)."""
        found = {}
        data = self.bytes(f"containers/{container}/upper.tar.zst")
        with tarfile.open(fileobj=io.BytesIO(data)) as layer:
            for member in layer:
                content = layer.extractfile(member) if member.isreg() else None
                found[member.name] = (member, hashlib.sha256(content.read()).hexdigest() if content else None)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class BoxCase(Case):
    """Collects a box, a bundle of one container, and reads its records."""

    def collect(self, box, *statuses):
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out, "--json"), *(statuses or (0,)))
        bundle = Bundle(self.one_bundle(out))
        self.addCleanup(bundle.close)
        (self.container,) = bundle.containers()
        return run, bundle

    def records(self, bundle, stream):
        return bundle.records(f"containers/{self.container}/{stream}.jsonl")


def path_of(record):
    """The bytes of a record's path: `path` is always text, `path_b64` stands beside it where that loses something."""
    import base64
    if "path_b64" in record:
        return base64.b64decode(record["path_b64"])
    return record["path"].encode()


def age_key(directory):
    """An identity file of age's, made by age-keygen in that directory, and its recipient."""
    key = os.path.join(directory, "age-key")
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    shown = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True)
    return key, shown.stdout.strip()


# Images -------------------------------------------------------------------------------------------------------------

def image_archive(path, tag, layers, command):
    """A `docker save` style archive. `layers`: directories, or dictionaries of name to bytes, lowest first."""
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": command, "Env": ["PATH=/usr/bin:/bin"]},
              "rootfs": {"type": "layers", "diff_ids": []}, "history": [], "created": "2026-01-01T00:00:00Z"}
    names = []
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number, directory in enumerate(layers):
            layer = io.BytesIO()
            with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
                if isinstance(directory, dict):
                    for name in sorted(directory):
                        _put(tar, name, directory[name])
                else:
                    for name in sorted(os.listdir(directory)):
                        tar.add(os.path.join(directory, name), arcname=name)
            config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer.getvalue()).hexdigest())
            config["history"].append({"created": "2026-01-01T00:00:00Z", "created_by": f"layer {number}"})
            names.append(f"layer{number}/layer.tar")
            _put(archive, names[-1], layer.getvalue())
        text = json.dumps(config).encode()
        name = hashlib.sha256(text).hexdigest() + ".json"
        _put(archive, name, text)
        _put(archive, "manifest.json", json.dumps([{"Config": name, "RepoTags": [tag], "Layers": names}]).encode())


def _put(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


class Containerd:
    """Debian's containerd in directories of its own. The state of runc, /run/containerd/runc/k8s.io/ID, is shared by all
    containerds whatever their `state`; the CRI's random ids keep it apart."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="ctriage-lab-", dir="/tmp")
        self.daemon = None
        self.pods = []
        # Cleans up when we cannot: it notices our end, whatever it was, by the end of its standard input.
        self.janitor = subprocess.Popen(["/usr/bin/python3", "-B", __file__, self.base], stdin=subprocess.PIPE,
                                        start_new_session=True)
        try:
            # strictatime: every read of a layer shows in its access times.
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g,mode=755,strictatime", "ctriage-lab", self.base], check=True)
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        self.socket = os.path.join(self.base, "c.sock")
        self.logs = os.path.join(self.base, "pods")
        config = os.path.join(self.base, "config.toml")
        with open(config, "w", encoding="ascii") as file:
            file.write(f'version = 2\nroot = "{self.base}/root"\nstate = "{self.base}/state"\n'
                       f'[grpc]\n  address = "{self.socket}"\n'
                       '[plugins."io.containerd.grpc.v1.cri"]\n'
                       '  restrict_oom_score_adj = true\n  sandbox_image = "localhost/pause:1"\n'
                       '  stream_server_port = "0"\n  stats_collect_period = 86400\n'  # it walks through the layers for that
                       f'[plugins."io.containerd.grpc.v1.cri".cni]\n  conf_dir = "{self.base}/cni"\n'
                       f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{self.base}/opt"\n')
        self.log = open(os.path.join(self.base, "containerd.log"), "wb")
        self.daemon = subprocess.Popen(["containerd", "-c", config], stdout=self.log, stderr=self.log,
                                       stdin=subprocess.DEVNULL)
        for _ in range(300):
            if self._ctr("version", check=False).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.1)
        with open(self.log.name, errors="replace", encoding="utf-8") as file:
            raise RuntimeError("containerd does not come up:\n" + file.read()[-3000:])

    def _ctr(self, *arguments, check=True, **options):
        return subprocess.run(["ctr", "-a", self.socket, "-n", "k8s.io", *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=check, timeout=120, **options)

    def add_image(self, tag, layers, command):
        path = os.path.join(self.base, "image.tar")
        image_archive(path, tag, layers, command)
        self._ctr("images", "import", path)
        os.unlink(path)

    def add_images(self, files):
        """localhost/pause:1 and localhost/app:1: busybox below, `files` (path to bytes) above."""
        image, app = os.path.join(self.base, "image"), os.path.join(self.base, "app")
        install_busybox(image)
        for name, data in files.items():
            path = os.path.join(app, name.lstrip("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            os.chmod(path, 0o755 if data[:4] == b"\x7fELF" else 0o644)
        self.add_image("localhost/pause:1", [image], ["/bin/sleep", "1000000"])
        self.add_image("localhost/app:1", [image, app], ["/bin/sleep", "1000000"])

    def run_pod(self, ns, pod, container, script, pid="container", **options):
        from cri_pod import run_pod
        sandbox, container_id, uid = run_pod(self.socket, ns, pod, container, "localhost/app:1", self.logs,
                                             ["/bin/sh", "-c", script], pid=pid, **options)
        self.pods.append(sandbox)
        return Pod(self, ns, pod, container, sandbox, container_id, uid)

    def remove_pod(self, sandbox):
        from cri_pod import remove_pod
        remove_pod(self.socket, sandbox)
        self.pods.remove(sandbox)

    def exec_in(self, pod, name, *command):
        """A process entered through the runtime, as `kubectl exec` does. Runs until killed or the pod ends."""
        return subprocess.Popen(["ctr", "-a", self.socket, "-n", "k8s.io", "task", "exec", "--exec-id", name,
                                 pod.container_id, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def pause_daemon(self):
        os.kill(self.daemon.pid, signal.SIGSTOP)

    def resume_daemon(self):
        os.kill(self.daemon.pid, signal.SIGCONT)

    def stop(self):
        if self.daemon is not None:
            self.resume_daemon()
            for sandbox in list(self.pods):
                try:
                    self.remove_pod(sandbox)
                except Exception as error:  # the daemon may be ill already; the shims are ended below in any case
                    print(f"lab: pod {sandbox[:12]} not removed cleanly: {error}", file=sys.stderr)
            self.daemon.terminate()
            try:
                self.daemon.wait(10)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.log.close()
            self.daemon = None
        sweep(self.base)
        if self.janitor is not None:
            self.janitor.communicate()
            self.janitor = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def sweep(base):
    """Ends what was started below `base`, a containerd and its shims, found by the paths in their arguments; unmounts, removes."""
    for words in ((f"{base}/config.toml",), (f"{base}/c.sock",)):
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    arguments = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            pid = int(path.split("/")[2])
            if "containerd" in arguments[0] and any(word in arguments for word in words):
                for child in (_descendants(pid) if "shim" in arguments[0] else []) + [pid]:
                    try:
                        os.kill(child, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
    for directory in glob.glob(glob.escape(base) + "/pods/*"):  # NAMESPACE_POD_UID, as the CRI was told
        _remove_cgroup(directory.rpartition("_")[2])
    unmount_and_remove(base)


def unmount_and_remove(base):
    """All that is mounted at or below `base`, the innermost first, while those who use it end; then the tree."""
    for _ in range(50):
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            points = [line.split()[1] for line in file]
        inner = sorted((p for p in points if p == base or p.startswith(base + "/")), key=len, reverse=True)
        if not inner:
            break
        for point in inner:
            subprocess.run(["umount", point], stderr=subprocess.DEVNULL, check=False)
        time.sleep(0.1)
    else:
        subprocess.run(["umount", "-l", base], check=False)
    shutil.rmtree(base, ignore_errors=True)


def _descendants(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return []
    return [found for child in children for found in _descendants(child) + [child]]


def _remove_cgroup(uid):
    """Empty cgroup directories that runc leaves above the containers. rmdir(2) refuses what is in use."""
    for pattern in ("/sys/fs/cgroup/*/kubepods", "/sys/fs/cgroup/kubepods"):
        for top in glob.glob(pattern):
            for path in (f"{top}/besteffort/pod{uid}", f"{top}/besteffort", top):
                try:
                    os.rmdir(path)
                except OSError:
                    pass


class Pod:
    def __init__(self, lab, ns, name, container, sandbox, container_id, uid):
        self.lab, self.ns, self.name, self.container = lab, ns, name, container
        self.sandbox, self.container_id, self.uid = sandbox, container_id, uid
        with open(f"{lab.base}/state/io.containerd.runtime.v2.task/k8s.io/{container_id}/init.pid", encoding="ascii") as file:
            self.pid = int(file.read())
        options = {}
        with open(f"/proc/{self.pid}/mountinfo", encoding="utf-8") as file:
            for line in file:
                if line.split()[4] == "/":
                    options = dict(o.partition("=")[::2] for o in line.split(" - ")[1].split()[2].split(","))
        self.upper = options["upperdir"]
        self.lowers = options["lowerdir"].split(":")

    @property
    def target(self):
        return f"{self.ns}/{self.name}"

    @property
    def log_path(self):
        return f"{self.lab.logs}/{self.ns}_{self.name}_{self.uid}/{self.container}/0.log"

    def wait_for_log(self, text, seconds=60):
        for _ in range(seconds * 10):
            try:
                with open(self.log_path, "rb") as file:
                    if text.encode() in file.read():
                        return
            except FileNotFoundError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"no {text!r} in {self.log_path}")

    def pids(self):
        """What runc's own cgroup of the container holds."""
        found = set()
        for path in glob.glob(f"/sys/fs/cgroup/*/kubepods/besteffort/pod{self.uid}/{self.container_id}/cgroup.procs"):
            with open(path, encoding="ascii") as file:
                found |= {int(line) for line in file}
        for path in glob.glob(f"/sys/fs/cgroup/kubepods/besteffort/pod{self.uid}/{self.container_id}/cgroup.procs"):
            with open(path, encoding="ascii") as file:
                found |= {int(line) for line in file}
        return found


# What was there before must be there after ------------------------------------------------------------------------------

class Untouched:
    """Access times of everything below some directories, and the memory of some processes, before and after.

    All access times are set back to 2001 first, so that any read shows even where the mount is relatime."""

    OLD = 1_000_000_000 * 10**9

    def __init__(self, directories, pids=()):
        self.paths = []
        for top in directories:
            for where, folders, files in os.walk(os.fsencode(top)):
                self.paths += [where] + [os.path.join(where, n) for n in files]
                self.paths += [p for p in (os.path.join(where, n) for n in folders) if os.path.islink(p)]
        for path in reversed(self.paths):
            status = os.lstat(path)
            os.utime(path, ns=(self.OLD, status.st_mtime_ns), follow_symlinks=False)
        self.before = self._times()
        self.pids = list(pids)
        self.memory = {pid: self._memory(pid) for pid in self.pids}

    def _times(self):
        times = {}
        for path in self.paths:
            status = os.lstat(path)
            times[path] = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        return times

    @staticmethod
    def _memory(pid):
        sizes = {}
        for name in ("status", "smaps_rollup"):
            with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
                for line in file:
                    key = line.split(":")[0]
                    if key in ("VmRSS", "VmSwap", "Rss", "Private_Dirty", "Anonymous"):
                        sizes[f"{name}.{key}"] = int(line.split()[1])
        return sizes

    def changed(self):
        after = self._times()
        return [f"{p!r}: {self.before[p]} -> {after[p]}" for p in self.paths if after[p] != self.before[p]]

    def grown(self):
        found = []
        for pid in self.pids:
            after = self._memory(pid)
            found += [f"pid {pid} {key}: {size} -> {after[key]} KiB" for key, size in self.memory[pid].items()
                      if after[key] > size]
        return found


def resident_pages(path):
    """Pages of a file in the page cache, mincore(2) as fincore(1) reports it."""
    out = subprocess.run(["fincore", "--noheadings", "--raw", "--output", "PAGES", path], stdout=subprocess.PIPE, check=True)
    return int(out.stdout)


def free_port():
    """A port, and the next one, that nothing listens on."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports")


if __name__ == "__main__":  # the janitor of a Containerd
    sys.stdin.read()
    if os.path.isdir(sys.argv[1]):
        sweep(sys.argv[1])
