"""ca_admin completion."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes ca_admin in a shell.

    An installed signerd has put the scripts where the shells look for them; this is for other places.

    \b
    Examples:
      ca_admin completion bash > ~/.local/share/bash-completion/completions/ca_admin
      ca_admin completion zsh > ~/.zfunc/_ca_admin     (with ~/.zfunc in fpath before compinit)
      ca_admin completion fish > ~/.config/fish/completions/ca_admin.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - for the type checker: the choices above are what click knows
    complete = kind(context.find_root().command, {}, "ca_admin", "_CA_ADMIN_COMPLETE")
    # Not source(), which would start a bash to see its version.
    click.echo(complete.source_template % complete.source_vars())
