"""Files of checkpoints, checkpoints on standard input and in directories. Oracles: tar(1), Python's tarfile and sha256sum's digests of the
unpacked archive, `podman diff` of the container."""
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile

import lab
from checkpoints import DATA, Unpacked
from lab import ctriage

PODMAN = os.path.join(DATA, "victim-podman.tar.zst")


def setUpModule():
    lab.binary()
    lab.need("xz", "tar", "zstd", "gzip", "bzip2")


def entries(run):
    return json.loads(run.out)["files"]


def piped(path, *arguments, **options):
    """ctriage with `path` on a pipe."""
    cat = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    run = subprocess.run([lab.binary(), *arguments], stdin=cat.stdout, capture_output=True, timeout=300, check=False, **options)
    cat.stdout.close()
    cat.wait()
    return lab.Run(list(arguments), run, run.stdout, run.stderr)


class Fixture(Unpacked):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.layer = os.path.join(cls.tree, "rootfs-diff.tar")


class Files(Fixture):
    def walk(self, source, layer, at="/"):
        """Every path below, as `ls` gives it."""
        found = {}
        run = ctriage("ls", f"{source}:{at}", "--layer", layer, "--json")
        self.expect(run, 0)
        for entry in entries(run):
            found[entry["path"]] = entry
            if entry["file"]["type"] == "directory":
                found.update(self.walk(source, layer, entry["path"]))
        return found

    def test_the_layer_is_what_tar_says(self):
        seen = self.walk(self.plain, "upper")
        with tarfile.open(self.layer) as tar:
            for member in tar:
                entry = seen["/" + member.name]
                state = entry["file"]
                self.assertEqual(state["mode"], member.mode & 0o7777, member.name)
                self.assertEqual(state["mtime"][:19], lab.time.strftime("%Y-%m-%dT%H:%M:%S", lab.time.gmtime(int(member.mtime))), member.name)
                if member.issym():
                    self.assertEqual(state["link_target"], member.linkname)
                if not member.isfile():
                    continue
                content = tar.extractfile(member).read()
                self.assertEqual(state["size_bytes"], len(content))
                run = ctriage("cat", f"{self.plain}:/{member.name}", "--layer", "upper")
                self.expect(run, 0)
                self.assertEqual(hashlib.sha256(run.out).hexdigest(), hashlib.sha256(content).hexdigest(), member.name)
        with open(os.path.join(self.tree, "deleted.files"), encoding="utf-8") as names:
            for name in json.load(names):
                self.assertIn(seen[name].get("gone"), ("whiteout", "opaque"), name)

    def test_deleted_while_open(self):
        run = ctriage("ls", f"{self.plain}:/tmp/.cache", "--json")
        self.expect(run, 0)
        ghost = next(entry for entry in entries(run) if entry["path"] == "/tmp/.cache/kworker")
        self.assertEqual(ghost["gone"], "unlinked")
        self.assertIn("deleted while it was open", self.expect(ctriage("ls", f"{self.plain}:/tmp/.cache"), 0).out.decode())
        run = ctriage("cat", f"{self.plain}:/tmp/.cache/kworker")
        self.expect(run, 0)
        self.assertTrue(run.out.startswith(b"\x7fELF"))
        with open(os.path.join(self.tree, ghost["stored_in"]), "rb") as image:
            whole = image.read()
        self.assertTrue(whole.endswith(run.out))
        with tarfile.open(self.layer) as tar:
            self.assertEqual(run.out, tar.extractfile("tmp/implant").read())  # a copy of it ran

    def test_copies(self):
        into = self.temp()
        run = ctriage("cp", f"{self.plain}:/tmp/implant", into)
        self.expect(run, 0)
        path = os.path.join(into, "implant")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(run.out.split()[0].decode(), lab.sha256_file(path))
        run = ctriage("cp", f"{self.plain}:/tmp", into)
        self.expect(run, 1)

    def test_never_more_than_it_knows(self):
        run = ctriage("cat", f"{self.plain}:/bin/sh")
        self.expect(run, 1)
        self.assertIn(b"not in this checkpoint", run.err)
        self.assertNotIn(b"no such file", run.err.lower())
        run = ctriage("cat", f"{self.plain}:/tmp/link-out")  # leads to the container's /etc/shadow
        self.expect(run, 1)
        self.assertIn(b"/etc/shadow: not in this checkpoint", run.err)
        self.expect(ctriage("ls", f"{self.plain}:/etc", "--layer", "2"), 1)
        run = ctriage("cat", f"{self.plain}:/proc/1/status")
        self.expect(run, 1)
        self.assertIn(b"a mount (proc)", run.err)

    def test_tmpfs(self):
        out = self.expect(ctriage("ls", f"{self.plain}:/dev"), 0).out.decode()
        self.assertIn("/dev/null", out)
        self.assertIn("/dev/stdin -> /proc/self/fd/0", out)

    def test_every_form_lists_the_same(self):
        """Archives re-packed by stock tools, a tree, images of OCI, and a pod of one: the same files, the same overview."""
        forms = {"plain": self.plain, "directory": self.tree}
        for tool, name in (("gzip", "gz"), ("bzip2", "bz2"), ("lz4", "lz4"), ("zstd", "zst"), ("xz", "xz")):
            if shutil.which(tool) is None:
                continue
            forms[name] = f"{self.dir}/same.tar.{name}"
            with open(forms[name], "wb") as out:
                subprocess.run([tool, "-1", "-c", self.plain], stdout=out, check=True)
        forms["gnu"] = f"{self.dir}/gnu.tar"
        subprocess.run(["tar", "--format=gnu", "-cf", forms["gnu"], "-C", self.tree, "."], check=True)
        forms["pax"] = f"{self.dir}/pax.tar"
        subprocess.run(["tar", "--format=pax", "-cf", forms["pax"], "-C", self.tree, "."], check=True)
        forms["pod"] = f"{self.dir}/pod.tar"
        with tarfile.open(forms["pod"], "w") as tar:
            options = b'{"version":1,"containers":{"app":"1-app"}}'
            member = tarfile.TarInfo("pod.options")
            member.size = len(options)
            tar.addfile(member, io.BytesIO(options))
            tar.add(self.tree, "1-app")
        forms["image"] = self.oci_image()
        first = None
        for form, path in forms.items():
            with self.subTest(form=form):
                listed = self.expect(ctriage("ls", f"{path}:/tmp", "--json"), 0)
                files = [{key: entry[key] for key in ("path", "file")} for entry in entries(listed)]
                shown = json.loads(self.expect(ctriage("show", path, "--ps", "--json"), 0).out)
                seen = files, shown["containers"][0]["name"], [process["pid"] for process in shown["processes"]]
                first = first or seen
                self.assertEqual(seen, first)

    def oci_image(self):
        """A checkpoint image as buildah makes one: its only layer is the archive's tree."""
        path = os.path.join(self.dir, "image")
        blobs = os.path.join(path, "blobs", "sha256")
        os.makedirs(blobs)

        def blob(content):
            digest = hashlib.sha256(content).hexdigest()
            with open(os.path.join(blobs, digest), "wb") as out:
                out.write(content)
            return {"digest": "sha256:" + digest, "size": len(content)}

        with open(self.plain, "rb") as tar:
            layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(tar.read())}
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(b"{}")}
        manifest = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode())
        index = {"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest}]}
        for name, content in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(path, name), "w", encoding="utf-8") as out:
                json.dump(content, out)
        return path

    def test_paths_of_podman_diff(self):
        """What podman said was added is in the view, names with escapes and line ends too; what it left out is told as such."""
        seen = self.walk(PODMAN, "upper")
        with open(os.path.join(DATA, "victim-podman.diff"), encoding="utf-8") as lines:
            text = lines.read()
        for line in lab.re.split(r"\n(?=[ACD] /)", text.rstrip("\n")):
            kind, path = line[0], line[2:]
            if kind == "A":
                self.assertTrue(path in seen, path)
            if kind == "D" and path != "/usr/share/doc":  # made anew with a file in it: opaque
                self.assertEqual(seen[path].get("gone"), "whiteout", path)
        self.assertEqual(seen["/usr/share/doc"].get("gone"), "opaque")
        self.assertEqual(seen["/tmp/sparse"]["file"]["size_bytes"], 1073741829)
        self.assertEqual(seen["/usr/local/bin/.httpd"]["file"]["size_bytes"], seen["/tmp/hardlink"]["file"]["size_bytes"])

    def test_sparse_in_a_tmpfs(self):
        """CRIU packs tmpfs with GNU tar --sparse: a map of more holes than fit in the header."""
        tree = self.temp()
        path = os.path.join(tree, "holes")
        with open(path, "wb") as out:
            for i in range(12):
                out.seek(i * 200_000)
                out.write(b"%08d" % i)
            out.truncate(5_000_000)
        with open(os.path.join(tree, "zz"), "wb") as out:
            out.write(b"behind it")
        for form in ("gnu", "pax"):
            with self.subTest(form=form):
                copy = os.path.join(self.temp(), "copy")
                shutil.copytree(self.tree, copy)
                image = os.path.join(copy, "checkpoint", self.dev_image())
                self.assertTrue(os.path.exists(image))
                subprocess.run(["tar", f"--format={form}", "--sparse", "-czf", image, "-C", tree, "."], check=True)
                run = ctriage("cat", f"{copy}:/dev/holes")
                self.expect(run, 0)
                with open(path, "rb") as original:
                    self.assertEqual(run.out, original.read())
                self.assertEqual(self.expect(ctriage("cat", f"{copy}:/dev/zz"), 0).out, b"behind it")

    def dev_image(self):
        mounts = json.loads(self.expect(ctriage("show", self.plain, "--mounts", "--json"), 0).out)["mounts"]
        device = next(int(mount["device"], 16) for mount in mounts if mount["mountpoint"] == "/dev")
        return f"tmpfs-dev-{(device >> 32) << 20 | device & 0xfffff}.tar.gz.img"


class Piped(Fixture):
    def test_small_archive(self):
        small = os.path.join(DATA, "crio.tar.xz")
        for arguments in (("show", "-"), ("ls", "-:/tmp"), ("search", "-", "kthreadd"), ("diff", "-")):
            with self.subTest(arguments=arguments):
                self.expect(piped(small, *arguments), 0)
        with tarfile.open(self.layer) as tar:
            wanted = tar.extractfile("tmp/implant").read()
        run = piped(small, "cat", "-:/tmp/implant")
        self.expect(run, 0)
        self.assertEqual(run.out, wanted)
        run = piped(self.plain, "cat", "-:/tmp/implant")
        self.expect(run, 0)
        self.assertEqual(run.out, wanted)

    def test_redirected_file(self):
        with open(self.plain, "rb") as file:
            run = subprocess.run([lab.binary(), "ls", "-:/tmp"], stdin=file, capture_output=True, timeout=300, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn(b"/tmp/implant", run.stdout)

    def test_large_archive_and_spool(self):
        """What has passed and is asked for again needs --spool; nothing is written without it, no name stays with it."""
        large = os.path.join(self.dir, "large.tar")
        shutil.copy(self.plain, large)
        with tarfile.open(large, "a") as tar:
            member = tarfile.TarInfo("padding")
            member.size = 40 << 20
            with open("/dev/zero", "rb") as zeros:
                tar.addfile(member, zeros)
        before = self.temp()
        run = piped(large, "ls", "-:/tmp", env={**os.environ, "TMPDIR": before})
        self.expect(run, 0)
        self.assertIn(b"/tmp/implant", run.out)
        run = piped(large, "cat", "-:/tmp/implant", env={**os.environ, "TMPDIR": before})
        self.expect(run, 1)
        self.assertIn(b"--spool DIR", run.err)
        self.assertEqual(os.listdir(before), [])
        run = piped(large, "cat", "-:/tmp/implant", "--spool", before)
        self.expect(run, 0)
        with tarfile.open(self.layer) as tar:
            self.assertEqual(run.out, tar.extractfile("tmp/implant").read())
        self.assertEqual(os.listdir(before), [])
        packed = large + ".zst"
        subprocess.run(["zstd", "-q", "-1", large, "-o", packed], check=True)
        for run in (piped(packed, "cat", "-:/tmp/implant", "--spool", before), ctriage("cat", f"{packed}:/tmp/implant", "--spool", before)):
            self.expect(run, 0)
            self.assertTrue(run.out.startswith(b"\x7fELF"))
        self.assertEqual(os.listdir(before), [])

    def test_neither(self):
        run = piped("/etc/passwd", "show", "-")
        self.expect(run, 1)

    def test_damaged_is_no_usage_error(self):
        broken = os.path.join(self.temp(), "checkpoint-broken.tar")
        with open(broken, "wb") as out:
            out.write(b"\x1f\x8b\x08 and then nothing that gzip knows")
        for arguments in (("ls", f"{broken}:/tmp"), ("cat", f"{broken}:/tmp/x"), ("cp", f"{broken}:/tmp/x", self.temp())):
            with self.subTest(arguments=arguments[0]):
                self.expect(ctriage(*arguments), 1)
        self.expect(ctriage("ls", self.plain), 2)
        self.expect(ctriage("cp", self.plain, self.temp()), 2)
        self.expect(ctriage("ls", f"{self.plain}:/tmp", "--layer", "x"), 2)

    def test_one_container(self):
        for arguments in (("show", self.plain), ("search", self.plain, "-e", "kthreadd"), ("diff", self.plain), ("ls", f"{self.plain}:/tmp"),
                          ("strings", self.plain, "-m", "64"), ("diff", self.plain, self.plain, "--ps")):
            with self.subTest(arguments=arguments):
                self.expect(ctriage(*arguments, "-c", "app"), 0, 3)
                nobody = self.expect(ctriage(*arguments, "-c", "nobody"), 1)
                self.assertIn(b"no container nobody, there is app", nobody.err)

    def test_extract_of_one_process(self):
        small = os.path.join(DATA, "crio.tar.xz")
        spool = self.temp()
        into = os.path.join(self.temp(), "objects")
        self.expect(ctriage("extract", small, "-o", into, "--pid", "23@app", "--spool", spool, "--json"), 0, 3)
        self.assertTrue(os.path.exists(os.path.join(into, "manifest.jsonl")))
        self.assertEqual(os.listdir(spool), [])
        nobody = self.expect(ctriage("extract", small, "-o", into + "2", "--pid", "23@nobody"), 1)
        self.assertIn(b"there is app", nobody.err)
        self.expect(ctriage("extract", small, "-o", into + "2", "--pid", "99@app"), 1)
        self.expect(ctriage("extract", small, "-o", into + "2", "--pid", "x"), 2)


class Archives(Fixture):
    def test_list(self):
        root = self.temp()
        shutil.copy(self.plain, os.path.join(root, "checkpoint-web-7d9f_shop-app-2026-11-21T19:28:51Z.tar"))
        shutil.copy(os.path.join(DATA, "shell-podman.tar.gz"), root)
        shutil.copytree(self.tree, os.path.join(root, "deep", "er", "tree"))
        with open(os.path.join(root, "notes.txt"), "w", encoding="utf-8") as out:
            out.write("nothing\n")
        with tarfile.open(os.path.join(root, "other.tar"), "w") as tar:
            tar.add(os.path.join(root, "notes.txt"), "notes.txt")
        with open(os.path.join(root, "checkpoint-broken.tar"), "wb") as out:
            out.write(b"\x1f\x8b\x08 and then nothing that gzip knows")
        with open(self.plain, "rb") as whole, open(os.path.join(root, "checkpoint-cut.tar"), "wb") as out:
            out.write(whole.read(os.path.getsize(self.plain) // 2))
        os.mkfifo(os.path.join(root, "fifo"))
        os.symlink("/var", os.path.join(root, "link"))
        run = ctriage("list", root, "--json")
        self.expect(run, 3)  # two of them are damaged
        document = json.loads(run.out)
        self.assertEqual(document["schema"], "ctriage.list_archives/1")
        found = {os.path.relpath(each["path"], root): each for each in document["archives"]}
        self.assertEqual(sorted(found), ["checkpoint-broken.tar", "checkpoint-cut.tar", "checkpoint-web-7d9f_shop-app-2026-11-21T19:28:51Z.tar",
                                         "deep/er/tree", "shell-podman.tar.gz"])
        kubelet = found["checkpoint-web-7d9f_shop-app-2026-11-21T19:28:51Z.tar"]
        self.assertEqual((kubelet["pod_namespace"], kubelet["pod"], kubelet["container"], kubelet["engine"]), ("shop", "web-7d9f", "app", "cri-o"))
        self.assertEqual(kubelet["size_bytes"], os.path.getsize(self.plain))
        self.assertNotIn("error", kubelet)
        self.assertEqual(found["deep/er/tree"]["pod"], "web-7d9f")
        self.assertEqual(found["shell-podman.tar.gz"]["engine"], "podman")
        self.assertIn("error", found["checkpoint-broken.tar"])
        self.assertIn("error", found["checkpoint-cut.tar"])
        self.assertIn("symbolic link", json.dumps(document["gaps"]))
        lost = [gap["origin"] for gap in document["gaps"] if gap["impact"] == "lost"]
        self.assertEqual(sorted(os.path.relpath(path, root) for path in lost), ["checkpoint-broken.tar", "checkpoint-cut.tar"])
        text = self.expect(ctriage("list", root), 3).out.decode()
        self.assertIn("shop/web-7d9f/app", text)
        self.assertIn("ctriage show", text)
        lines = [json.loads(line) for line in self.expect(ctriage("list", root, "--format", "jsonl"), 3).out.splitlines()]
        self.assertEqual(lines[0]["schema"], "ctriage.archive/1")

    def test_docker_and_empty(self):
        root = self.temp()
        identifier = "ab" * 32
        home = os.path.join(root, identifier)
        shutil.copytree(os.path.join(self.tree, "checkpoint"), os.path.join(home, "checkpoints", "cp1"))
        with open(os.path.join(home, "config.v2.json"), "w", encoding="utf-8") as out:
            json.dump({"ID": identifier, "Name": "/web"}, out)
        os.makedirs(os.path.join(root, "cd" * 32, "checkpoints"))
        with open(os.path.join(root, "cd" * 32, "config.v2.json"), "w", encoding="utf-8") as out:
            json.dump({"ID": "cd" * 32}, out)
        document = json.loads(self.expect(ctriage("list", root, "--json"), 0).out)
        self.assertEqual([each["container"] for each in document["archives"]], ["web"])
        self.assertIn("no checkpoints and no bundles", self.expect(ctriage("list", self.temp()), 0).out.decode())

    def test_usage(self):
        self.expect(ctriage("list", "--all", "/tmp"), 2)
        self.expect(ctriage("list", "/does/not/exist"), 1)
