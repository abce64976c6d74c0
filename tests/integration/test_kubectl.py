"""deploy/kubectl-ctriage with a real kubectl against an API server of the tests' own (kube_stub.py), whose exec runs ctriage here."""
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import kube_stub
import lab
from lab import Box, Case, ctriage

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGIN = os.path.join(HERE, "../../deploy/kubectl-ctriage")
UNPACKED = os.path.join(HERE, "../../build/kubernetes-client/usr/bin/kubectl")  # ./run.sh test puts Debian's there
IMAGE = "registry.example/ctriage@sha256:" + "5" * 64
POD, NODE, OTHER = "web-7d9f8c6b5-x2x4q", "ip-10-0-3-17", "ip-10-0-3-18"


def kubectl():
    found = os.environ.get("KUBECTL") or (UNPACKED if os.access(UNPACKED, os.X_OK) else shutil.which("kubectl"))
    if not found:
        raise lab.unittest.SkipTest("needs kubectl, which ./run.sh test unpacks below build/")
    return os.path.abspath(found)


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "bash", "od", "mkfifo")
    kubectl()


def owner(kind, name, version="apps/v1"):
    return {"ownerReferences": [{"apiVersion": version, "kind": kind, "name": name, "uid": "u-" + name, "controller": True}]}


class Kubectl(Case):
    @classmethod
    def setUpClass(cls):
        cls.box = Box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                      files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.addClassCleanup(cls.box.stop)

    def setUp(self):
        self.home, self.out = self.temp(), self.temp()
        self.kube = kube = kube_stub.Kube(lab.binary())
        self.addCleanup(kube.stop)
        for ns in ("shop", "ctriage"):
            kube.add("namespaces", "", ns)
        for node in (NODE, OTHER):
            kube.add("nodes", "", node)
        labels = {"app": "web", "pod-template-hash": "7d9f8c6b5", "tier": "front"}
        kube.add("deployments", "shop", "web", spec={"selector": {"matchLabels": {"app": "web"}}})
        kube.add("replicasets", "shop", "web-7d9f8c6b5", metadata=owner("Deployment", "web"),
                 spec={"selector": {"matchLabels": {"app": "web", "pod-template-hash": "7d9f8c6b5"}}})
        self.pod(POD, NODE, metadata={"labels": labels, **owner("ReplicaSet", "web-7d9f8c6b5")})
        uid = kube.objects[("pods", "shop", POD)]["metadata"]["uid"]
        for name, of in (("web.1", uid), ("other.1", "somebody-else")):
            kube.add("events", "shop", name, involvedObject={"uid": of}, reason="Killing" if of == uid else "Foreign")
        kube.add("services", "shop", "web", spec={"selector": {"app": "web"}})
        kube.add("services", "shop", "db", spec={"selector": {"app": "db"}})

    def pod(self, name, node, ns="shop", phase="Running", **parts):
        spec = {"containers": [{"name": "app"}], **({"nodeName": node} if node else {})}
        self.kube.targets[f"pod:{ns}/{name}"] = f"pid:{self.box.pid}"
        return self.kube.add("pods", ns, name, spec=spec, status={"phase": phase}, **parts)

    def start(self, *words, **env):
        environment = {**os.environ, **lab.SANITIZER, "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config"), "KUBECTL": kubectl(),
                       "CTRIAGE": lab.binary(), "CTRIAGE_IMAGE": IMAGE, **env}
        return subprocess.Popen([PLUGIN, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.out,
                                env=environment, start_new_session=True)

    def run_plugin(self, *words, **env):
        run = lab.finish(self.start(*words, **env))
        self.assertEqual(re.findall(rb"[^\t\n -~]", run.out + run.err), [], str(run))
        return run

    def verbs(self, *of):
        return [request[:4] for request in self.kube.requests if request[0] in of]

    def asked(self):
        return [request[0] for request in self.kube.requests]

    def assert_gone(self):
        self.assertEqual(self.kube.helpers(), [])

    def recording(self, *options):
        """One true collect, to be played again: what came on both streams, and its status."""
        process = subprocess.run([lab.binary(), "collect", f"pid:{self.box.pid}", "-o", "-", "--json", "--skip", "memory,node", *options],
                                 capture_output=True, check=False)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout, process.stderr, 0

    def parts(self):
        return glob.glob(self.out + "/*.part")

    def wipe(self):
        shutil.rmtree(self.out)
        os.mkdir(self.out)

    # collect --------------------------------------------------------------------------------------------------------

    def test_collect(self):
        self.kube.phases = ["Pending", "Pending ContainerCreating", "Running"]
        run = self.expect(self.run_plugin("collect", "-n", "shop", "web-7d9f", "--case", "IR-41", "--skip", "node", "--by", "A. Examiner"), 0)
        path = self.one_bundle(self.out)
        self.assertRegex(os.path.basename(path), rf"^IR-41_{NODE}_{POD}_\d{{8}}T\d{{6}}Z\.ctriage\.tar$")
        digest = self.expect(ctriage("verify", path, "--json"), 0).json()["manifest_sha256"]
        self.assertIn(f"sha256    {digest}", run.out.decode())
        self.assertIn(b"ContainerCreating", run.err)
        self.assertIn(b"runs from memory", run.err)  # the screen of the node, as it goes
        self.assertNotIn(b"command terminated", run.err)
        self.assertEqual(self.kube.commands, [["ctriage", "collect", f"pod:shop/{POD}", "-o", "-", "--json", "--case", "IR-41", "--skip", "node"]])

        # What the API had was read before anything was made, and is in the chain of custody.
        self.assertLess(max(i for i, r in enumerate(self.kube.requests) if r[1] in ("events", "replicasets", "deployments")), self.asked().index("create"))
        stem = path.removesuffix(".ctriage.tar")
        for name, words in (("pod", ["tier: front", POD]), ("events", ["Killing"]), ("owners", ["kind: ReplicaSet", "kind: Deployment", "name: web"])):
            with open(f"{stem}.{name}.yaml", encoding="ascii") as file:
                text = file.read()
            for word in words:
                self.assertIn(word, text)
            self.assertNotIn("Foreign", text)
            self.assertEqual(os.stat(f"{stem}.{name}.yaml").st_mode & 0o777, 0o600)
            with open(f"{stem}.attach/{os.path.basename(stem)}.{name}.yaml", encoding="ascii") as file:
                self.assertEqual(file.read(), text)
        self.expect(ctriage("custody", "check", path), 0)
        with open(stem + ".custody.jsonl", encoding="ascii") as file:
            hands = [json.loads(line) for line in file]
        self.assertEqual(hands[0]["action"], "had from the API server before collection: pod.yaml")
        self.assertEqual([(h["by"], h["attached"]["name"].split("Z.")[-1]) for h in hands],
                         [("A. Examiner", f"{n}.yaml") for n in ("pod", "events", "owners")])

        # What was made is of deploy/pod.yaml's shape, and is gone.
        made, = self.kube.created
        spec, box = made["spec"], made["spec"]["containers"][0]
        self.assertEqual((spec["nodeName"], spec["hostPID"], spec["automountServiceAccountToken"], spec["tolerations"], spec["restartPolicy"]),
                         (NODE, True, False, [{"operator": "Exists"}], "Never"))
        self.assertEqual((box["image"], box["securityContext"]["privileged"], box["securityContext"]["readOnlyRootFilesystem"]), (IMAGE, True, True))
        self.assertEqual(box["volumeMounts"], [{"name": "host", "mountPath": "/host", "readOnly": True, "recursiveReadOnly": "IfPossible", "mountPropagation": "None"}])
        self.assertEqual(set(box["resources"]), {"requests"})
        self.assertEqual(made["metadata"]["namespace"], "ctriage")
        self.assertRegex(made["metadata"]["name"], "^ctriage-[0-9a-f]{10}$")
        self.assert_gone()

    def test_the_shape_of_deploy_pod_yaml(self):
        path = os.path.join(HERE, "../../deploy/pod.yaml")
        if not os.path.exists(path):
            self.skipTest("no deploy/pod.yaml")
        self.kube.play = (b"\n", b"", 0)
        self.expect(self.run_plugin("drift", POD), 0)
        env = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config")}
        shown = subprocess.run([kubectl(), "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", path], env=env, capture_output=True, check=True)
        pod, ours = json.loads(shown.stdout), self.kube.created[0]
        own = ("nodeName", "activeDeadlineSeconds", "terminationGracePeriodSeconds")  # a name of its own, and less time
        for spec in (pod["spec"], ours["spec"]):
            for name in own:
                spec.pop(name, None)
            spec["containers"][0].pop("image")
        self.assertEqual(ours["spec"], pod["spec"])
        self.assertEqual([ours["metadata"][k] for k in ("labels", "annotations")], [pod["metadata"][k] for k in ("labels", "annotations")])

    def test_by_kubectl(self):
        env = {"PATH": os.path.dirname(PLUGIN) + ":" + os.environ["PATH"], "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config")}
        run = subprocess.run([kubectl(), "ctriage", "isolate", "-n", "shop", POD], env=env, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn(b"NetworkPolicy", run.stdout)
        helped = subprocess.run([kubectl(), "ctriage", "--help"], env=env, capture_output=True, check=False)
        self.assertEqual((helped.returncode, helped.stderr), (0, b""))

    def test_the_status_of_the_node_is_ours(self):
        out, err, _ = self.recording()
        for status in (3, 4):
            with self.subTest(status):
                self.wipe()
                self.kube.play = (out, err.replace(b'"exit_status":0', b'"exit_status":%d' % status), status)
                self.expect(self.run_plugin("collect", POD), status)
                self.one_bundle(self.out)
        # The connection broke after the last byte: all of it is there all the same.
        self.wipe()
        self.kube.play, self.kube.status = (out, err, 0), 1
        self.assertIn(b"after all of it had arrived", self.expect(self.run_plugin("collect", POD), 0).err)
        # And the other way round: exec says 0, ctriage said 3.
        self.wipe()
        self.kube.play, self.kube.status = (out, err.replace(b'"exit_status":0', b'"exit_status":3'), 0), 0
        self.expect(self.run_plugin("collect", POD), 3)
        self.assert_gone()

    def test_a_collect_that_fails(self):
        self.kube.play = (b"", b"ctriage: no such pod\n", 1)
        run = self.expect(self.run_plugin("collect", POD), 1)
        self.assertIn(b"no such pod", run.err)
        self.assertIn(b"NOT COMPLETE", run.err)
        self.assertEqual(glob.glob(self.out + "/*.tar*"), [])
        self.assert_gone()

    # The stream cut ------------------------------------------------------------------------------------------------

    def cut_at(self, places, whole, suffix=".ctriage.tar"):
        """exec ends with 0 though the stream is cut: in turn by ended streams and a connection that closes."""
        for number, place in enumerate(places):
            with self.subTest(cut=place):
                self.wipe()
                self.kube.cut, self.kube.honest, self.kube.drop = place, number % 3 == 2, number % 3 == 1
                run = self.expect(self.run_plugin("collect", POD), 1)
                self.assertIn(b"NOT COMPLETE", run.err)
                self.assertNotIn(b"bundle ", run.out)
                self.assertEqual(glob.glob(self.out + "/*" + suffix), [], str(run))
                self.assertEqual(glob.glob(self.out + "/*.custody.jsonl"), [])
                if place:
                    part, = self.parts()
                    with open(part, "rb") as file:
                        self.assertEqual(file.read(), whole[:place])
                    self.assertIn(os.path.basename(part).encode(), run.err)
                else:
                    self.assertEqual(self.parts(), [])
                self.assertEqual(len(glob.glob(self.out + "/*.pod.yaml")), 1)  # what the API said stays
                self.assert_gone()

    def test_cut_at_any_byte(self):
        self.kube.play = self.recording()
        whole = self.kube.play[0]
        seed = int(os.environ.get("CTRIAGE_TEST_SEED", "41"))
        places = random.Random(seed).sample(range(2, len(whole) - 1), 12)
        self.cut_at([0, 1, 511, 512, len(whole) - 512, len(whole) - 1, len(whole) - 1, *places], whole)
        self.wipe()
        self.kube.cut = len(whole)
        self.kube.honest = False
        self.expect(self.run_plugin("collect", POD), 0)  # nothing is missing

    def test_exec_itself_says_nothing(self):
        """That kubectl ends with 0 when the end of a stream was dropped: what the plugin is there for."""
        self.kube.play, self.kube.cut, self.kube.honest = (b"x" * 100000, b"", 0), 70000, False
        env = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config")}
        run = subprocess.run([kubectl(), "exec", POD, "-c", "app", "--", "ctriage"], env=env, capture_output=True, check=False)
        self.assertEqual((run.returncode, len(run.stdout)), (0, 70000), run.stderr)

    def test_whom_to_encrypt_to(self):
        lab.need("age-keygen")
        key, recipient = lab.age_key(self.temp())
        file = os.path.join(self.temp(), "team")
        with open(file, "w", encoding="ascii") as out:
            out.write(f"# the team\n{recipient}\n")
        for words, env in ((["--encrypt-to", recipient], {}), ([f"--encrypt-to={file}"], {}), ([], {"CTRIAGE_RECIPIENTS": file})):
            with self.subTest(words):
                self.wipe()
                self.kube.commands.clear()
                self.expect(self.run_plugin("collect", POD, "--skip", "memory,node", *words, **env), 0)
                self.assertIn(recipient, self.kube.commands[0])  # a file that lies here does not lie there
                self.expect(ctriage("verify", "--identity", key, self.one_bundle(self.out, ".ctriage.tar.age")), 0)
        self.wipe()
        self.expect(self.run_plugin("collect", POD, "--skip", "memory,node", "--no-encrypt", CTRIAGE_RECIPIENTS=file), 0)
        self.one_bundle(self.out)

    def test_cut_encrypted(self):
        lab.need("age-keygen")
        key, recipient = lab.age_key(self.temp())
        self.kube.play = self.recording("--encrypt-to", recipient)
        whole = self.kube.play[0]
        # Between two chunks of age what came is a well-formed file: only the number of bytes tells.
        header = whole.index(b"\n---") + 1
        header = whole.index(b"\n", header) + 1 + 16
        places = [header + 65552, len(whole) - 1, random.Random(7).randrange(1, len(whole) - 1)]
        self.assertGreater(len(whole), places[0])
        self.cut_at(places, whole, ".ctriage.tar.age")
        self.kube.cut = None
        for words in ([], ["--identity", key]):
            self.wipe()
            run = self.expect(self.run_plugin("collect", POD, *words), 0)
            path = self.one_bundle(self.out, ".ctriage.tar.age")
            self.assertIn(b"decrypted to check" if words else b"ctriage verify --identity KEYFILE", run.out)
            self.expect(ctriage("verify", "--identity", key, path), 0)
            self.expect(ctriage("custody", "check", path), 0)
        # A key that does not open it proves nothing.
        self.wipe()
        other, _ = lab.age_key(self.temp())
        self.expect(self.run_plugin("collect", POD, "--identity", other), 1)
        self.assertEqual(len(self.parts()), 1)

    def test_the_word_of_the_pod_is_missing_or_another(self):
        out, err, _ = self.recording()
        digest = re.search(rb'"manifest_sha256":"([0-9a-f]{64})"', err).group(1)
        size = b'"size_bytes":%d' % len(out)
        for what, changed in (("none", b""), ("cut", err[:-2]), ("cut in the digest", err[:err.index(digest) + 20]), ("another", err.replace(digest, b"0" * 64)),
                              ("other size", err.replace(size, b'"size_bytes":%d' % (len(out) + 1))), ("no line", err.replace(b"ctriage.collect/1", b"x/1"))):
            with self.subTest(what):
                self.wipe()
                self.kube.play = (out, changed, 0)
                run = self.expect(self.run_plugin("collect", POD), 1)
                self.assertIn(b"NOT COMPLETE", run.err)
                self.assertEqual((len(self.parts()), glob.glob(self.out + "/*.ctriage.tar")), (1, []), str(run))
        self.assert_gone()

    def test_other_bytes(self):
        out, err, status = self.recording()
        middle = len(out) // 2
        self.kube.play = (out[:middle] + bytes([out[middle] ^ 1]) + out[middle + 1:], err, status)
        self.assertIn(b"NOT COMPLETE", self.expect(self.run_plugin("collect", POD), 1).err)
        self.assertEqual((len(self.parts()), glob.glob(self.out + "/*.ctriage.tar")), (1, []))

    # Signals ---------------------------------------------------------------------------------------------------------

    def test_a_signal_removes_the_pod(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for whole_group in (False, True):
                with self.subTest(number=number, whole_group=whole_group):
                    self.wipe()
                    self.kube.hold = threading.Event()
                    self.kube.commands.clear()
                    process = self.start("collect", POD)
                    self.until(lambda: self.kube.commands)
                    self.assertEqual(len(self.kube.helpers()), 1)
                    (os.killpg if whole_group else os.kill)(process.pid, number)
                    run = self.expect(lab.finish(process, 60), 3)
                    self.assert_gone()
                    self.assertIn(b"removed   pod ctriage/ctriage-", run.err)
                    self.assertEqual(glob.glob(self.out + "/*.ctriage.tar"), [])

    def test_a_signal_in_the_stream(self):
        self.kube.play, self.kube.cut, self.kube.hold = self.recording(), 30000, threading.Event()
        whole = self.kube.play[0]
        process = self.start("collect", POD)
        self.until(lambda: [p for p in self.parts() if os.path.getsize(p) == 30000])
        process.send_signal(signal.SIGINT)
        run = self.expect(lab.finish(process, 60), 3)
        self.assert_gone()
        part, = self.parts()
        with open(part, "rb") as file:
            self.assertEqual(file.read(), whole[:30000])
        self.assertIn(b"verify --salvage", run.err)

    def test_no_room_here(self):
        self.kube.play = self.recording()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", self.out], check=True)
        self.addCleanup(subprocess.run, ["umount", self.out], check=True)
        run = self.expect(self.run_plugin("collect", POD), 1)
        self.assertIn(b"No space left", run.err)
        self.assertIn(b"NOT COMPLETE", run.err)
        self.assertEqual(glob.glob(self.out + "/*.ctriage.tar"), [])
        self.assert_gone()

    def test_a_signal_while_it_starts(self):
        self.kube.phases = ["Pending ImagePullBackOff"]
        process = self.start("drift", POD)
        self.until(lambda: self.kube.created and ("get", "pods", "ctriage") in [r[:3] for r in self.kube.requests])
        process.send_signal(signal.SIGINT)
        self.expect(lab.finish(process, 60), 3)
        self.assert_gone()

    def until(self, true):
        for _ in range(600):
            if true():
                return
            time.sleep(0.05)
        self.fail("it did not come to that")

    def test_what_cannot_be_removed_is_told(self):
        self.kube.forbidden.add(("delete", "pods"))
        run = self.expect(self.run_plugin("collect", POD, "--skip", "memory,node"), 1)
        name, = self.kube.helpers()
        self.assertIn(b"cannot delete resource", run.err)
        self.assertIn(f"-n ctriage delete pod {name}\n", run.err.decode())
        self.one_bundle(self.out)

    # What can be wrong with the target ---------------------------------------------------------------------------------

    def test_targets(self):
        self.pod("web-7d9f8c6b5-zzzzz", OTHER)
        self.pod("pending", None, phase="Pending")
        for words, status, said in ((["web-7d9f"], 1, "means more than one pod:\n  shop/web-7d9f8c6b5-x2x4q\n  shop/web-7d9f8c6b5-zzzzz\n"),
                                    (["nobody"], 1, "no such pod"), (["-n", "other", POD], 1, "no such pod in namespace other"),
                                    (["pending"], 1, "has no node yet (Pending)"), (["-l", "app=none"], 1, "no pod"), ([], 2, "needs a pod"),
                                    (["$(touch x)"], 2, "no name that a pod can have"), (["a/b/c/d"], 2, "not NAMESPACE/POD/CONTAINER"),
                                    (["shop/" + POD + "/--app"], 2, "no name that a container"), ([POD, "-n", "-x"], 2, "not a name"),
                                    ([POD, "--image", "ctriage:1"], 2, "by digest"), ([POD, "--image", 'a"@sha256:' + "0" * 64], 2, "not the name of an image"),
                                    ([POD, "--sign", "key"], 2, "--sign"), ([POD, "-o", "/nowhere"], 2, "no such directory"), ([POD, "--yes"], 2, "--yes")):
            with self.subTest(words):
                run = self.expect(self.run_plugin("collect", *words), status)
                self.assertIn(said, run.err.decode())
                self.assertEqual(self.kube.created, [])
        self.assertEqual(os.listdir(self.out), [])

    def test_ways_to_name_it(self):
        for words, target in ((["shop/" + POD], POD), (["pod/" + POD], POD), (["shop/web-7d9f/app"], POD + "/app"), ([POD, "-c", "app"], POD + "/app")):
            with self.subTest(words):
                self.kube.commands.clear()
                self.kube.targets[f"pod:shop/{POD}/app"] = f"pid:{self.box.pid}"
                self.expect(self.run_plugin("drift", *words, "--", "--fail-on", "critical"), 4)
                self.assertEqual(self.kube.commands, [["ctriage", "drift", "pod:shop/" + target, "--fail-on", "critical"]])

    def test_hostile_names(self):
        bad = "x\n|shop|evil|\x1b[31m$(touch /tmp/ctriage-evil)|Running|u"
        self.pod("a-hostile", NODE, metadata={"labels": {"app": "h"}, "uid": bad})
        self.pod("b-" + bad, NODE, metadata={"labels": {"app": "h"}})
        self.pod("good", NODE, metadata={"labels": {"app": "h"}, **owner("Evil;$(reboot)", bad)})
        self.kube.objects[("pods", "shop", "good")]["metadata"]["annotations"] = {"x": bad}
        run = self.expect(self.run_plugin("collect", "-l", "app=h", "--skip", "memory,node"), 3)  # what was left out is lost
        self.assertIn(b"left out, its name, node or uid is none", run.err)
        self.assertIn(b"the owner of good has no name that could be asked for", run.err)
        self.one_bundle(self.out)
        self.assertEqual({tuple(r[2:4]) for r in self.kube.requests if r[0] == "exec"}, {("ctriage", self.kube.created[0]["metadata"]["name"])})
        self.assertFalse(os.path.exists("/tmp/ctriage-evil"))
        # What a pod says is shown without its control characters, too: run_plugin looks.
        self.kube.play = (b"evil \x1b]0;x\x07 \xc2\x9b31m\n", b"\x1b[2J\xff\n", 0)
        self.expect(self.run_plugin("drift", "good"), 0)

    def test_refused(self):
        self.kube.forbidden = {("create", "pods")}
        run = self.expect(self.run_plugin("collect", POD), 1)
        self.assertIn(b'User "eve" cannot create resource "pods"', run.err)
        self.assertNotIn("delete", self.asked())
        self.kube.forbidden = set()
        self.kube.pod_security = True
        run = self.expect(self.run_plugin("collect", POD), 1)
        self.assertIn(b"label --overwrite namespace ctriage pod-security.kubernetes.io/enforce=privileged", run.err)
        run = self.expect(self.run_plugin("collect", POD, "--pod-namespace", "absent"), 1)
        self.assertIn(b"create namespace absent", run.err)
        self.kube.pod_security = False
        self.kube.forbidden = {("get", "pods")}
        self.assertIn(b'cannot get resource "pods"', self.expect(self.run_plugin("collect", POD), 1).err)
        # Events that may not be read are lost, and the evidence is taken all the same.
        self.kube.forbidden = {("list", "events"), ("get", "deployments")}
        self.wipe()
        run = self.expect(self.run_plugin("collect", POD, "--skip", "memory,node"), 3)
        self.assertIn(b"the events of pod", run.err)
        self.assertIn(b"the owner Deployment web could not be read", run.err)
        self.expect(ctriage("custody", "check", self.one_bundle(self.out)), 0)

    def test_a_pod_that_does_not_run(self):
        self.kube.phases = ["Pending ErrImagePull"]
        run = self.expect(self.run_plugin("sweep", "--node", NODE, "--pod-timeout", "2"), 1)
        self.assertIn(b"ErrImagePull", run.err)
        self.assert_gone()
        self.kube.phases = ["Failed"]
        self.assertIn(b"has ended before", self.expect(self.run_plugin("sweep", "--node", NODE), 1).err)
        self.assert_gone()

    # Several, and the other verbs --------------------------------------------------------------------------------------

    def test_by_labels_over_nodes(self):
        for name, node in (("s-1", NODE), ("s-2", OTHER), ("s-3", NODE), ("s-4", None)):
            self.pod(name, node, metadata={"labels": {"set": "s"}}, phase="Running" if node else "Pending")
        run = self.expect(self.run_plugin("collect", "-l", "set=s", "--skip", "memory,node"), 1)
        self.assertIn(b"shop/s-4 has no node yet", run.err)
        bundles = sorted(os.path.basename(p) for p in glob.glob(self.out + "/*.ctriage.tar"))
        self.assertEqual([b.rsplit("_", 1)[0] for b in bundles], [f"{NODE}_s-1", f"{NODE}_s-3", f"{OTHER}_s-2"])
        # One pod for each node, and never two at a time.
        self.assertEqual([v[0] for v in self.verbs("create", "exec", "delete")], ["create", "exec", "exec", "delete", "create", "exec", "delete"])
        self.assertEqual([made["spec"]["nodeName"] for made in self.kube.created], [NODE, OTHER])

    def test_list_sweep_drift(self):
        self.kube.play = (b"node vm  1 running\n", b"", 0)
        listed = self.expect(self.run_plugin("list", "--node", NODE, "--node", OTHER, "--all"), 0)
        self.assertEqual(listed.out, self.kube.play[0] * 2)
        self.kube.play = (b'{"schema":"ctriage.sweep/1"}\n', b"1 gap\n", 4)
        swept = self.expect(self.run_plugin("sweep", POD, "--json", "--fail-on=high"), 4)
        self.assertEqual((swept.out, swept.err.count(b"1 gap\n")), (self.kube.play[0], 1))
        self.kube.play = None
        drift = self.expect(self.run_plugin("drift", POD, "--json"), 0, 3).json()
        self.assertEqual(drift["schema"], "ctriage.drift/1")
        self.assertEqual([c[:2] for c in self.kube.commands], [["ctriage", "list"]] * 2 + [["ctriage", "sweep"], ["ctriage", "drift"]])
        self.assertEqual([c[2:] for c in self.kube.commands[:3]], [["--all"], ["--all"], ["--json", "--fail-on=high"]])
        plan = self.expect(self.run_plugin("collect", POD, "--plan"), 0)
        self.assertIn(b"suspicious_memory", plan.out)
        self.assert_gone()
        self.kube.cut, self.kube.honest = 2000, False
        self.assertIn(b"CUT", self.expect(self.run_plugin("drift", POD, "--json"), 1).err)
        self.kube.cut = 0
        self.assertIn(b"CUT", self.expect(self.run_plugin("drift", POD), 1).err)
        self.assert_gone()

    # keep and isolate --------------------------------------------------------------------------------------------------

    def changed(self):
        return [r for r in self.kube.requests if r[0] not in ("get", "list")]

    def labels(self):
        return self.kube.objects[("pods", "shop", POD)]["metadata"]["labels"]

    def test_without_yes_nothing_is_done(self):
        for verb in ("keep", "isolate"):
            run = self.expect(self.run_plugin(verb, POD), 0)
            self.assertEqual((self.changed(), os.listdir(self.out)), ([], []))
            said = run.out.decode()
            for word in ("cordon " + NODE, "karpenter.sh/do-not-disrupt=true", "cluster-autoscaler.kubernetes.io/safe-to-evict=false", "pod-template-hash-"):
                self.assertIn(word, said)
            self.assertEqual("kind: NetworkPolicy" in said, verb == "isolate")
            # What is printed can be typed: a shell takes it, heredoc and all, and it does what --yes does.
            if verb == "isolate":
                env = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config")}
                subprocess.run(["bash", "-eu"], input=run.out, env=env, check=True, capture_output=True)
                self.assert_isolated()

    def assert_isolated(self):
        pod, node = self.kube.objects[("pods", "shop", POD)], self.kube.objects[("nodes", "", NODE)]
        self.assertEqual(pod["metadata"]["annotations"], {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"})
        self.assertEqual((node["spec"]["unschedulable"], node["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"]), (True, "true"))
        (_, _, name), = [key for key in self.kube.objects if key[0] == "networkpolicies" and key[2].startswith("ctriage-isolate-")]
        policy = self.kube.objects[("networkpolicies", "shop", name)]["spec"]
        mark = policy["podSelector"]["matchLabels"]["ctriage/isolated"]
        self.assertEqual(policy, {"podSelector": {"matchLabels": {"ctriage/isolated": mark}}, "policyTypes": ["Ingress", "Egress"]})
        self.assertEqual(self.labels(), {"tier": "front", "ctriage/isolated": mark})

    def test_isolate(self):
        self.kube.add("networkpolicies", "shop", "everybody", spec={"podSelector": {}})
        self.kube.add("networkpolicies", "shop", "ours", spec={"podSelector": {"matchLabels": {"app": "web"}}})
        run = self.expect(self.run_plugin("isolate", POD, "--yes", "--by", 'A "B" \\C'), 0)
        self.assert_isolated()
        said = run.out.decode()
        self.assertIn("by expressions, still allow what they allow: everybody", said)
        self.assertIn("ReplicaSet web-7d9f8c6b5, Service web, NetworkPolicy ours", said)
        self.assertIn("app=web pod-template-hash=7d9f8c6b5", said)
        # The labels last: what selects by them holds until the new policy does.
        patches = self.changed()
        self.assertEqual([(r[0], r[1]) for r in patches], [("patch", "pods"), ("patch", "nodes"), ("patch", "nodes"), ("patch", "pods"),
                                                          ("create", "networkpolicies"), ("patch", "pods")])
        self.assertEqual(patches[-1][4]["metadata"]["labels"], {"app": None, "pod-template-hash": None})
        journal, = glob.glob(self.out + "/*.actions.jsonl")
        self.assertEqual(os.stat(journal).st_mode & 0o777, 0o600)
        with open(journal, encoding="ascii") as file:
            records = [json.loads(line) for line in file]
        self.assertEqual(len(records), 6)
        for record in records:
            self.assertEqual((record["schema"], record["by"], record["verb"], record["pod"], record["exit_status"]),
                             ("ctriage.action/1", 'A "B" \\C', "isolate", "shop/" + POD, 0))
            self.assertRegex(record["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIn("They were: app=web pod-template-hash=7d9f8c6b5", records[-1]["what"])
        self.assertIn("pod/" + POD, records[-1]["said"])
        # What is printed to undo it does: the pod is selected again.
        env = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kube.config(self.home + "/config")}
        undo = [line[4:] for line in said.splitlines() if line.startswith("#   ")]
        subprocess.run(["bash", "-eu"], input="\n".join(undo), text=True, env=env, check=True, capture_output=True)
        self.assertEqual(self.labels(), {"app": "web", "pod-template-hash": "7d9f8c6b5", "tier": "front"})
        self.assertFalse(self.kube.objects[("nodes", "", NODE)]["spec"].get("unschedulable"))

    def test_recorded_in_the_bundle(self):
        self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", self.out, "--skip", "memory,node"), 0)
        bundle = self.one_bundle(self.out)
        before = lab.sha256_file(bundle)
        self.expect(self.run_plugin("keep", POD, "--yes", "--bundle", bundle, "--by", "me"), 0)
        self.assertEqual(lab.sha256_file(bundle), before)
        shown = self.expect(ctriage("custody", "check", bundle, "--json"), 0)
        for word in (b"keep: cordon", b"keep: orphan", b"exit 0", b"pod-template-hash=7d9f8c6b5"):
            self.assertIn(word, shown.out)
        self.assertEqual(glob.glob(self.out + "/*.actions.jsonl"), [])

    def test_keep(self):
        self.kube.add("networkpolicies", "shop", "ours", spec={"podSelector": {"matchLabels": {"app": "web"}}})
        run = self.expect(self.run_plugin("keep", POD, "--yes"), 0)
        # The hash alone: policies and Services that select by other labels hold.
        self.assertEqual(self.labels(), {"app": "web", "tier": "front"})
        self.assertNotIn(b"LIFTS", run.out)
        self.assertFalse([key for key in self.kube.objects if key[0] == "networkpolicies" and key[2] != "ours"])
        # A DaemonSet's or a Job's pod has no such label.
        self.kube.add("jobs", "shop", "job", spec={"selector": {"matchLabels": {"app": "j"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}})
        self.kube.add("networkpolicies", "shop", "jobs", spec={"podSelector": {"matchLabels": {"app": "j"}}})
        self.pod("job-1", NODE, metadata={"labels": {"app": "j", "x": "", "y": "z"}, **owner("Job", "job", "batch/v1")})
        run = self.expect(self.run_plugin("keep", "job-1", "--yes"), 0)
        self.assertEqual(self.kube.objects[("pods", "shop", "job-1")]["metadata"]["labels"], {"y": "z"})
        self.assertRegex(run.out, rb"THIS LIFTS policies .*: jobs\n")

    def test_a_step_that_fails_is_recorded(self):
        self.kube.forbidden = {("create", "networkpolicies"), ("patch", "nodes")}
        run = self.expect(self.run_plugin("isolate", POD, "--yes"), 1)
        self.assertIn(b'cannot create resource "networkpolicies"', run.err)
        self.assertEqual({k: v for k, v in self.labels().items() if k != "ctriage/isolated"}, {"app": "web", "pod-template-hash": "7d9f8c6b5", "tier": "front"})
        self.assertIn(b"the labels stay", run.err)
        with open(glob.glob(self.out + "/*.actions.jsonl")[0], encoding="ascii") as file:
            records = [json.loads(line) for line in file]
        self.assertEqual([r["exit_status"] for r in records], [0, 1, 1, 0, 1])

    def test_network_of_the_node(self):
        self.kube.objects[("pods", "shop", POD)]["spec"]["hostNetwork"] = True
        self.assertIn(b"NOT ISOLATED BY THAT", self.expect(self.run_plugin("isolate", POD), 0).out)
