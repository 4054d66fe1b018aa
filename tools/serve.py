"""`./run serve`: ComfyUI with this pack, the bundled models and the templates, on the loopback interface."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.comfyui import ComfyServer, NoServer
from tools.say import complain, say

REPOSITORY = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run serve", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8188, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--base", type=Path, default=REPOSITORY / ".comfy" / "workspace",
                        help="folder for models, input and output (default: %(default)s)")  # fmt: skip
    options = parser.parse_args(arguments)
    server = ComfyServer(options.base.resolve(), port=options.port)
    try:
        server.prepare()
        say(f"ComfyUI will answer on {server.url}; models, input and output are in {server.base}.")
        say("Open Templates > t2v-unlearning > Erase a concept. Ctrl+C stops.")
        return server.run()
    except KeyboardInterrupt:
        return 0
    except NoServer as error:
        complain(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
