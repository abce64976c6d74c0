"""A FUSE file system with one program on it, whose server can fall silent: what it reads it then never answers.

Speaks to /dev/fuse itself, include/uapi/linux/fuse.h, so nothing has to be installed.
"""
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # requests without an answer


class Fuse:
    """`path` inside the mount namespace of process `pid` becomes a FUSE mount that holds `name`, a copy of `program`."""

    def __init__(self, pid, path, name, program):
        # A process of its own: its end is the end of the connection, and whoever waits gets ENOTCONN.
        self.process = subprocess.Popen([sys.executable, __file__, str(pid), path, name, program], stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"mounted\n":
            self.close()
            raise OSError("fuse: could not be mounted")

    def fall_silent(self):
        self.process.send_signal(signal.SIGUSR1)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Server:
    def __init__(self, name, data):
        self.name, self.data = name.encode(), data
        self.silent = False
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        signal.signal(signal.SIGUSR1, self._fall_silent)

    def _fall_silent(self, *_):
        self.silent = True

    def mount(self, pid, path):
        child = os.fork()  # who mounts has to be in the namespace, and must not stay in it
        if child == 0:
            options = f"fd={self.fd},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
            space = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
            done = LIBC.setns(space, 0) == 0 and LIBC.mount(b"ctriage", path.encode(), b"fuse.ctriage", 0, options) == 0
            os._exit(0 if done else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def _attributes(self, node):
        mode, size = (stat.S_IFDIR | 0o755, 4096) if node == 1 else (stat.S_IFREG | 0o755, len(self.data))
        return struct.pack("<6Q10I", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _answer(self, opcode, node, body):
        if opcode == 26:  # INIT
            return struct.pack("<4IHHIIHHI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0)
        if opcode == 1:  # LOOKUP
            if node != 1 or body.rstrip(b"\0") != self.name:
                return errno.ENOENT
            return struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + self._attributes(2)
        if opcode == 3:  # GETATTR
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if opcode in (14, 27):  # OPEN, OPENDIR
            return struct.pack("<QII", 1, 0, 0)
        if opcode == 15:  # READ
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.data[offset:offset + size]
        if opcode == 17:  # STATFS
            return struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        return b"" if opcode in (18, 25, 29) else errno.ENOSYS  # RELEASE, FLUSH, RELEASEDIR

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENOENT:  # a request that was taken back
                    continue
                return
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, INTERRUPT, BATCH_FORGET) or self.silent:
                continue
            answer = self._answer(opcode, node, request[40:])
            failed = isinstance(answer, int)
            body = b"" if failed else answer
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -answer if failed else 0, unique) + body)


def main():
    pid, path, name, program = sys.argv[1:]
    with open(program, "rb") as file:
        server = Server(name, file.read())
    print("mounted" if server.mount(pid, path) else "failed", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
