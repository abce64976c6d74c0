"""deploy/: the image, what the manifests say, the image run as they say, and the tables for what it prints."""
import copy
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
from engines import Podman
from lab import Case, ctriage

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
DEPLOY = os.path.join(REPOSITORY, "deploy")
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
