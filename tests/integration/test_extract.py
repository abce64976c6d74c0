"""extract: what it writes is what python, tar and sha256sum find in the same archive; names never lead out of the directory."""
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import tarfile

import lab
from lab import Case, ctriage

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")


def setUpModule():
    lab.binary()
    lab.need("xz", "tar", "zstd")


def fields(message):
    """Of a message of protocol buffers: field -> its values in order."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            value = varint()
        elif key & 7 == 2:
            size = varint()
            value, at = message[at:at + size], at + size
        else:
            width = 8 if key & 7 == 1 else 4
            value, at = message[at:at + width], at + width
        found.setdefault(key >> 3, []).append(value)
    return found


class Image:
    """A CRIU image: messages, and the bytes that belong to them."""

    def __init__(self, path):
        self.raw = open(path, "rb").read()
        self.at = 8

    def __iter__(self):
        while self.at < len(self.raw):
            size = struct.unpack_from("<I", self.raw, self.at)[0]
            message = self.raw[self.at + 4:self.at + 4 + size]
            self.at += 4 + size
            yield fields(message)

    def take(self, size):
        self.at += size
        return self.raw[self.at - size:self.at]


def unpack(archive, into):
    subprocess.run(["tar", "-xf", archive, "-C", into, "--exclude=rootfs-diff.tar"], check=True)
    return os.path.join(into, "checkpoint")


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Extracting(Case):
    def extract(self, source, *options, statuses=(0,)):
        into = os.path.join(self.temp(), "out")
        run = self.expect(ctriage("extract", source, "-o", into, "--json", *options, timeout=300), *statuses)
        with open(os.path.join(into, "manifest.jsonl"), "rb") as file:
            manifest = file.read()
        document = json.loads(run.out)
        self.assertEqual(document["schema"], "ctriage.extract/1")
        self.assertEqual(document["manifest_sha256"], digest(manifest))
        objects = [json.loads(line) for line in manifest.splitlines()]
        self.check_files(into, objects)
        return into, objects, document

    def check_files(self, into, objects):
        """Every file is in the manifest with its digest, private, no link, no device, and nothing else is there."""
        there = {"manifest.jsonl"}
        for one in objects:
            self.assertEqual(one["schema"], "ctriage.object/1")
            if "file" not in one:
                continue
            self.assertNotIn(one["file"], there)
            there.add(one["file"])
            path = os.path.join(into, one["file"])
            hasher = hashlib.sha256()
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    hasher.update(block)
            self.assertEqual(hasher.hexdigest(), one["sha256"], one)
            self.assertRegex(one["file"], r"^[a-z]+/\d{6,}-[A-Za-z0-9._-]{1,80}$")
        for folder, folders, files in os.walk(into):
            for name in folders:
                self.assertEqual(stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode), 0o700)
            for name in files:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                self.assertTrue(stat.S_ISREG(info.st_mode))
                self.assertEqual(stat.S_IMODE(info.st_mode), 0o600)
                there.remove(os.path.relpath(path, into))
        self.assertEqual(there, set())


class Checkpoint(Extracting):
    ARCHIVES = ("victim-podman.tar.zst", "victim-criu41-style.tar.zst", "crio.tar.xz", "shell-podman.tar.gz",
                "podman-rootfsdiff-gap.tar.zst")

    def test_images_as_python_reads_them(self):
        for archive in self.ARCHIVES:
            with self.subTest(archive=archive):
                images = unpack(os.path.join(DATA, archive), self.temp())
                _, objects, _ = self.extract(os.path.join(DATA, archive), "--what", "deleted,memfd,queues,sysv,code,tmpfs")
                self.compare(images, objects)

    def compare(self, images, objects):
        def image(name):
            path = os.path.join(images, name)
            return Image(path) if os.path.exists(path) else []

        def of(kind, *what):
            return sorted((one["path"], one["size_bytes"], one["sha256"]) for one in objects
                          if one["kind"] == kind and (not what or one["what"] in what) and "file" in one)

        regular, sockets, pipes = {}, {}, {}
        for entry in image("files.img"):
            for reg in entry.get(3, []):
                regular[fields(reg)[1][0]] = fields(reg)[6][0].decode()
            for sock in entry.get(16, []):
                sockets[entry[2][0]] = fields(sock)[2][0]
        ghosts, contents = [], []
        for remap in image("remap-fpath.img"):
            if remap.get(3, [0])[0] != 1:
                continue
            ghost = image(f"ghost-file-{remap[2][0]:x}.img")
            head = next(iter(ghost))
            content = ghost.raw[ghost.at:]
            if head.get(9, [0])[0]:
                content = bytearray(head[10][0])
                for chunk in ghost:
                    size, at = chunk[1][0], chunk.get(2, [0])[0]
                    content[at:at + size] = ghost.take(size)
            if stat.S_ISREG(head[3][0]):
                ghosts.append((regular[remap[1][0]], len(content), digest(content)))
                contents.append((regular[remap[1][0]], len(content), content))
        self.assertEqual(of("deleted"), sorted(ghosts))
        for one in objects:
            if one["kind"] == "deleted" and "file" in one:
                self.assertTrue(one["pids"])
        # What CRIU itself wrote into a program to dump it, it has put back: the page is the file's.
        programs = {name: content for name, _, content in contents if name == "/tmp/.cache/kworker"}
        for one in objects:
            if one["kind"] == "code" and one["path"] in programs:
                content = bytes(programs[one["path"]])
                self.assertEqual(digest(content[one["offset_bytes"]:one["offset_bytes"] + one["size_bytes"]]), one["sha256"])

        queues = {}
        reader = image("sk-queues.img")
        for packet in reader:
            queues.setdefault(sockets[packet[1][0]], []).append(reader.take(packet[2][0]))
        self.assertEqual(of("queues", "unix"), sorted((f"socket:[{inode}]", len(b"".join(parts)), digest(b"".join(parts)))
                                                      for inode, parts in queues.items()))
        for one in objects:
            if one["what"] == "unix":
                parts = queues[int(one["path"][8:-1])]
                self.assertEqual([packet["size_bytes"] for packet in one["packets"]], [len(part) for part in parts])
                self.assertEqual([packet["offset_bytes"] for packet in one["packets"]],
                                 [sum(len(part) for part in parts[:i]) for i in range(len(parts))])
        reader = image("pipes-data.img")
        expected = []
        for data in reader:
            content = reader.take(data[2][0])
            if content:
                expected.append((f"pipe:[{data[1][0]}]", len(content), digest(content)))
        self.assertEqual(of("queues", "pipe"), sorted(expected))
        expected = []
        for name in sorted(os.listdir(images)):
            if not name.startswith("tcp-stream-"):
                continue
            reader = image(name)
            entry = next(iter(reader))
            for size in (entry[1][0], entry[3][0]):
                content = reader.take(size)
                if content:
                    expected.append((f"socket:[{int(name[11:-4], 16)}]", size, digest(content)))
        self.assertEqual(of("queues", "tcp receive", "tcp send"), sorted(expected))
        expected = []
        for inode in image("memfd.img"):
            content = bytearray(inode[4][0])
            pages = image(f"pagemap-shmem-{inode[5][0]}.img")
            if pages:
                entries = list(pages)
                raw = open(os.path.join(images, f"pages-{entries[0][1][0]}.img"), "rb").read()
                at = 0
                for run in entries[1:]:
                    size = (run[5][0] if 5 in run else run[2][0]) * 4096
                    content[run[1][0]:run[1][0] + size] = raw[at:at + size]
                    at += size
            name = inode[1][0].decode()
            expected.append((name if name == "/dev/zero" else f"/memfd:{name}", inode[4][0], digest(bytes(content[:inode[4][0]]))))
        self.assertEqual(of("memfd"), sorted(expected))
        expected = []
        for name in sorted(os.listdir(images)):
            if name.startswith("tmpfs-"):
                with tarfile.open(os.path.join(images, name), "r:gz") as tar:
                    for member in tar:
                        if member.isreg():
                            data = tar.extractfile(member).read()
                            expected.append((os.path.basename(member.name), len(data), digest(data)))
        found = [(os.path.basename(path), size, sha) for path, size, sha in of("tmpfs") if not path.startswith("/dev/shm/")]
        self.assertEqual(sorted(found), sorted(expected))

    def test_facts(self):
        """Ghost names and queue lengths are those that CRIU's own decoder gave."""
        for archive in ("victim-podman.tar.zst", "shell-podman.tar.gz"):
            with self.subTest(archive=archive):
                with open(os.path.join(DATA, archive + ".facts.json"), encoding="utf-8") as file:
                    facts = json.load(file)
                _, objects, _ = self.extract(os.path.join(DATA, archive), "--what", "deleted,queues")
                self.assertEqual(sorted(one["path"] for one in objects if one["kind"] == "deleted"),
                                 sorted(ghost["name"] for ghost in facts["ghost_files"]))
                for process in facts["processes"]:
                    if process["exe_deleted"]:
                        runs = [one for one in objects if process["pid"] in one.get("run_by", [])]
                        self.assertEqual([one["path"] for one in runs], [process["exe"]])
                    for inet in process["inet"]:
                        for length, what in (("inq_len", "tcp receive"), ("outq_len", "tcp send")):
                            size = sum(one["size_bytes"] for one in objects if one["what"] == what and
                                       one["local"] == inet["src"] and one["remote"] == inet["dst"])
                            self.assertEqual(size, inet.get(length, 0))

    def test_changed_files_as_tar_has_them(self):
        """A file of 1 GiB of zeros costs no room on the disk."""
        for archive in ("victim-podman.tar.zst", "podman-rootfsdiff-gap.tar.zst"):
            with self.subTest(archive=archive):
                into, objects, document = self.extract(os.path.join(DATA, archive), "--what", "changed")
                outer = subprocess.Popen(["tar", "-xOf", os.path.join(DATA, archive), "rootfs-diff.tar"], stdout=subprocess.PIPE)
                expected = {}
                with tarfile.open(fileobj=outer.stdout, mode="r|*") as tar:
                    for member in tar:
                        if not member.isreg():
                            continue
                        hasher = hashlib.sha256()
                        content = tar.extractfile(member)
                        for block in iter(lambda: content.read(1 << 20), b""):
                            hasher.update(block)
                        expected["/" + member.name.lstrip("/")] = (member.size, hasher.hexdigest())
                outer.wait()
                found = {one["path"]: (one["size_bytes"], one["sha256"]) for one in objects if "file" in one}
                self.assertEqual(found, expected)
                taken = sum(os.lstat(os.path.join(into, one["file"])).st_blocks * 512 for one in objects if "file" in one)
                self.assertLess(taken, 64 << 20)
                self.assertEqual([gap["impact"] for gap in document["gaps"] if gap["impact"] == "lost"], [])

    def test_every_form_gives_the_same(self):
        work = self.temp()
        plain = os.path.join(work, "crio.tar")
        with open(plain, "wb") as out:
            subprocess.run(["xz", "-dc", os.path.join(DATA, "crio.tar.xz")], stdout=out, check=True)
        tree = os.path.join(work, "tree")
        os.mkdir(tree)
        subprocess.run(["tar", "-xf", plain, "-C", tree], check=True)
        first = None
        for form in (plain, tree, os.path.join(DATA, "crio.tar.xz")):
            _, objects, document = self.extract(form)
            seen = sorted((one["kind"], one["path"], one.get("sha256", ""), one["complete"]) for one in objects)
            first = first or seen
            self.assertEqual(seen, first)
            self.assertTrue(document["complete"])

    def test_what_pid_and_room(self):
        archive = os.path.join(DATA, "victim-podman.tar.zst")
        _, objects, document = self.extract(archive, "--what", "deleted", "--pid", "23")
        self.assertEqual({one["kind"] for one in objects}, {"deleted"})
        self.assertEqual([count["kind"] for count in document["counts"]], ["deleted"])
        for one in objects:
            self.assertIn(23, one["pids"])
        _, objects, document = self.extract(archive, "--what", "deleted", "--max-bytes", "1000", statuses=(3,))
        left_out = [one for one in objects if "file" not in one]
        self.assertTrue(left_out)
        for one in left_out:
            self.assertIn("--max-bytes", one["why"])
            self.assertFalse(one["complete"])
        run = self.expect(ctriage("extract", archive, "-o", self.temp() + "/x", "--pid", "4711"), 1)
        self.assertIn(b"4711", run.err)

    def test_usage(self):
        archive = os.path.join(DATA, "shell-podman.tar.gz")
        into = self.temp()
        with open(os.path.join(into, "there"), "w", encoding="utf-8"):
            pass
        run = self.expect(ctriage("extract", archive, "-o", into), 2)
        self.assertIn(b"not empty", run.err)
        self.assertEqual(os.listdir(into), ["there"])
        self.expect(ctriage("extract", archive, "-o", self.temp(), "--what", "some"), 2)
        self.expect(ctriage("extract", archive, "-o", self.temp(), "--max-bytes", "x"), 2)
        self.expect(ctriage("extract", archive), 2)
        self.expect(ctriage("extract", archive, "-o", self.temp() + "/no/where"), 1)
        self.expect(ctriage("extract", archive, "-o", self.temp()), 0)

    def test_names_lead_nowhere(self):
        """Members called so that unpacking them as they are would write elsewhere, or as a link."""
        work = self.temp()
        layer = io.BytesIO()
        names = ["../climbs", "/absolute", "a/../../b", "new\nline", "n" * 300, "twice", "twice", "caf\u00e9", ".wh.kept", "-rf"]
        with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = 10
                info.mode = 0o4755
                tar.addfile(info, io.BytesIO(b"content %2d" % number))
            for kind, link in ((tarfile.SYMTYPE, "/etc/shadow"), (tarfile.LNKTYPE, "twice"), (tarfile.CHRTYPE, ""),
                               (tarfile.FIFOTYPE, ""), (tarfile.DIRTYPE, "")):
                info = tarfile.TarInfo(f"special-{kind.decode()}")
                info.type, info.linkname = kind, link
                tar.addfile(info)
        hostile = os.path.join(work, "hostile.tar")
        tree = self.temp()
        subprocess.run(["tar", "-xf", os.path.join(DATA, "crio.tar.xz"), "-C", tree, "--exclude=rootfs-diff.tar"], check=True)
        with open(os.path.join(tree, "rootfs-diff.tar"), "wb") as out:
            out.write(layer.getvalue())
        with tarfile.open(hostile, "w") as tar:
            for name in sorted(os.listdir(tree)):
                tar.add(os.path.join(tree, name), name)
        into, objects, _ = self.extract(hostile, "--what", "changed", statuses=(0, 3))
        self.assertEqual(sorted(os.listdir(os.path.dirname(into))), ["out"])
        contents = sorted(open(os.path.join(into, one["file"]), "rb").read() for one in objects if "file" in one)
        self.assertEqual(contents, sorted(b"content %2d" % number for number in range(len(names))))
        paths = [one["path"] for one in objects]
        self.assertIn("../climbs", paths)
        self.assertIn("/absolute", paths)
        links = {one["path"]: one["link_target"] for one in objects if "link_target" in one}
        self.assertEqual(links, {"/special-2": "/etc/shadow", "/special-1": "/twice"})


    def test_trees_lie_where_they_were_mounted(self):
        """A tmpfs at the mount of its top, not at a path that is masked by a part of it; Podman's volumes are trees, too."""
        tree = self.temp()
        subprocess.run(["tar", "-xf", os.path.join(DATA, "shell-podman.tar.gz"), "-C", tree], check=True)
        os.makedirs(os.path.join(tree, "volumes"), exist_ok=True)
        with tarfile.open(os.path.join(tree, "volumes", "data.tar"), "w") as tar:
            info = tarfile.TarInfo("implant")
            info.size = 19
            tar.addfile(info, io.BytesIO(b"a mark in a volume\n"))
        _, objects, _ = self.extract(tree, "--what", "tmpfs,changed")
        paths = [one["path"] for one in objects]
        self.assertIn("/dev/null", paths)
        self.assertEqual([p for p in paths if p.startswith(("/proc/timer_list", "/proc/keys", "./"))], [])
        self.assertIn("/dev", paths)
        (implant,) = [one for one in objects if one["path"].endswith("/implant")]
        self.assertEqual((implant["kind"], implant["sha256"]), ("changed", digest(b"a mark in a volume\n")))
        run = self.expect(ctriage("search", tree, "text:mark in a volume", "--format", "jsonl"), 0, 3)
        found = [json.loads(line) for line in run.out.splitlines()]
        self.assertEqual([m["kind"] for m in found if m["schema"] == "ctriage.match/1"], ["volume"])


class Live(Extracting):
    """A container that runs, and the bundle of it: the same bytes."""

    def setUp(self):
        lab.need_root()

    def box(self):
        implant = lab.build_implant(lab.BUILD_DIR)
        made = lab.Box("exec 9>/tmp/gone; echo deleted and open >&9; rm /tmp/gone; echo loot > /dev/shm/loot; ln -s /etc/shadow /dev/shm/link; "
                       + lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played", files={"/opt/implant": implant})
        self.addCleanup(made.stop)
        return made, digest(implant)

    def test_live_and_bundle(self):
        box, implant = self.box()
        watch = lab.Untouched([box.upper, *box.lowers], box.pids())
        _, objects, document = self.extract(f"pid:{box.pid}", statuses=(0, 3))
        self.assertEqual(watch.changed(), [])
        self.assertEqual(watch.grown(), [])
        of = {kind: {one["path"]: one for one in objects if one["kind"] == kind} for kind in
              ("deleted", "memfd", "tmpfs", "changed")}
        self.assertEqual(of["deleted"]["/tmp/gone"]["sha256"], digest(b"deleted and open\n"))
        self.assertEqual(of["deleted"]["/tmp/.cache/kworker"]["sha256"], implant)
        self.assertTrue(of["deleted"]["/tmp/.cache/kworker"]["run_by"])
        self.assertIn(implant, [one["sha256"] for one in of["memfd"].values()])
        self.assertEqual(of["tmpfs"]["/dev/shm/loot"]["sha256"], digest(b"loot\n"))
        self.assertEqual(of["tmpfs"]["/dev/shm/link"]["link_target"], "/etc/shadow")
        self.assertNotIn("file", of["tmpfs"]["/dev/shm/link"])
        self.assertEqual(of["changed"]["/tmp/implant"]["sha256"], implant)
        self.assertIn("queues", " ".join(gap["artifact"] for gap in document["gaps"]))
        self.assertEqual([gap for gap in document["gaps"] if gap["impact"] == "lost"], [])

        out = self.temp()
        self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out), 0)
        bundle = self.one_bundle(out)
        _, collected, _ = self.extract(bundle)
        said = self.expect(ctriage("extract", bundle, "-o", os.path.join(self.temp(), "out")), 0).out.decode()
        self.assertRegex(said, r"(?m)^queues +none seen, and not all was looked at")  # a bundle has none: that is not "none"
        again = {(one["kind"], one["path"]): one["sha256"] for one in collected if "file" in one}
        for kind in ("tmpfs", "changed"):
            for path, one in of[kind].items():
                if "file" in one:
                    self.assertEqual(again.get((kind, path)), one["sha256"], path)
        self.assertEqual(again["deleted", "/tmp/.cache/kworker"], implant)
        self.assertIn(implant, [sha for (kind, _), sha in again.items() if kind == "memfd"])


if __name__ == "__main__":
    lab.unittest.main()
