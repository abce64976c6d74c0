"""dump of checkpoints: gdb and elfutils open the cores; registers, arguments and pages are those that the images have, decoded here
and by CRIU's own decoder (facts)."""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import tarfile

import lab
from lab import Case, ctriage

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")
UNPACK = {"zst": ["zstd", "-dc"], "gz": ["gzip", "-dc"], "xz": ["xz", "-dc"]}
FACTS = {"victim-podman.tar.zst": "victim-podman.tar.zst", "victim-criu41-style.tar.zst": "victim-podman.tar.zst",
         "shell-podman.tar.gz": "shell-podman.tar.gz"}
PAGE = 4096
RIP, FS_BASE = 17, 22  # fields of user_x86_regs_entry


def setUpModule():
    lab.binary()
    lab.need("gdb", "eu-readelf", "zstd", "xz", "gzip")


def fields(message):
    """(field, value) of a message of protocol buffers; a nested one stays bytes."""
    at, out = 0, []

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        key = number()
        if key & 7 == 0:
            out.append((key >> 3, number()))
        elif key & 7 == 2:
            size = number()
            out.append((key >> 3, message[at:at + size]))
            at += size
        else:
            raise AssertionError(f"wire type {key & 7}")
    return out


def entries(image):
    """Messages of an image with CRIU's common magic."""
    at = 8
    while at < len(image):
        (size,) = struct.unpack_from("<I", image, at)
        yield fields(image[at + 4:at + 4 + size])
        at += 4 + size


def images_of(archive):
    """Images of the archive by name, pages too."""
    images = {}
    with subprocess.Popen([*UNPACK[archive.rsplit(".", 1)[1]], archive], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").partition("/")
                if folder == "checkpoint" and name.endswith(".img"):
                    images[name] = tar.extractfile(member).read()
        unpack.stdout.read()
    return images


def registers(images, tid):
    (core,) = entries(images[f"core-{tid}.img"])
    return dict(fields(dict(fields(dict(core)[2]))[2]))


def page_runs(images, name):
    """(address, bytes) of what is present, in order."""
    head, *runs = entries(images[f"pagemap-{name}.img"])
    pages, at = images.get(f"pages-{dict(head)[1]}.img", b""), 0
    for run in map(dict, runs):
        if run[4] & 4 == 0:
            raise AssertionError("a page that is not present")
        size = (run[5] if 5 in run else run[2]) * PAGE
        yield run[1], pages[at:at + size]
        at += size
    assert at == len(pages)


class Core:
    """The PT_LOADs of a core and its ranges."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        with open(path + ".pages.jsonl") as lines:
            self.ranges = [json.loads(line) for line in lines]
        self.machine, = struct.unpack_from("<H", self.bytes, 18)
        offset, = struct.unpack_from("<Q", self.bytes, 32)
        count, = struct.unpack_from("<H", self.bytes, 56)
        self.loads = []
        for i in range(count):
            kind, _, at, address, physical, size, memory, _ = struct.unpack_from("<IIQQQQQQ", self.bytes, offset + i * 56)
            if kind == 1:
                self.loads.append((address, at, size, memory))
                assert address == physical

    def read(self, address, size):
        for start, at, stored, _ in self.loads:
            if start <= address < start + stored:
                part = min(size, start + stored - address)
                found = self.bytes[at + address - start:at + address - start + part]
                return found if part == size else found + self.read(address + part, size - part)
        raise AssertionError(f"{address:#x} is not in the core")


def gdb(core, *commands):
    arguments = ["gdb", "-nx", "-batch", "-iex", "set auto-load no", "-iex", "set sysroot /nonexistent", "-c", core]
    for command in commands:
        arguments += ["-ex", command]
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=120).stdout.decode(errors="replace")


class CheckpointDump(Case):
    def dump(self, archive, *options, status=0):
        into = self.temp()
        run = self.expect(ctriage("dump", os.path.join(DATA, archive), "--all", "-o", into, "--json", *options), status)
        return into, {process["pid"]: process for process in run.json()["processes"]}, run

    def check_process(self, core, process, fact, images):
        self.assertEqual(process["sha256"], lab.sha256_file(core))
        self.assertEqual(process["pages_sha256"], lab.sha256_file(core + ".pages.jsonl"))
        self.assertTrue(process["complete"])
        self.assertEqual((process["threads"], process["threads_with_registers"]), (len(fact["threads"]),) * 2)
        self.assertEqual(os.stat(core).st_mode & 0o777, 0o600)
        # Registers of every thread, by gdb and by the images.
        out = gdb(core, "info threads", "thread apply all printf \"RIP %lx SP %lx FS %lx\\n\", $rip, $rsp, $fs_base")
        seen = sorted(tuple(int(word, 16) for word in line.split()[1::2]) for line in out.splitlines() if line.startswith("RIP "))
        wanted = [registers(images, tid) for tid in fact["threads"]]
        self.assertEqual(seen, sorted((one[RIP], one[20], one[FS_BASE]) for one in wanted), out)
        for tid in fact["threads"]:
            self.assertIn(f"LWP {tid}", out)
        # Where the arguments lie, gdb reads them.
        (memory,) = entries(images[f"mm-{fact['pid']}.img"])
        start = dict(memory)[8]
        if fact["argv"]:
            # What is not ASCII gdb prints its own way.
            self.assertIn(json.dumps(fact["argv"][0][:40])[1:-1], gdb(core, "set print elements 0", f"x/s {start:#x}"))
        # Every page, and nothing that is not a page.
        whole = Core(core)
        digest, size = hashlib.sha256(), 0
        for address, pages in page_runs(images, fact["pid"]):
            got = whole.read(address, len(pages))
            self.assertEqual(got, pages, hex(address))
            digest.update(got)
            size += len(got)
        own = [r for r in whole.ranges if r["state"] == "data"]
        shared = sum(int(r["end"], 16) - int(r["start"], 16) for r in own if r["inode"] != "0x0")
        self.assertEqual(process["data_bytes"], size + shared)
        self.assertEqual(process["data_bytes"], sum(int(r["end"], 16) - int(r["start"], 16) for r in own))
        self.assertEqual(process["lost_bytes"], 0)
        # The ranges are all mappings, each once and whole.
        told = 0
        for before, after in zip(whole.ranges, whole.ranges[1:]):
            self.assertLessEqual(int(before["end"], 16), int(after["start"], 16))
        for r in whole.ranges:
            told += int(r["end"], 16) - int(r["start"], 16)
            self.assertTrue(r["frozen"])
            if r["state"] == "data" and r["inode"] == "0x0":
                self.assertEqual(whole.read(int(r["start"], 16), 16), whole.bytes[r["core_offset_bytes"]:r["core_offset_bytes"] + 16])
        vmas = [dict(fields(value)) for field, value in memory if field == 14]
        self.assertEqual(told, sum(vma[2] - vma[1] for vma in vmas))
        self.assertEqual(told, process["mapped_bytes"])
        elf = subprocess.run(["eu-readelf", "-n", core], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=60)
        self.assertEqual(elf.stderr, b"")
        self.assertEqual(elf.stdout.count(b"PRSTATUS"), len(fact["threads"]))
        self.assertIn(b"X86_XSTATE", elf.stdout)
        return digest.hexdigest()

    def test_every_process_of_every_archive(self):
        for archive, facts in FACTS.items():
            with open(os.path.join(DATA, facts + ".facts.json")) as file:
                facts = json.load(file)["processes"]
            images = images_of(os.path.join(DATA, archive))
            into, processes, _ = self.dump(archive)
            self.assertEqual(sorted(processes), sorted(fact["pid"] for fact in facts))
            for fact in facts:
                with self.subTest(archive=archive, pid=fact["pid"]):
                    core = os.path.join(into, f"{fact['pid']}.core")
                    digest = self.check_process(core, processes[fact["pid"]], fact, images)
                    self.assertEqual(digest, fact["memory_sha256"])

    def test_the_form_of_the_page_maps_does_not_matter(self):
        sums = []
        for archive in ("victim-podman.tar.zst", "victim-criu41-style.tar.zst"):
            _, processes, _ = self.dump(archive)
            sums.append({pid: (process["sha256"], process["pages_sha256"]) for pid, process in processes.items()})
        self.assertEqual(*sums)

    def test_the_form_of_the_archive_does_not_matter(self):
        directory = self.temp()
        plain, tree = os.path.join(directory, "crio.tar"), os.path.join(directory, "tree")
        with open(plain, "wb") as out:
            subprocess.run(["xz", "-dc", os.path.join(DATA, "crio.tar.xz")], stdout=out, check=True)
        os.mkdir(tree)
        subprocess.run(["tar", "-xf", plain, "-C", tree], check=True)
        sums = []
        for source in (os.path.join(DATA, "crio.tar.xz"), plain, tree):
            _, processes, _ = self.dump(source)
            sums.append({pid: (process["sha256"], process["pages_sha256"]) for pid, process in processes.items()})
        self.assertEqual(sorted(sums[0]), [1, 20, 21, 23])
        self.assertEqual(sums[0], sums[1])
        self.assertEqual(sums[0], sums[2])

    def test_one_process_and_what_cannot_be_meant(self):
        archive = os.path.join(DATA, "victim-criu41-style.tar.zst")
        core = os.path.join(self.temp(), "a core")
        text = self.expect(ctriage("dump", archive, "--pid", "23", "-o", core), 0).out.decode()
        self.assertIn("3 threads (3 with registers)", text)
        self.assertIn(lab.sha256_file(core), text)
        self.assertIn("set sysroot /nonexistent", text)
        several = self.expect(ctriage("dump", archive, "-o", core + "2"), 2)
        self.assertIn(b"1, 20, 21, 23", several.err)
        self.expect(ctriage("dump", archive, "--pid", "99", "-o", core + "2"), 1)
        self.expect(ctriage("dump", archive, "--pid", "x", "-o", core + "2"), 2)
        self.expect(ctriage("dump", archive, "--pid", "23", "--freeze", "none", "-o", core + "2"), 2)
        self.expect(ctriage("dump", archive, "--pid", "23", "-o", core), 1)  # it is there already
        nobody = self.expect(ctriage("dump", archive, "--pid", "23@nobody", "-o", core + "2"), 1)
        self.assertIn(b"no such container", nobody.err)
        nobody = self.expect(ctriage("dump", archive, "--pid", "23", "-c", "nobody", "-o", core + "2"), 1)
        self.assertIn(b"no container nobody, there is ", nobody.err)
        self.assertEqual(sorted(os.listdir(os.path.dirname(core))), ["a core", "a core.pages.jsonl"])

    def test_a_process_by_its_container(self):
        archive = os.path.join(DATA, "victim-criu41-style.tar.zst")
        (container,) = self.expect(ctriage("show", archive, "--json"), 0).json()["containers"]
        choice = f"23@{container['name']}"
        core = os.path.join(self.temp(), "core")
        (process,) = self.expect(ctriage("dump", archive, "--pid", choice, "-o", core, "--json"), 0).json()["processes"]
        self.assertEqual(process["pid"], 23)
        shown = self.expect(ctriage("show", archive, "--pid", choice, "--ps", "--json"), 0).json()
        self.assertEqual([one["pid"] for one in shown["processes"]], [23])
        found = self.expect(ctriage("search", archive, "AWS_SECRET_ACCESS_KEY", "--pid", choice, "--json"), 0).json()
        self.assertEqual({match["pid"] for match in found["matches"]}, {23})
        self.expect(ctriage("diff", archive, archive, "--ps", "--pid", choice), 0, 3)
        self.expect(ctriage("diff", archive, archive, "--ps", "--pid", choice, "-c", "other"), 2)

    def test_cut(self):
        """Pages that are not in the archive stand as zeros, and that is told."""
        directory = self.temp()
        tree = os.path.join(directory, "tree")
        os.mkdir(tree)
        with open(os.path.join(directory, "plain.tar"), "wb") as out:
            subprocess.run(["xz", "-dc", os.path.join(DATA, "crio.tar.xz")], stdout=out, check=True)
        subprocess.run(["tar", "-xf", out.name, "-C", tree], check=True)
        (head, *_) = entries(open(os.path.join(tree, "checkpoint", "pagemap-23.img"), "rb").read())
        pages = os.path.join(tree, "checkpoint", f"pages-{dict(head)[1]}.img")
        whole = os.path.getsize(pages)
        os.truncate(pages, whole - 5 * PAGE)
        core = os.path.join(directory, "core")
        (process,) = self.expect(ctriage("dump", tree, "--pid", "23", "-o", core, "--json"), 3).json()["processes"]
        self.assertFalse(process["complete"])
        self.assertEqual(process["lost_bytes"], 5 * PAGE)
        lost = [r for r in Core(core).ranges if r["state"] == "unreadable"]
        self.assertEqual(sum(int(r["end"], 16) - int(r["start"], 16) for r in lost), 5 * PAGE)
        for r in lost:
            self.assertIn("ends before the page", r["reason"])
            self.assertEqual(set(Core(core).read(int(r["start"], 16), PAGE)), {0})

    def test_a_bundle_has_its_own(self):
        other = os.path.join(self.temp(), "other.tar")
        with tarfile.open(other, "w") as tar:
            tar.add(os.path.join(DATA, "README.md"), "README.md")
        self.expect(ctriage("dump", other, "--all", "-o", self.temp()), 1)
