"""A real bundle, damaged in every way; and read with nothing but stock tools."""
import copy
import io
import os
import random
import subprocess
import tarfile
import time

import lab
from lab import Box, Bundle, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "zstd", "tar", "sha256sum", "gcc")


class Damage(Case):
    @classmethod
    def setUpClass(cls):
        box = Box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                  files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.addClassCleanup(box.stop)
        with open(box.root + "/large", "wb") as file:  # more than one chunk
            file.write(os.urandom(9 << 20))
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(lab.shutil.rmtree, cls.out)
        cls.run_ = ctriage("collect", f"pid:{box.pid}", "-o", cls.out)
        cls.upper = {os.path.relpath(os.path.join(w, n), box.upper): lab.sha256_file(os.path.join(w, n))
                     for w, _, files in os.walk(box.upper) for n in files
                     if os.path.isfile(os.path.join(w, n)) and not os.path.islink(os.path.join(w, n))}

    def setUp(self):
        self.expect(self.run_, 0)
        self.path = self.one_bundle(self.out)
        with open(self.path, "rb") as file:
            self.data = file.read()

    def verify(self, data, *statuses):
        path = os.path.join(self.temp(), "damaged.ctriage.tar")
        with open(path, "wb") as file:
            file.write(data)
        return self.expect(ctriage("verify", path), *statuses)

    def test_whole(self):
        run = self.expect(ctriage("verify", self.path), 0)
        with Bundle(self.path) as bundle:
            digest = lab.hashlib.sha256(bundle.raw("manifest.json")).hexdigest()
        self.assertIn(digest[:12].encode(), run.out + self.run_.err)
        self.expect(ctriage("verify", "--digest", digest, self.path), 0)
        other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        self.expect(ctriage("verify", "--digest", other, self.path), 1)
        self.assertTrue(self.expect(ctriage("verify", "--json", self.path), 0).json()["schema"].startswith("ctriage.verify/"))
        with open(self.path, "rb") as file:
            process = subprocess.run([lab.binary(), "verify", "-"], stdin=file, capture_output=True, check=False)
        self.assertEqual(process.returncode, 0, process.stderr)

    def test_any_byte_flipped(self):
        members = list(tarfile.open(self.path))
        chosen = random.Random(1)
        places = {0, 100, 156, 257, 511, len(self.data) - 1, len(self.data) - 1024}
        for member in members:  # in each header, each content and each padding
            places.add(member.offset + chosen.randrange(512))
            if member.size:
                places |= {member.offset_data, member.offset_data + member.size - 1,
                           member.offset_data + chosen.randrange(member.size)}
            if member.size % 512:
                places.add(member.offset_data + member.size)
        # As many as the time allows; the writer's unit test flips every byte of a small one.
        ends = time.monotonic() + 90
        tried = 0
        for place in chosen.sample(sorted(places), len(places)):
            if time.monotonic() > ends:
                break
            damaged = bytearray(self.data)
            damaged[place] ^= 1 << chosen.randrange(8)
            run = self.verify(damaged, 1)
            self.assertTrue(run.out + run.err, f"says nothing about byte {place}")
            tried += 1
        self.assertGreater(tried, 20)

    def rebuilt(self, change):
        """The bundle after `change(list of (TarInfo, bytes))`."""
        with tarfile.open(self.path) as tar:
            members = [(copy.copy(m), tar.extractfile(m).read()) for m in tar]
        change(members)
        out = io.BytesIO()
        for info, data in members:
            info.size = len(data)
            out.write(self.header(info))
            out.write(data + b"\0" * (-len(data) % 512))
        out.write(b"\0" * 1024)
        return out.getvalue()

    def header(self, info):
        """The original header with name and size set anew: only what the change is about differs."""
        original = bytearray(self.data[info.offset:info.offset + 512])
        old = original[:100].rstrip(b"\0") if not original[345] else None
        if old is not None and old.decode() != info.name:
            original[:100] = info.name.encode().ljust(100, b"\0")
        original[124:136] = b"%011o\0" % info.size
        original[148:156] = b" " * 8
        original[148:156] = b"%06o\0 " % sum(original)
        return bytes(original)

    def test_members_moved_about(self):
        self.assertEqual(self.rebuilt(lambda m: None), self.data, "the rebuilding itself changes something")
        numbers = range(len(list(tarfile.open(self.path))))
        chosen = random.Random(2).sample(list(numbers)[:-3], 12)

        def removed(n):
            return lambda m: m.pop(n)

        def added(n):
            def change(m):
                extra = copy.copy(m[n][0])
                extra.name = "added.txt"
                m.insert(n, (extra, b"planted\n"))
            return change

        def doubled(n):
            return lambda m: m.insert(n, m[n])

        def renamed(n):
            def change(m):
                if len(m[n][0].name) < 90:
                    m[n][0].name += "x"
                else:
                    m.pop(n)
            return change

        def swapped(n):
            def change(m):
                m[n], m[n + 1] = m[n + 1], m[n]
            return change

        def emptied(n):
            def change(m):
                m[n] = (m[n][0], b"" if m[n][1] else b"x")
            return change

        for kind in (removed, added, doubled, renamed, swapped, emptied):
            for number in chosen:
                with self.subTest(kind=kind.__name__, member=number):
                    self.verify(self.rebuilt(kind(number)), 1, 3)
        for number in (numbers[-1], numbers[-2], numbers[-3]):  # without its end it is cut, not wrong; never whole
            self.verify(self.rebuilt(removed(number)), 1, 3)

    def test_bytes_after_the_end(self):
        for tail in (b"\0", b"x", b"\0" * 512, self.data[:512]):
            self.verify(self.data + tail, 1)

    def test_cut(self):
        members = list(tarfile.open(self.path))
        chosen = random.Random(3)
        places = {1, 511, 512, 513, len(self.data) - 1, len(self.data) - 512, len(self.data) - 1024}
        for member in chosen.sample(members, min(12, len(members))):
            places |= {member.offset, member.offset + 17, member.offset_data + member.size // 2}
        for place in sorted(places | {0}):
            with self.subTest(place):
                # Less than one header could be anything; from there on it is a bundle that ends early.
                run = self.verify(self.data[:place], 3 if place >= 512 else 1)
                self.assertTrue(run.out + run.err)

    def test_salvage(self):
        path = os.path.join(self.temp(), "cut.part")
        cut = len(self.data) * 2 // 3
        with open(path, "wb") as file:
            file.write(self.data[:cut])
        run = self.expect(ctriage("verify", "--salvage", path), 3)
        self.assertIn(b"processes.jsonl", run.out)
        into = self.temp()
        told = self.expect(ctriage("verify", "--salvage", path, "-o", into, "--json"), 3).json()
        with Bundle(self.path) as bundle:
            for stream in told["salvage"]:
                name = stream["stream"]
                with open(os.path.join(into, name.removesuffix(".zst")), "rb") as file:
                    salvaged = file.read()
                self.assertEqual(len(salvaged), stream["size_bytes"], name)
                whole = bundle.bytes(name)
                self.assertEqual(salvaged, whole if stream["whole"] else whole[:len(salvaged)], name)
        self.assertEqual(sum(len(files) for _, _, files in os.walk(into)), len(told["salvage"]))
        run = self.expect(ctriage("verify", "--salvage", path, "-o", into), 1)  # nothing is replaced
        self.assertIn(b"File exists", run.err)
        self.expect(ctriage("verify", path, "-o", into), 2)
        self.expect(ctriage("show", path), 0, 3)
        with tarfile.open(self.path) as tar:
            changes = min(m.offset_data for m in tar if "/changes.jsonl" in m.name)
        if changes <= cut:
            self.expect(ctriage("diff", path), 0, 3)
        else:
            run = self.expect(ctriage("diff", path), 1)
            self.assertIn(b"changes.jsonl", run.err)

    def test_not_a_bundle(self):
        for data in (os.urandom(100_000), b"\0" * 10_240, b"hello" * 200):
            self.verify(data, 1)
        for data in (b"", b"abc", b"hello", os.urandom(100)):
            self.assertIn(b"not a bundle: no whole first member", self.verify(data, 1).out)
        with open("/proc/self/exe", "rb") as file:
            self.verify(file.read(200_000), 1)
        self.expect(ctriage("verify", "/no/such/file"), 1)
        self.expect(ctriage("verify", "/tmp"), 1)

    def test_stock_tools(self):
        """What DESIGN.md promises: tar, zstd and sha256sum are enough."""
        with Bundle(self.path) as bundle:
            container = bundle.containers()[0]
            names = bundle.order
        where = self.temp()
        subprocess.run(["tar", "xf", self.path, "-C", where], check=True)
        checked = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=where, capture_output=True, check=False)
        self.assertEqual((checked.returncode, checked.stdout), (0, b""))
        checked = subprocess.run(["sha256sum", "--quiet", "-c", "manifest.json.sha256"], cwd=where, capture_output=True,
                                 check=False)
        self.assertEqual(checked.returncode, 0)
        with open(os.path.join(where, "SHA256SUMS"), encoding="ascii") as file:
            listed = [line.split()[1] for line in file]
        self.assertEqual(listed, names[:-3])
        layer = subprocess.run(f"tar xOf {self.path} --wildcards 'containers/{container}/upper.tar.zst*' | zstd -dc | "
                               f"(mkdir {where}/layer && tar x -C {where}/layer --xattrs --exclude='.wh.*')",
                               shell=True, stderr=subprocess.PIPE, check=False)
        self.assertEqual(layer.returncode, 0, layer.stderr)
        for name, digest in self.upper.items():
            self.assertEqual(lab.sha256_file(os.path.join(where, "layer", name)), digest, name)
        unpacked = self.expect(ctriage("show", where), 0, 3)
        self.assertIn(b"kworker", unpacked.out)

    def test_custody_chain(self):
        with Bundle(self.path) as bundle:
            previous = "0" * 64
            lines = bundle.raw("custody.jsonl").splitlines(keepends=True)
        for number, line in enumerate(lines):
            record = lab.json.loads(line)
            self.assertEqual((record["seq"], record["prev"]), (number, previous))
            previous = lab.hashlib.sha256(line).hexdigest()
        self.assertEqual(lab.json.loads(lines[-1])["action"], "seal")
