"""deploy/: the image, what the manifests say, the image run as they say, and the tables for what it prints."""
import copy
import glob
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import unittest

import lab
import yaml
from clickhouse_views import Views
from cri_pod import exit_code, run_spec
from engines import Podman
from lab import Bundle, Case, Containerd, Run, ctriage
from s3_stub import REGION, S3

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
DEPLOY = os.path.join(REPOSITORY, "deploy")
STATIC = os.environ.get("CTRIAGE_STATIC", os.path.join(REPOSITORY, "build/static/ctriage"))
NS = f"deploy-{os.getpid()}"
IMAGE_PY = os.path.join(DEPLOY, "package/image.py")


def setUpModule():
    lab.binary()


def make_image(path, *options, **environment):
    return subprocess.run(["/usr/bin/python3", IMAGE_PY, "-o", path, *options], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def manifest(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
        return yaml.safe_load(file)


def merged(base, patch):
    """A strategic merge of objects; our patches add lists where there are none."""
    out = dict(base)
    for key, value in patch.items():
        out[key] = merged(base[key], value) if isinstance(value, dict) and key in base else copy.deepcopy(value)
    return out


def fleet(nodes):
    """What kustomize makes of deploy/fleet and a nodes.yaml, in short."""
    patches = {kind: manifest(f"fleet/{name}") for kind, name in (("Job", "job.yaml"), ("CronJob", "export.yaml"))}
    made = []
    for one in yaml.safe_load_all(nodes):
        whole = merged(one, patches[one["kind"]])
        whole["metadata"].update(name=one["metadata"]["name"], namespace="ctriage")
        made.append(whole)
    return made


def pod_spec(resource):
    spec = resource["spec"]
    if resource["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec if resource["kind"] == "Pod" else spec["template"]["spec"]


def fleet_environment():
    with open(os.path.join(DEPLOY, "fleet/fleet.env"), encoding="ascii") as file:
        return dict(line.strip().split("=", 1) for line in file if re.match("[A-Z]", line))


def some_nodes():
    with open(os.path.join(DEPLOY, "fleet/nodes.yaml"), encoding="ascii") as file:
        return file.read()


class Archive(Case):
    """Of a small static program; what it is does not matter to an image."""

    @classmethod
    def setUpClass(cls):
        lab.need("gcc")
        cls.dir = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        program = lab.build_implant(lab.BUILD_DIR)
        cls.files = {"amd64": program, "arm64": program[:18] + b"\xb7\0" + program[20:], "certificates": b"certificates\n"}
        for name, data in cls.files.items():
            with open(os.path.join(cls.dir, name), "wb") as file:
                file.write(data)
        cls.options = ["--binary", f"arm64={cls.dir}/arm64", "--binary", f"amd64={cls.dir}/amd64", "--certificates", f"{cls.dir}/certificates"]
        cls.path = os.path.join(cls.dir, "a.oci.tar")
        cls.made = make_image(cls.path, *cls.options)

    def blobs(self, path):
        with tarfile.open(path) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}

    def test_the_same_bytes(self):
        self.assertEqual(self.made.returncode, 0, self.made.stderr)
        other = os.path.join(self.temp(), "b.oci.tar")
        again = make_image(other, *self.options[2:4], *self.options[:2], *self.options[4:])
        self.assertEqual((again.stdout, lab.sha256_file(other)), (self.made.stdout, lab.sha256_file(self.path)))
        later = make_image(other, *self.options, SOURCE_DATE_EPOCH="1800000000")
        self.assertNotEqual(later.stdout, self.made.stdout)
        self.assertIn(b"2027-01-15T08:00:00Z", self.blobs(other)["blobs/sha256/" + later.stdout.strip().removeprefix("sha256:")])

    def test_what_is_in_it(self):
        blobs = self.blobs(self.path)
        for name, data in blobs.items():
            if name.startswith("blobs/sha256/"):
                self.assertEqual(lab.hashlib.sha256(data).hexdigest(), os.path.basename(name))

        def blob(descriptor):
            data = blobs["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
            self.assertEqual(len(data), descriptor["size"])
            return data

        self.assertEqual(json.loads(blobs["oci-layout"]), {"imageLayoutVersion": "1.0.0"})
        (top,) = json.loads(blobs["index.json"])["manifests"]
        self.assertEqual(top["digest"] + "\n", self.made.stdout)
        index = json.loads(blob(top))
        self.assertEqual([m["platform"]["architecture"] for m in index["manifests"]], ["amd64", "arm64"])
        for one in index["manifests"]:
            platform = json.loads(blob(one))
            config, (layer,) = json.loads(blob(platform["config"])), platform["layers"]
            packed = blob(layer)
            self.assertEqual((packed[3], packed[4:8]), (0, bytes(4)), "gzip's header has a name or a time")
            data = gzip.decompress(packed)
            self.assertEqual(config["rootfs"]["diff_ids"], ["sha256:" + lab.hashlib.sha256(data).hexdigest()])
            self.assertEqual(config["architecture"], one["platform"]["architecture"])
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                self.assertEqual([(m.name, oct(m.mode), m.uid, m.gid, m.mtime) for m in tar if not m.isdir()],
                                 [("etc/ssl/certs/ca-certificates.crt", "0o644", 0, 0, 0), ("usr/bin/ctriage", "0o755", 0, 0, 0)])
                self.assertEqual(tar.extractfile("usr/bin/ctriage").read(), self.files[config["architecture"]])
                self.assertEqual([(m.name, oct(m.mode)) for m in tar if m.isdir() and m.mode != 0o755], [("tmp", "0o1777")])

    def test_what_would_not_start_is_refused(self):
        for word, why in ((f"amd64={self.dir}/arm64", "another machine"), ("amd64=/bin/ls", "not static"), (f"amd64={DEPLOY}/job.yaml", "not a 64-bit"),
                          (f"riscv64={self.dir}/amd64", "ARCHITECTURE=FILE")):
            with self.subTest(word):
                refused = make_image(self.dir + "/no.tar", "--binary", word)
                self.assertNotEqual(refused.returncode, 0)
                self.assertIn(why, refused.stderr)
                self.assertFalse(os.path.exists(self.dir + "/no.tar"))

    def test_our_own_reader(self):
        name = json.loads(self.blobs(self.path)["index.json"])["manifests"][0]["annotations"]["io.containerd.image.name"]
        for platform in ("linux/amd64", "linux/arm64/v8"):
            self.expect(ctriage("image", "verify", self.path, "-c", f"{name} {platform}"), 0)
            run = self.expect(ctriage("ls", f"{self.path}:/usr/bin", "-c", f"{name} {platform}"), 0)
            self.assertIn(b"ctriage", run.out)

    def test_podman_takes_it(self):
        lab.need_root()
        lab.need("podman", "runc")
        podman = Podman()
        self.addCleanup(podman.stop)
        loaded = podman.run("load", "-i", self.path).stdout.split()[-1]
        image = json.loads(podman.run("image", "inspect", loaded).stdout)[0]
        self.assertEqual((image["Architecture"], image["Config"]["Entrypoint"]), ("amd64", ["/usr/bin/ctriage"]))


class Manifests(unittest.TestCase):
    maxDiff = None

    def on_the_node(self):
        """Everything that gets the node's rights."""
        made = [manifest("pod.yaml"), manifest("job.yaml"), *fleet(some_nodes())]
        return [one for one in made if one["kind"] != "CronJob"]

    def test_what_the_node_gives(self):
        for one in self.on_the_node():
            spec = pod_spec(one)
            with self.subTest(one["metadata"]["name"]):
                self.assertTrue(spec["hostPID"] and spec["hostNetwork"] and spec["nodeName"])
                self.assertEqual(spec["tolerations"], [{"operator": "Exists"}])
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertEqual(spec["restartPolicy"], "Never")
                self.assertNotIn("priorityClassName", spec)
                for container in spec["containers"]:
                    self.assertEqual(container["securityContext"], {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True})
                    self.assertEqual(set(container["resources"]), {"requests"})
                    self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"})
                    self.assertIn({"name": "host", "mountPath": "/host", "readOnly": True, "recursiveReadOnly": "IfPossible",
                                   "mountPropagation": "None"}, container["volumeMounts"])
                self.assertNotIn("secret", str(spec["volumes"]))
                self.assertEqual(spec["volumes"][0], {"name": "host", "hostPath": {"path": "/", "type": "Directory"}})

    def test_the_same_everywhere(self):
        """But for what is run, and where evidence goes to."""
        def common(one):
            spec = copy.deepcopy(pod_spec(one))
            for key in ("nodeName", "containers", "volumes", "activeDeadlineSeconds"):
                spec.pop(key, None)
            return spec

        first, *others = self.on_the_node()
        for other in others:
            self.assertEqual(common(other), common(first))

    def test_what_sends_has_no_rights(self):
        for one in fleet(some_nodes()):
            if one["kind"] == "CronJob":
                spec = pod_spec(one)
                (container,) = spec["containers"]
                self.assertNotIn("hostPID", spec)
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
                self.assertNotIn("privileged", container["securityContext"])
                self.assertEqual([v.get("hostPath", {}).get("path") for v in spec["volumes"]], ["/var/lib/ctriage", None])
                self.assertEqual(spec["volumes"][1]["secret"]["defaultMode"], 0o400)

    def test_images_by_digest(self):
        for name in ("pod.yaml", "job.yaml"):
            for container in pod_spec(manifest(name))["containers"]:
                self.assertRegex(container["image"], r"^[^@:]+@sha256:[0-9a-f]{64}$")
        (image,) = manifest("fleet/kustomization.yaml")["images"]
        self.assertRegex(image["digest"], r"^sha256:[0-9a-f]{64}$")

    def test_kustomize(self):
        """Where there is a kubectl whose kustomize has patches with targets (1.21): it makes what we run here."""
        has = shutil.which("kubectl") and re.search(r"Kustomize Version: v(\d+)", subprocess.run(
            ["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout)
        if not has or int(has.group(1)) < 4:
            print("      no kubectl of 1.21 or newer: kustomize's result was not compared")
            return
        out = subprocess.run(["kubectl", "kustomize", os.path.join(DEPLOY, "fleet")], capture_output=True, text=True, check=True).stdout
        made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(out)}
        (settings,) = [one for kind, one in made.items() if kind[0] == "ConfigMap"]
        (image,) = manifest("fleet/kustomization.yaml")["images"]
        ours = json.loads(json.dumps(fleet(some_nodes())).replace('Ref": {"name": "ctriage-fleet"', f'Ref": {{"name": "{settings["metadata"]["name"]}"')
                          .replace('"image": "ctriage"', f'"image": "{image["newName"]}@{image["digest"]}"'))
        self.assertEqual(len(made), len(ours) + 1)
        for one in ours:
            self.assertEqual(made[one["kind"], one["metadata"]["name"]], one)


class Nodes(Case):
    def jobs(self, text):
        path = os.path.join(self.temp(), "NODES.txt")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return subprocess.run([os.path.join(DEPLOY, "fleet/nodes.sh"), path], capture_output=True, text=True, check=False)

    def test_each_node_once(self):
        long = "ip-10-0-1-17.with-a-very-long-name.eu-west-1.compute.internal"
        made = self.jobs(f"worker-1\r\n\n# not now: worker-9\nworker-2 \n{long}\nworker-1\n{long}2")
        self.assertEqual(made.returncode, 0, made.stderr)
        every = fleet(made.stdout)
        self.assertEqual(sorted({pod_spec(one)["nodeName"] for one in every}), [long, long + "2", "worker-1", "worker-2"])
        names = [(one["kind"], one["metadata"]["name"]) for one in every]
        self.assertEqual((len(names), len(set(names))), (8, 8))
        for _, name in names:
            self.assertRegex(name, r"^[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])$")

    def test_what_is_no_name(self):
        for text in ("worker;1", "Worker-1", "$(id)", '"a"'):
            made = self.jobs("worker-1\n" + text + "\n")
            self.assertEqual(made.returncode, 1)
            self.assertIn("not the name of a node", made.stderr)


class OnContainerd(Case):
    """A real containerd with an intruder's pod; the image runs beside it as the manifests say."""

    @classmethod
    def setUpClass(cls):
        lab.need_root()
        lab.need("containerd", "runc", "ctr", "gcc", "age", "age-keygen", "openssl")
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.web = cls.lab.run_pod(NS, "web", "app", lab.intrusion(lab.free_port()) + "while :; do sleep 1000; done")
        cls.web.wait_for_log("intrusion played")
        cls.s3 = S3()
        cls.addClassCleanup(cls.s3.stop)

    def image(self):
        """Its reference by digest, as a manifest has it. The only certificate in it is that of our object storage."""
        if not os.access(STATIC, os.X_OK):
            self.skipTest(f"no static ctriage at {STATIC}: ./run.sh package")
        if not hasattr(type(self), "reference"):
            path = os.path.join(self.temp(), "ctriage.oci.tar")
            made = make_image(path, "--binary", f"amd64={STATIC}", "--certificates", self.s3.ca)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertLess(os.path.getsize(path), 40_000_000)
            name = "registry.example/ctriage"
            subprocess.run(["ctr", "-a", self.lab.socket, "-n", "k8s.io", "images", "import", "--digests", "--base-name", name, path], check=True,
                           stdout=subprocess.DEVNULL)
            type(self).reference = f"{name}@{made.stdout.strip()}"
        return self.reference

    def start(self, spec, volumes=None, environment=None, pod="ctriage"):
        """The containers' ids and logs; `spec` as a manifest has it, but for the image."""
        for container in spec["containers"]:
            container["image"] = self.image()
        volumes = volumes or {}
        sandbox, started, _ = run_spec(self.lab.socket, NS, pod, spec, self.lab.logs, volumes, environment or {})
        self.lab.pods.append(sandbox)
        self.addCleanup(lambda: sandbox in self.lab.pods and self.lab.remove_pod(sandbox))
        return started

    def ended(self, started, name):
        """Status, standard output and error of a container, as the kubelet would log them."""
        container, log = started[name]
        for _ in range(1200):
            status = exit_code(self.lab.socket, container)
            if status is not None:
                break
            time.sleep(0.1)
        out = {"stdout": "", "stderr": ""}
        with open(log, encoding="utf-8") as file:
            for line in file:
                _, stream, tag, text = line.rstrip("\n").split(" ", 3)
                out[stream] += text + ("\n" if tag == "F" else "")
        self.assertIsNotNone(status, out)
        return status, out["stdout"], out["stderr"]

    def inside(self, container, *arguments):
        """kubectl exec."""
        command = ["ctr", "-a", self.lab.socket, "-n", "k8s.io", "task", "exec", "--exec-id", f"e{os.urandom(4).hex()}", container,
                   "ctriage", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
        return Run(list(arguments), done, done.stdout, done.stderr)

    def test_the_pod(self):
        spec = pod_spec(manifest("pod.yaml"))
        (container, _), = self.start(spec).values()
        run = self.expect(self.inside(container, "list", "--json"), 0, 3)
        mine = {r["pod"]["name"]: r for r in run.json()["containers"] if (r.get("pod") or {}).get("namespace") == NS and not r["sandbox"]}
        self.assertEqual((mine["web"]["id"], mine["web"]["init_pid"]), (self.web.container_id, self.web.pid))
        self.assertEqual(mine["ctriage"]["mark"], "ourselves")
        self.assertEqual(run.json()["node"], os.uname().nodename)
        run = self.expect(self.inside(container, "drift", f"{NS}/web", "--json"), 0, 3)
        self.assertLessEqual({"CT-EXEC-001", "CT-EXEC-002", "CT-FILE-001"}, {f["rule"] for f in run.json()["findings"]})
        self.assertEqual([g for g in run.json()["gaps"] if g["impact"] == "lost"], [])
        untouched = lab.Untouched([self.web.upper, *self.web.lowers], self.web.pids())
        run = self.expect(self.inside(container, "collect", f"{NS}/web", "-o", "-", "--case", "IR-41"), 0)
        self.assertEqual((untouched.changed(), untouched.grown()), ([], []))
        path = os.path.join(self.temp(), "web.ctriage.tar")
        with open(path, "wb") as file:
            file.write(run.out)
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            self.assertEqual({p["pid"] for p in bundle.records("containers/app/processes.jsonl")}, self.web.pids())
            self.assertIn("usr/local/bin/.httpd", bundle.layer("app"))
            self.assertEqual([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])
            self.assertEqual(bundle.json("bundle.json")["source"]["node"], os.uname().nodename)
            # The node's network namespace is ours: what is missing of its flows is the kernel's doing.
            self.assertNotIn("network namespace: what the node tracks", str(bundle.records("gaps.jsonl")))
        # Nothing of the node can be written through /host.
        with open(f"/proc/{self.pid_of(container)}/mountinfo", encoding="utf-8") as file:
            (host,) = [line.split() for line in file if line.split()[4] == "/host"]
        self.assertIn("ro", host[5].split(","))
        # Told to end, it ends by itself.
        began = time.monotonic()
        os.kill(self.pid_of(container), lab.signal.SIGTERM)
        for _ in range(100):
            if exit_code(self.lab.socket, container) is not None:
                break
            time.sleep(0.1)
        self.assertLess(time.monotonic() - began, 5)

    def pid_of(self, container):
        with open(f"{self.lab.base}/state/io.containerd.runtime.v2.task/k8s.io/{container}/init.pid", encoding="ascii") as file:
            return int(file.read())

    def test_without_host_pid(self):
        """Where that is not granted: through /host, and nothing has to be typed for it."""
        spec = pod_spec(manifest("pod.yaml"))
        spec["hostPID"] = False
        (container, _), = self.start(spec, pod="own-pid").values()
        run = self.expect(self.inside(container, "list", "--json"), 0, 3)
        self.assertIn(self.web.container_id, {r["id"] for r in run.json()["containers"]})
        run = self.expect(self.inside(container, "drift", f"{NS}/web", "--json"), 0, 3)
        self.assertLessEqual({"CT-EXEC-001", "CT-EXEC-002", "CT-FILE-001"}, {f["rule"] for f in run.json()["findings"]})

    def test_without_the_rights(self):
        """What is missing, and the command line that has it."""
        spec = pod_spec(manifest("pod.yaml"))
        (container,) = spec["containers"]
        spec["hostPID"], container["volumeMounts"] = False, []
        container["securityContext"] = {}
        (plain, _), = self.start(spec, pod="plain").values()
        for arguments, statuses in ((["list"], [3]), (["diff", f"{NS}/web"], [1]), (["drift", f"{NS}/web"], [1])):
            with self.subTest(arguments):
                run = self.expect(self.inside(plain, *arguments), *statuses)
                self.assertRegex((run.out + run.err).decode(), r"kubectl debug node/NODE -it --image=IMAGE\s+--profile=sysadmin")

    def test_the_job(self):
        evidence = self.temp()
        spec = pod_spec(manifest("job.yaml"))
        (container,) = spec["containers"]
        container["args"] = [f"{NS}/web" if word == "NAMESPACE/POD" else word for word in container["args"]]
        status, out, err = self.ended(self.start(spec, {"evidence": evidence}, pod="job"), "ctriage")
        self.assertEqual(status, 0, out + err)
        path = self.one_bundle(evidence)
        self.assertTrue(os.path.basename(path).startswith(f"CASE_{os.uname().nodename}_web_"), path)
        self.expect(ctriage("verify", path), 0)

    def test_the_fleet(self):
        """The Job, then the CronJob; its lines into the tables."""
        evidence, login = self.temp(), self.temp()
        key, recipient = lab.age_key(login)
        with open(os.path.join(login, "credentials"), "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o400)) as file:
            file.write("[default]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in self.s3.keys().items()))
        environment = fleet_environment()
        environment.update(CASE="IR-41", CTRIAGE_RECIPIENTS=recipient, DESTINATION="s3://bucket/IR-41", AWS_REGION=REGION,
                           AWS_ENDPOINT_URL_S3=f"https://localhost:{self.s3.port}")
        job, export = (pod_spec(one) for one in fleet(some_nodes())[:2])
        for container in job["containers"]:
            container["args"] += ["-n", NS]  # others may have containers on this machine
        started = self.start(job, {"evidence": evidence}, environment, pod="fleet")
        lines = []
        for name in ("collect", "sweep"):
            status, out, err = self.ended(started, name)
            self.assertIn(status, (0, 3), out + err)
            (line,) = out.splitlines()
            lines.append(line)
        collected = json.loads(lines[0])
        self.assertEqual([(b["target"], b["bundle"]["encrypted_to"]) for b in collected["bundles"]], [(f"{NS}/web", [recipient])])
        self.assertIn("where ctriage itself runs", str(collected["left_out"]))
        for count in (1, 0):  # a second run has nothing to send
            status, out, err = self.ended(self.start(export, {"evidence": evidence, "login": login}, environment, pod="export"), "export")
            self.assertEqual(status, 0, out + err)
            (line,) = out.splitlines()
            (place,) = json.loads(line)["destinations"]
            self.assertEqual((place["complete"], place["proof"], place["volumes"] - place["volumes_before"]), (True, "hash", count))
            lines.append(line)
        path = self.one_bundle(evidence, ".age")
        (there,) = glob.glob(glob.escape(self.s3.inbox) + "/IR-41%*.ctriage.tar.age")
        self.assertEqual(lab.sha256_file(there), lab.sha256_file(path))
        self.expect(ctriage("verify", "--identity", key, there), 0)
        rows = the_views().rows(lines)
        self.assertEqual([(r["target"], r["path"]) for r in rows["bundle"]], [(f"{NS}/web", "/evidence/" + os.path.basename(path))])
        self.assertEqual([r["complete"] for r in rows["sent"]], [True, True])
        self.assertIn(f"{NS}/web", {r["target"] for r in rows["finding"]})


def the_views():
    with open(os.path.join(DEPLOY, "fleet/clickhouse.sql"), encoding="ascii") as file:
        return Views(file.read())


class Tables(Case):
    """deploy/fleet/clickhouse.sql against lib/model/SCHEMA.md and against what the program prints."""

    # In no column: found by a query, of no use across nodes, or a secret.
    LEFT_OUT = re.compile(r"""^(schema|shared|replicas|indicators|left_out|took_ns|complete|exit_status|size_bytes|volumes|insecure|dry_run|gaps)\b
                          |containers\[\]\.container\.(sandbox|pod|labels|environ|cwd|terminal|mounts|cgroup|bundle_dir|root_dir|record
                              |engine_root|log_dir|init_start_ticks|finished_at|exit_code|seccomp_filters)\b
                          |^bundles\[\]\.bundle\.(schema|exit_status|counts|hold_ns|state_ns|cpu_ns|frozen_ns|resident_growth_bytes|gaps)\b
                          |^destinations\[\]\.programs""", re.X)

    def test_what_the_program_prints(self):
        lab.need_root()
        lab.need("unshare", "pivot_root")
        with lab.Box("echo x >/tmp/x; cp /bin/busybox /tmp/.d; /tmp/.d sleep 1000 & while :; do sleep 1000; done") as box:
            out, there, indicators = self.temp(), self.temp(), os.path.join(self.temp(), "f")
            with open(indicators, "w", encoding="ascii") as file:
                file.write("/tmp/.d\n")
            time.sleep(0.5)
            lines = [self.expect(ctriage("sweep", "--all", "--format", "jsonl", "-f", indicators, f"pid:{box.pid}", "pid:4194304"), 0, 1, 3).out]
            lines.append(self.expect(ctriage("collect", f"pid:{box.pid}", "pid:4194304", "--memory", "none", "-o", out, "--format", "jsonl"), 0, 1, 3).out)
            lines.append(self.expect(ctriage("export", "--queue", out, "file:" + there, "--json"), 0).out)
        for line in lines:
            self.assertEqual(line.count(b"\n"), 1)
        views = the_views()
        rows = views.rows(lines)
        self.assertEqual([t for t in views.tables if not rows[t]], [])
        self.assertEqual([r["severity"] for r in rows["finding"] if r["path"] == "/tmp/.d"][:1], ["high"])
        self.assertIn(("lost", "sweep"), [(r["impact"], r.get("artifact")) for r in rows["gap"]])
        self.assertEqual([r["complete"] for r in rows["sent"]], [True])
        for table, columns in views.tables.items():
            for row in rows[table]:
                self.assertLessEqual(set(row), set(columns))
        # What is printed and nowhere kept is known here.
        seen = set()
        for line in lines:
            self.places(json.loads(line), "", seen)
        unkept = {where for where in seen - views.touched if not any(t.startswith(where) for t in views.touched)
                  and not any(where.startswith(t + "[]") for t in views.touched)}
        self.assertEqual(sorted(where for where in unkept if not self.LEFT_OUT.search(where)), [])

    def places(self, value, where, seen):
        if isinstance(value, dict):
            for key, inner in value.items():
                if not key.endswith("_b64"):
                    self.places(inner, f"{where}.{key}".lstrip("."), seen)
        elif isinstance(value, list) and value:
            for inner in value:
                self.places(inner, where + "[]", seen)
        else:
            seen.add(where)

    def test_before_the_settings_are_written(self):
        """The recipient that stands in fleet.env is none: nothing is taken that would lie there unencrypted."""
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{os.getpid()}", "-o", out, env=fleet_environment()), 1, 2)
        self.assertIn(b"age1REPLACE", run.err)
        self.assertEqual(os.listdir(out), [])

    def test_types_are_the_schema_s(self):
        """Each column is called as a key of the artifact it holds, and is of its type."""
        with open(os.path.join(REPOSITORY, "lib/model/SCHEMA.md"), encoding="utf-8") as file:
            text = file.read()
        schema = {kind: dict(re.findall(r"^\| (\w+) \| ([^|]+) \|", table, re.M))
                  for kind, table in re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", text, re.M | re.S)}
        of = {"container": ["container", "swept_container"], "program": ["swept_program"], "finding": ["finding"], "gap": ["gap"],
              "indicator_match": ["indicator_match"], "bundle": ["collected_target", "collect", "collect_counts"],
              "sent": ["export_destination", "export"]}
        ours = {"received", "node", "target"}
        types = {"string": "String", "bytes": "String", "integer": "UInt64", "boolean": "Bool", "time": "DateTime64(9, 'UTC')"}
        tables = the_views().tables
        self.assertEqual(set(tables), set(of))
        for table, columns in tables.items():
            for column, kind in columns.items():
                if column in ours or (table, column) == ("program", "container"):
                    continue
                with self.subTest(f"{table}.{column}"):
                    (word,) = [schema[k][column] for k in of[table] if column in schema[k]][:1] or [None]
                    plain = re.sub(r"LowCardinality\((\w+)\)", r"\1", kind)
                    if word.startswith("one of "):
                        self.assertTrue(plain == "String" or [n for n in re.findall(r"'(\w+)' =", plain)] == word[7:].split(", "), (word, kind))
                    elif word.startswith("list of "):
                        self.assertEqual(plain, "Array(String)")
                    else:
                        name = types[word.removeprefix("optional ")]
                        self.assertIn(plain, {name, f"Nullable({name})"} if name != "String" else {name})
                        if word in ("optional integer", "optional time"):
                            self.assertEqual(plain, f"Nullable({name})")
