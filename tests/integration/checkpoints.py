"""Archives of testdata/checkpoint for tests."""
import os
import shutil
import subprocess
import tempfile

from lab import Case

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")


class Unpacked(Case):
    """CRI-O's archive, plain and unpacked."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.plain = os.path.join(cls.dir, "crio.tar")
        with open(cls.plain, "wb") as out:
            subprocess.run(["xz", "-dc", os.path.join(DATA, "crio.tar.xz")], stdout=out, check=True)
        cls.tree = os.path.join(cls.dir, "tree")
        os.mkdir(cls.tree)
        subprocess.run(["tar", "-xf", cls.plain, "-C", cls.tree], check=True)
