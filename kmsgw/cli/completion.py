"""`kmsgw completion`."""

import click
from click.shell_completion import get_completion_class

from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation


@verb(
    examples=[
        'eval "$(kmsgw completion bash)"',
        "kmsgw completion zsh > ~/.zfunc/_kmsgw",
        "kmsgw completion fish > ~/.config/fish/completions/kmsgw.fish",
    ]
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_invocation
def completion(invocation: Invocation, shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL."""
    found = get_completion_class(shell)
    if found is None:
        raise CommandError(f"There is no completion for {shell}.", "Use bash, zsh or fish.")
    made = found(click.get_current_context().find_root().command, {}, "kmsgw", "_KMSGW_COMPLETE")
    invocation.output.line(made.source_template % made.source_vars())
