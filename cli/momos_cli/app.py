"""The commands. ``main`` is the entry point of ``momos-compress``."""

import importlib.metadata
import sys

from cyclopts import App

from momos_cli.compress import compress
from momos_cli.exits import APPS, guarded
from momos_cli.files import evaluate, export, inspect
from momos_cli.finetune import finetune
from momos_cli.report import report
from momos_cli.reproduce import reproduce
from momos_cli.study import study
from momos_cli.sweep import sweep
from momos_cli.topology import topology
from momos_cli.trace import trace

app = App(
    name="momos-compress",
    help="Simplify trained networks into mosaics of reusable motifs, and measure how simple they are.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    version=lambda: importlib.metadata.version("momos-compress"),
)
app.register_install_completion_command()


app.default(compress)
for command in (compress, inspect, evaluate, export, finetune, reproduce, sweep, study, report, trace, topology):
    app.command(command)
APPS.append(app)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    guarded(lambda: app(sys.argv[1:], print_error=False, exit_on_error=False))
