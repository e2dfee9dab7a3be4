"""`python -m batchexport` and the `batchexport` program."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the program and exit."""
    # Modules and rows live long and make few cycles. By the defaults a fifth of a short run's CPU goes into
    # looking for some: while modules are loaded, on the way, and once more at the end.
    gc.set_threshold(100_000, 20, 100)
    _leave_no_core_file()
    from batchexport.cli.program import main as run_program

    try:
        run_program()
    finally:
        gc.freeze()


def _leave_no_core_file() -> None:
    """A core file of a process that crashes, or gets SIGQUIT, would hold passwords and tokens."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
