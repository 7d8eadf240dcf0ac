"""A file system that stalls, fails or vanishes on command, like a network disk.

    python tests/stalling.py SOURCE MOUNTPOINT

mounts SOURCE, read-only, at MOUNTPOINT. It implements the protocol of FUSE (linux/fuse.h, 7.22)
itself, so nothing but root and /dev/fuse is needed. Each line on stdin is a command:

    go          answer reads, including those that wait
    stall N     let reads wait after N more bytes have been read
    fail N      answer reads with EIO after N more bytes
    vanish      exit at once: the mounted files answer ENOTCONN until they are unmounted
    status      change nothing

Each is answered by a line of JSON: the number of bytes read so far, and the files whose reads wait.
When stdin ends, the file system is unmounted. Reads are cached and read ahead, as over NFS, and as
over NFS a process that waits for one reacts to no signal but SIGKILL.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

MAJOR, MINOR = 7, 22
READ_BYTES = 16_384  # of one read, and of what the kernel reads ahead
MS_RDONLY, MS_NOSUID, MS_NODEV, MNT_DETACH = 1, 2, 4, 2
ROOT = 1

# Names and fields as in linux/fuse.h.
IN_HEADER = struct.Struct("<IIQQIIIHH")  # len opcode unique nodeid uid gid pid extlen padding
OUT_HEADER = struct.Struct("<IiQ")  # len error unique
INIT_IN = struct.Struct("<IIII")  # major minor max_readahead flags
INIT_OUT = struct.Struct("<IIIIHHI")  # as before, max_background congestion_threshold max_write
ATTR = struct.Struct("<6Q10I")  # ino size blocks 3 times, 3 ns, mode nlink uid gid rdev blksize
ENTRY_OUT = struct.Struct(
    "<QQQQII"
)  # nodeid generation 2 times for which it is valid; attr follows
ATTR_OUT = struct.Struct("<QII")  # time for which it is valid; attr follows
OPEN_OUT = struct.Struct("<QII")  # fh open_flags padding
READ_IN = struct.Struct("<QQIIQII")  # fh offset size read_flags lock_owner flags padding
STATFS_OUT = struct.Struct("<5Q10I")  # blocks bfree bavail files ffree bsize namelen frsize
DIRENT = struct.Struct("<QQII")  # ino off namelen type; the name follows, padded to 8

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, INIT = 1, 2, 3, 14, 15, 17, 18, 26
OPENDIR, READDIR, INTERRUPT, BATCH_FORGET = 27, 28, 36, 42
NEVER_ANSWERED = (FORGET, INTERRUPT, BATCH_FORGET)


@dataclass
class Request:
    """A request from the kernel."""

    opcode: int
    unique: int
    node: int
    thread: int  # that reads; 0 for the kernel itself, which reads ahead
    body: bytes


@dataclass
class Stalling:
    """The file system: its files, and how it behaves now."""

    source: Path
    device: int  # /dev/fuse
    paths: dict[int, Path] = field(default_factory=dict)
    nodes: dict[Path, int] = field(default_factory=dict)
    files: dict[int, int] = field(default_factory=dict)  # open file -> node
    waiting: list[Request] = field(default_factory=list)
    mode: str = "go"
    bytes_left: int = 0  # until the mode takes effect
    served: int = 0

    def __post_init__(self) -> None:
        self.node_of(self.source)  # the first node is ROOT

    def node_of(self, path: Path) -> int:
        """Return the number of a file; it never changes."""
        node = self.nodes.setdefault(path, ROOT + len(self.nodes))
        self.paths[node] = path
        return node

    def attributes(self, path: Path) -> bytes:
        """Return fuse_attr; raises OSError if the file does not exist."""
        at = path.stat()
        times = at.st_atime_ns, at.st_mtime_ns, at.st_ctime_ns
        return ATTR.pack(
            self.nodes[path], at.st_size, at.st_blocks, *(t // 10**9 for t in times),
            *(t % 10**9 for t in times), at.st_mode, at.st_nlink, at.st_uid, at.st_gid, 0, 4096, 0,
        )  # fmt: skip

    def answer(self, request: Request, data: bytes = b"", error: int = 0) -> None:
        """Send an answer; if the process was killed, nothing may be left to receive it."""
        head = OUT_HEADER.pack(OUT_HEADER.size + len(data), -error, request.unique)
        with contextlib.suppress(FileNotFoundError):
            os.write(self.device, head + data)

    def handle(self, request: Request) -> None:
        """Answer a request, or leave it waiting."""
        if request.opcode in NEVER_ANSWERED:
            return
        if request.opcode == READ and self.bytes_left <= 0 and self.mode != "go":
            if self.mode == "fail":
                self.answer(request, error=errno.EIO)
            else:
                self.waiting.append(request)
            return
        try:
            handler = HANDLERS.get(request.opcode)
            if handler is None:
                raise OSError(errno.ENOSYS, "")
            self.answer(request, handler(self, request))
        except OSError as error:
            self.answer(request, error=error.errno or errno.EIO)

    def init(self, request: Request) -> bytes:
        """Agree on a version and on small reads."""
        major, minor, *_ = INIT_IN.unpack_from(request.body)
        if major != MAJOR or minor < MINOR:
            raise OSError(errno.EPROTO, "")
        return INIT_OUT.pack(MAJOR, MINOR, READ_BYTES, 0, 0, 0, 4096)

    def lookup(self, request: Request) -> bytes:
        """Find a name in a directory."""
        path = self.paths[request.node] / os.fsdecode(request.body.rstrip(b"\0"))
        path.stat()
        return ENTRY_OUT.pack(self.node_of(path), 0, 0, 0, 0, 0) + self.attributes(path)

    def getattr(self, request: Request) -> bytes:
        """Return the attributes of a file."""
        return ATTR_OUT.pack(0, 0, 0) + self.attributes(self.paths[request.node])

    def open(self, request: Request) -> bytes:
        """Open a file."""
        file = os.open(self.paths[request.node], os.O_RDONLY)
        self.files[file] = request.node
        return OPEN_OUT.pack(file, 0, 0)

    def read(self, request: Request) -> bytes:
        """Read a part of a file."""
        file, offset, size, *_ = READ_IN.unpack(request.body)
        data = os.pread(file, size, offset)
        self.served += len(data)
        self.bytes_left -= len(data)
        return data

    def release(self, request: Request) -> bytes:
        """Close a file."""
        (file,) = struct.unpack_from("<Q", request.body)
        del self.files[file]
        os.close(file)
        return b""

    def opendir(self, _: Request) -> bytes:
        """Open a directory; there is nothing to store."""
        return OPEN_OUT.pack(0, 0, 0)

    def readdir(self, request: Request) -> bytes:
        """List a directory, starting at an entry."""
        _, first, size, *_ = READ_IN.unpack(request.body)
        names = [".", "..", *sorted(os.listdir(self.paths[request.node]))]
        data = b""
        for index, name in list(enumerate(map(os.fsencode, names), start=1))[first:]:
            entry = DIRENT.pack(index + 2**32, index, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(data) + len(entry) > size:
                break
            data += entry
        return data

    def statfs(self, _: Request) -> bytes:
        """Return the size of the file system."""
        return STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7)

    def release_the_killed(self) -> None:
        """Answer reads of threads that are being killed: unlike NFS, the kernel waits for that."""
        for request in list(self.waiting):
            if is_being_killed(request.thread):
                self.waiting.remove(request)
                self.answer(request, error=errno.EINTR)

    def execute(self, line: str) -> str:
        """Execute a command and return the answer."""
        command, *number = line.split()
        if command == "vanish":
            os._exit(0)
        if command != "status":
            self.mode, self.bytes_left = command, int(number[0]) if number else 0
            requests, self.waiting = self.waiting, []
            for request in requests:
                self.handle(request)
        names = [self.paths[request.node].name for request in self.waiting]
        return json.dumps({"served": self.served, "waiting": names})


HANDLERS: dict[int, Callable[[Stalling, Request], bytes]] = {
    LOOKUP: Stalling.lookup, GETATTR: Stalling.getattr, OPEN: Stalling.open, READ: Stalling.read,
    STATFS: Stalling.statfs, RELEASE: Stalling.release, INIT: Stalling.init,
    OPENDIR: Stalling.opendir, READDIR: Stalling.readdir,
    29: lambda *_: b"",  # RELEASEDIR
}  # fmt: skip


def is_being_killed(thread: int) -> bool:
    """Return whether SIGKILL is pending for a thread; see proc_pid_status(5)."""
    try:
        lines = Path(f"/proc/{thread}/status").read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    pending = next(int(line.split()[1], 16) for line in lines if line.startswith("SigPnd:"))
    return bool(pending >> (signal.SIGKILL - 1) & 1)


def mount(device: int, place: str) -> None:
    """Mount the file system behind an open /dev/fuse; see mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    options += f",max_read={READ_BYTES}"
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV
    if libc.mount(b"stalling", os.fsencode(place), b"fuse", flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)


def unmount(place: str | Path) -> None:
    """Unmount, whether the file system still answers or not."""
    ctypes.CDLL(None).umount2(os.fsencode(place), MNT_DETACH)


def serve(system: Stalling, place: str) -> NoReturn:
    """Answer the kernel and execute commands from stdin until either ends."""
    while True:
        ready, *_ = select.select([system.device, sys.stdin], [], [], 0.1)
        system.release_the_killed()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                unmount(place)
                sys.exit()
            print(system.execute(line), flush=True)
        if system.device in ready:
            try:
                message = os.read(system.device, 2**17)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    sys.exit()
                if error.errno in (errno.ENOENT, errno.EAGAIN, errno.EINTR):  # withdrawn
                    continue
                raise
            _, opcode, unique, node, _, _, thread, *_ = IN_HEADER.unpack_from(message)
            system.handle(Request(opcode, unique, node, thread, message[IN_HEADER.size :]))


if __name__ == "__main__":
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
    mount(fuse, sys.argv[2])
    print(json.dumps({"served": 0, "waiting": []}), flush=True)
    serve(Stalling(Path(sys.argv[1]).absolute(), fuse), sys.argv[2])
