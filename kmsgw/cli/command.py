"""The form of every command: shared options in any place, examples in the help, subcommands loaded when called."""

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from kmsgw.cli.completed import complete
from kmsgw.cli.failure import ExitCode
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.output import Format


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store a shared option where all commands of the run find it. The last place that gives it wins."""
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Invocation).flags, parameter.name.removeprefix("shared_"), value)


class SharedOption(click.Option):
    """An option that every command takes: `kmsgw -o json key list` and `kmsgw key list -o json` are the same."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(names, callback=_keep, expose_value=False, default=None, **attributes)


def shared_options() -> list[click.Parameter]:
    """Return the options that every command takes."""
    return [
        SharedOption("--config", "shared_config", metavar="FILE", help="Configuration file.  [KMSGW_CONFIG]"),
        SharedOption("--profile", "shared_profile", metavar="PROFILE", help="Profile in it.  [KMSGW_PROFILE]"),
        SharedOption("--address", "shared_address", metavar="HOST:PORT", help="The gateway.  [KMSGW_ADDRESS]"),
        SharedOption("--ca", "shared_ca", metavar="FILE", help="CA of the gateway, PEM.  [KMSGW_CA]"),
        SharedOption(
            "--certificate", "shared_certificate", metavar="FILE", help="Your certificate, PEM.  [KMSGW_CERTIFICATE]"
        ),
        SharedOption("--key-file", "shared_key", metavar="FILE", help="Its private key, PEM.  [KMSGW_KEY_FILE]"),
        SharedOption(
            "--timeout", "shared_timeout", metavar="SECONDS", help="Limit on each call, default 10.  [KMSGW_TIMEOUT]"
        ),
        SharedOption(
            "-o",
            "--output",
            "shared_output",
            type=click.Choice([form.value for form in Format]),
            help="How to write records.  [KMSGW_OUTPUT]",
        ),
        SharedOption("--quiet", "shared_quiet", is_flag=True, help="No notes on standard error.  [KMSGW_QUIET]"),
        SharedOption("--no-input", "shared_no_input", is_flag=True, help="Never ask.  [KMSGW_NO_INPUT]"),
        SharedOption(
            "--code-file", "shared_code_file", metavar="FILE", help="One-time codes, one a line.  [KMSGW_CODE_FILE]"
        ),
        SharedOption(
            "--code-fd", "shared_code_fd", metavar="N", type=click.IntRange(0), help="The same from a descriptor."
        ),
    ]


class Command(click.Command):
    """A verb. `examples` are lines of shell that the help ends with."""

    def __init__(self, name: str | None, *, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.params += shared_options()
        complete(self.params)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options first, the shared ones after."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        _write_examples(self.examples, formatter)


class Group(click.Group):
    """A noun, or the root. Subcommands named in `lazy` are imported when they are called.

    `lazy` maps a name to ``module:attribute`` and the line that the help shows, so that `--help` imports nothing.
    """

    command_class = Command

    def __init__(
        self,
        name: str | None = None,
        *,
        lazy: Mapping[str, tuple[str, str]] | None = None,
        examples: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        super().__init__(name, **attributes)
        self.params += shared_options()
        complete(self.params)
        self.lazy = dict(lazy or {})
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the help: that of their definition."""
        return [*(name for name in self.commands if name not in self.lazy), *self.lazy]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that the arguments begin with; suggest the nearest name where there is none."""
        # While the shell completes, nothing may be said: click then takes what it does not know for nothing.
        unknown = args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None
        if unknown and not ctx.resilient_parsing:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand, imported now where it is lazy."""
        if cmd_name in self.lazy and cmd_name not in self.commands:
            module, _, attribute = self.lazy[cmd_name][0].partition(":")
            self.add_command(getattr(import_module(module), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand. Ctrl-C ends it without a word; on a terminal, with a line end after its ``^C``."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)
            ctx.exit(ExitCode.INTERRUPTED)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands first, then the options."""
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each subcommand without importing it."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self.lazy:
                rows.append((name, self.lazy[name][1]))
            else:
                rows.append((name, self.commands[name].get_short_help_str(80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        _write_examples(self.examples, formatter)


def _write_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row is not None and isinstance(parameter, click.Option):
            (shared if isinstance(parameter, SharedOption) else own).append(row)
    for title, rows in (("Options", own), ("Shared options", shared)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def verb(
    group: click.Group | None = None, name: str | None = None, *, examples: Sequence[str]
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a `Command` of a function, in a group where one is given. Its docstring is the help."""

    def decorate(function: Callable[..., None]) -> click.Command:
        made = click.command(name, cls=Command, examples=examples)(function)
        if group is not None:
            group.add_command(made)
        return made

    return decorate
