"""All texts of a launch command, for every shell and for containers."""

from fitserve.emit.containers import compose, docker_run
from fitserve.emit.scripts import Sequenced, bash_text, cmd_text, powershell_text
from fitserve.engines.contract import LaunchCommand


def shell_texts(command: LaunchCommand, is_native: bool) -> dict[str, str | None]:
    """Text for each shell; cmd and PowerShell run the container where the engine is not native to Windows.

    `cmd` is None for an argument with a line break, which cmd.exe cannot carry.
    """
    container, on_windows = docker_run(command), windows_run(command, is_native)
    return {
        "bash": bash_text(native_run(command)),
        "powershell": powershell_text(on_windows, is_new=False),
        "powershell7": powershell_text(on_windows, is_new=True),
        "cmd": cmd_text(on_windows, is_batch=False),
        "docker": None if container is None else bash_text(container),
        "compose": compose(command),
    }


def native_run(command: LaunchCommand) -> Sequenced:
    """The command as it is."""
    return Sequenced(argv=command.argv, env=command.env, then=command.then, port=command.port)


def windows_run(command: LaunchCommand, is_native: bool) -> Sequenced:
    """The command as Windows runs it: in a container where the engine is not native and has an image."""
    container = None if is_native else docker_run(command, is_windows=True)
    return container or native_run(command)
