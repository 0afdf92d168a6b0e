"""Starts, watches and kills the processes of a local network.

Each node is `phalanx run DIR` in a process of its own, its stderr in `DIR/node.log`. A process that ends
without being told to is an error of the whole cluster, with the end of its log.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Container
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from bench.directory import NetworkDirectory, NodeHome
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Height
from node.api import NodeStatus
from node.client import RpcClient, RpcError, RpcUnreachable

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.02
KILL_POLL_S: Final = 0.002
LOG_FILE: Final = "node.log"
PID_FILE: Final = "node.pid"
LOG_TAIL_BYTES: Final = 2_000
TOLD: Final = "\nphalanx: "  # how `node.cli` says why a command failed


class NodeProcess:
    """One node's process, which may be started and killed any number of times, by us or by somebody else.

    The pid file says who it is, so that a chaos run can attach to a devnet that another process started, and
    that devnet can stop a node which the chaos run restarted.
    """

    def __init__(self, home: NodeHome) -> None:
        self.home: Final = home
        self.program: tuple[str, ...] = ("-m", "node.cli.main")  # to the interpreter; of the next start
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, if it is there."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        try:
            pid = int((self.home.directory / PID_FILE).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.home.directory) in command.split(b"\0") else None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid is not None

    def start(self) -> None:
        """Start the process; it answers RPC a moment later."""
        if self.running:
            raise RuntimeError(f"{self.home.name} is running already")
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, *self.program, "run", str(self.home.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for us; we stop our nodes ourselves
            )
        (self.home.directory / PID_FILE).write_text(f"{self._child.pid}\n")

    @property
    def exit_code(self) -> int | None:
        """Of the process that was started last, if it was by us and has ended."""
        return None if self._child is None else self._child.poll()

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        pid = self.pid
        self._signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
        while pid is not None and self.pid == pid:  # another process's child: the kernel takes its time
            time.sleep(KILL_POLL_S)

    def terminate(self) -> None:
        """SIGTERM: finish, sync, leave."""
        self._signal(signal.SIGTERM)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end; False if it had to be killed when the time was over."""
        deadline = trio.current_time() + timeout_s
        while self.running:
            if trio.current_time() > deadline:
                self.kill()
                return False
            await trio.sleep(POLL_S)
        return True

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    @property
    def log_file(self) -> Path:
        """Where it logs."""
        return self.home.directory / LOG_FILE

    def log_tail(self) -> str:
        """The end of its log, for an error report."""
        try:
            content = self.log_file.read_bytes()
        except OSError:
            return "(no log)"
        return content[-LOG_TAIL_BYTES:].decode(errors="replace").strip()

    def last_words(self) -> str:
        """The sentence with which the command line ended it, or the end of its log."""
        tail = self.log_tail()
        _, told, sentence = tail.rpartition(TOLD)
        if told and "\n" not in sentence:
            return sentence
        return f"the end of its log:\n{tail}"

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under a name, oldest first; lines that a kill cut off, or of another form, aside."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        whole = [
            line for line in lines if line.startswith("{") and line.endswith("}") and f'"{name}"' in line
        ]
        return [event for event in map(json.loads, whole) if event["event"] == name]

    def resident_bytes(self) -> int:
        """Resident memory of the node's own process; guest workers are not counted."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Processor time that the node's own process has taken, its threads included; in steps of a tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Cluster:
    """The processes of one network and a client for each."""

    def __init__(
        self, directory: NetworkDirectory, nodes: list[NodeProcess], clients: list[RpcClient]
    ) -> None:
        self.directory: Final = directory
        self.nodes: Final = nodes
        self.clients: Final = clients

    @property
    def validators(self) -> range:
        """Indices of validators in `nodes` and `clients`."""
        return range(len(self.directory.validators))

    @property
    def collator(self) -> int | None:
        """Index of the collator."""
        return len(self.directory.validators) if self.directory.collator else None

    @property
    def running(self) -> list[int]:
        """Indices of validators whose process is there."""
        return [index for index in self.validators if self.nodes[index].running]

    def running_clients(self) -> list[RpcClient]:
        """Clients of the validators that are there."""
        return [self.clients[index] for index in self.running]

    async def status(self, index: int) -> NodeStatus | None:
        """A node's status; None when it does not answer."""
        try:
            return await self.clients[index].status()
        except (RpcError, RpcUnreachable):
            return None

    async def wait_for(
        self, index: int, condition: Callable[[NodeStatus], bool], *, timeout_s: float, what: str
    ) -> NodeStatus:
        """Wait until a node's status satisfies `condition`. Raises LocalFault if it does not."""
        with trio.move_on_after(timeout_s):
            while True:
                status = await self.status(index)
                if status is not None and condition(status):
                    return status
                if not self.nodes[index].running:
                    raise self._fault(index, "ended by itself")
                await trio.sleep(POLL_S)
        raise self._fault(index, f"did not get {what} within {timeout_s:g} s")

    async def wait_ready(self, *, height: int = 1, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every running node has a final block of at least `height`."""
        for index, node in enumerate(self.nodes):
            if node.running:
                await self.wait_for(
                    index,
                    lambda status: status.final_height >= Height(height),
                    timeout_s=timeout_s,
                    what=f"height {height} final",
                )

    def check_running(self, expected: list[int]) -> None:
        """Raise LocalFault if a node that should be there is not."""
        for index in expected:
            if not self.nodes[index].running:
                raise self._fault(index, "ended by itself")

    def _fault(self, index: int, what: str) -> LocalFault:
        node = self.nodes[index]
        return LocalFault(f"{node.home.name} {what}: {node.last_words()}")


@asynccontextmanager
async def start_cluster(
    directory: NetworkDirectory,
    *,
    only: Container[int] | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
) -> AsyncIterator[Cluster]:
    """Start every node of a network; stop them, by SIGTERM and then SIGKILL, when the block ends.

    `only`: the nodes, by index, to start now; the others are the caller's to start. `start_timeout_s`: until
    all have a final block; a large genesis takes its time to read.
    """
    nodes = [NodeProcess(home) for home in directory.nodes]
    async with _clients(directory) as clients:
        cluster = Cluster(directory, nodes, clients)
        try:
            for index, node in enumerate(nodes):
                if only is None or index in only:
                    node.start()
            await cluster.wait_ready(timeout_s=start_timeout_s)
            yield cluster
        finally:
            with trio.CancelScope(shield=True):
                for node in nodes:
                    node.terminate()
                for node in nodes:
                    await node.wait(STOP_TIMEOUT_S)


@asynccontextmanager
async def attach_cluster(directory: NetworkDirectory) -> AsyncIterator[Cluster]:
    """Use a network that is running already, and leave it running."""
    async with _clients(directory) as clients:
        yield Cluster(directory, [NodeProcess(home) for home in directory.nodes], clients)


@asynccontextmanager
async def _clients(directory: NetworkDirectory) -> AsyncIterator[list[RpcClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RpcClient(home.rpc)) for home in directory.nodes]
