"""`okr`, also as `python -m okr_cli`."""

import os
import sys

REPLACE_ODD_CHARACTERS = "replace"


def main() -> None:
    """Run the command. Whatever the terminal cannot show is replaced; a missing library is one clear line."""
    # gRPC would talk about every child process we start (PostgreSQL's tools): none of them uses gRPC.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=REPLACE_ODD_CHARACTERS)
    try:
        from okr_cli.app import build
    except ImportError as error:
        missing = error.name or str(error)
        sys.stderr.write(
            f"okr: the library {missing!r} is missing; install the platform anew: pip install okr-platform\n"
        )
        sys.exit(2)
    build()()


if __name__ == "__main__":
    main()
