"""`python -m bench.profile`: where signer and frontend spend their time under load, by py-spy.

It writes, for each of the two, a flame graph (SVG, for a browser) and the same as text: one stack a line, with the
number of samples. As root, or where ptrace is allowed; the signer forbids it to everybody else.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from bench.load import csr_key_for, csrs, run
from bench.stacks import Stack, make_ca, ours

_FORMATS = {"flamegraph": "svg", "raw": "txt"}
_LOAD_BEYOND_SECONDS = 4  # py-spy takes a moment to attach, and to write


@click.command()
@click.option("--key", default="p256", show_default=True, help="The CA's key.")
@click.option("--clients", default=64, show_default=True, help="Keep-alive connections.")
@click.option("--seconds", default=10, show_default=True, help="Of each profile.")
@click.option("--native", is_flag=True, help="With the frames of C: shows OpenSSL and SQLite.")
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent / "results/profile",
              help="The directory for what it writes.  [default: bench/results/profile]")  # fmt: skip
def main(key: str, clients: int, seconds: int, native: bool, out: Path) -> None:
    """Takes profiles of both processes under load."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as directory:
        work = Path(directory)
        ca = make_ca(work / "ca", key)
        requests = csrs(work, csr_key_for(key))
        with ours(ca, work / "ours") as stack:
            run(stack, requests, 8, 1)  # warm
            for form, suffix in _FORMATS.items():
                options = ["--duration", str(seconds), "--format", form, *(["--native"] if native else [])]
                with _sampled(stack, options, {role: out / f"{key}-{role}.{suffix}" for role in stack.processes}):
                    result = run(stack, requests, clients, seconds + _LOAD_BEYOND_SECONDS)
                click.echo(f"{result.rate:,.0f} certs/s while it was watched")
    click.echo("\n".join(str(path) for path in sorted(out.glob(f"{key}-*"))))


@contextlib.contextmanager
def _sampled(stack: Stack, options: Sequence[str], to: Mapping[str, Path]) -> Iterator[None]:
    """Has each of the stack's processes sampled, 250 times a second, while the block loads it."""
    py_spy = str(Path(sys.executable).with_name("py-spy"))
    with contextlib.ExitStack() as samplers:
        started = []
        for role, process in stack.processes.items():
            command = [py_spy, "record", "--rate", "250", "--nonblocking", *options]
            command += ["--pid", str(process.pid), "--output", str(to[role])]
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            samplers.enter_context(started[-1])
            samplers.callback(started[-1].terminate)  # of no consequence to one that has ended
        yield
        if any(sampler.wait(60) for sampler in started):
            raise RuntimeError("py-spy failed: it needs root, or a kernel that allows ptrace")


if __name__ == "__main__":
    main()
