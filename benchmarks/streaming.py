"""What streaming an image costs beside `curl | curl`, with a hash and without one.

`python benchmarks/streaming.py`. Both work on the same two services on loopback, in turns. Needs curl and an
otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measured import Cost, run

HERE = Path(__file__).parent
PLAIN = "curl -sf {source} | curl -sf -H Expect: -T - {destination}"
HASHED = "curl -sf {source} | tee >(sha512sum >{folder}/hash) | curl -sf -H Expect: -T - {destination}"
AT_ONCE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=4096, help="size of each image (4,096)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured (5)")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        source, destination = [stack.enter_context(service(asked.mib, *kind)) for kind in (["source"], [])]
        clouds = folder / "clouds.yaml"
        clouds.write_text("clouds:\n" + entry("source", source) + entry("destination", destination))
        ours: list[Cost] = []
        pipes: dict[str, list[Cost]] = {PLAIN: [], HASHED: []}
        for _ in range(asked.rounds):
            ours.append(streamed(clouds, 1, folder)[0])
            for pipe, costs in pipes.items():
                costs.append(piped(pipe, source, destination, folder))
        idle, _ = streamed(clouds, 0, folder)
        many, took = streamed(clouds, AT_ONCE, folder)
    tell(asked.mib, ours, pipes, idle, many, took)


def tell(
    mib: int, ours: list[Cost], pipes: dict[str, list[Cost]], idle: Cost, many: Cost, took: list[float]
) -> None:
    """Print the figures; of several rounds the medians."""
    gib, one = mib / 1024, median(ours)
    print(f"one image of {mib:,} MiB, medians of {len(ours)}:")
    for name, cost in (("ours", one), *((pipe, median(costs)) for pipe, costs in pipes.items())):
        speed, cpu = mib / cost.wall_s, cost.cpu_s / gib
        print(f"  {speed:7.0f} MiB/s {cpu:6.2f} s CPU per GiB  {name}")
    for name, pipe in (("without", PLAIN), ("with", HASHED)):
        cost = median(pipes[pipe])
        speed, cpu, running = cost.wall_s / one.wall_s, one.cpu_s / cost.cpu_s, one.cpu_s - idle.cpu_s
        print(f"  by the pipe {name} a hash: throughput {speed:.2f}, CPU {cpu:.2f}", end="")
        print(f", without our start {running / cost.cpu_s:.2f}")
    print(f"  memory: {idle.peak_mib:.0f} MiB idle, {one.peak_mib:.0f} MiB with one transfer")
    speed, cpu = mib * len(took) / many.wall_s, many.cpu_s / gib / len(took)
    print(f"{len(took)} at once: {speed:.0f} MiB/s together, {cpu:.2f} s CPU per GiB")
    print(f"  memory: {(many.peak_mib - idle.peak_mib) / len(took):.1f} MiB per transfer")
    slower = max(took) / min(took)
    print(f"  fastest {min(took):.1f} s, slowest {max(took):.1f} s: {slower:.2f} times as long")


def median(costs: list[Cost]) -> Cost:
    """The medians of each."""
    return Cost(
        cpu_s=statistics.median(each.cpu_s for each in costs),
        wall_s=statistics.median(each.wall_s for each in costs),
        peak_mib=statistics.median(each.peak_mib for each in costs),
    )


def streamed(clouds: Path, count: int, folder: Path) -> tuple[Cost, list[float]]:
    """The cost of so many streams at once by our own code, and the seconds that each took."""
    told = folder / "took"
    words = f"exec {sys.executable} {HERE / 'stream_images.py'} {clouds} {count} >{told}"
    cost = run(("bash", "-c", words))
    took: list[float] = json.loads(told.read_text())
    return cost, took


def piped(pipe: str, source: str, destination: str, folder: Path) -> Cost:
    """The cost of the same by hand."""
    words = pipe.format(
        source=f"{source}/v2/images/{uuid.uuid4()}/file",
        destination=f"{destination}/v2/images/{uuid.uuid4()}/file",
        folder=folder,
    )
    return run(("bash", "-c", f"set -o pipefail; {words}"))


@contextmanager
def service(mib: int, *kind: str) -> Iterator[str]:
    """An image service in a process of its own; its address."""
    words = [sys.executable, str(HERE / "image_service.py"), str(mib), *kind]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def entry(name: str, address: str) -> str:
    """The cloud in clouds.yaml."""
    auth = "{username: u, password: p, project_name: p, user_domain_id: default, project_domain_id: default"
    return f"  {name}:\n    region_name: r\n    auth: {auth}, auth_url: '{address}/v3'}}\n"


if __name__ == "__main__":
    main()
