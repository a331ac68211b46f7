"""The command line as a whole: found commands, help that works, exit codes, one import that stays light."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from types import ModuleType

import pytest

from ctrestoration.cli import main as main_module
from ctrestoration.cli import terminal
from ctrestoration.cli.main import _command_modules, build_parser, main
from ctrestoration.cli.terminal import print_json, terminal_control
from ctrestoration.errors import Cancelled, CTRestorationWarning, InputError, MissingDependencyError

COMMANDS = {module.COMMAND: module for module in _command_modules()}
HEAVY = ["torch", "numba", "vtk", "SimpleITK", "matplotlib", "skimage", "monai", "h5py", "pydantic", "scipy"]
HEAVY += ["yaml", "pydicom", "ray"]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "work",
    [
        "import ctrestoration",
        "from ctrestoration.cli.main import build_parser; build_parser()",
        "import ctrestoration.io.images, ctrestoration.anatomy.metal, ctrestoration.registry",
    ],
)
def test_importing_loads_nothing_heavy(work: str) -> None:
    found = run(f"import sys; {work}; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ""


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ctrestoration", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("ctrestoration ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    example = COMMANDS[command].EXAMPLE
    assert example in capsys.readouterr().out
    program, *words = shlex.split(example)
    assert program == "ctrestoration"
    assert words[: len(command.split())] == command.split()
    assert build_parser().parse_args(words).run_command is COMMANDS[command].run


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command.split()[0] in out for command in COMMANDS)
    assert "not a medical device" in out


def command_that(action) -> ModuleType:
    module = ModuleType("fake")
    module.COMMAND, module.HELP, module.EXAMPLE = "fake", "do a fake thing", "ctrestoration fake"
    module.configure = lambda parser: None
    module.run = lambda arguments: action()
    return module


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """Install a command `fake` that does what it is given."""
    return lambda action: monkeypatch.setattr(main_module, "_command_modules", lambda: [command_that(action)])


def raising(error: BaseException):
    def action() -> int:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("ct.nrrd is empty."), 2, "ctrestoration: ct.nrrd is empty.\n"),
        (
            MissingDependencyError("torch", "torch", "Method 'cnn'"),
            2,
            "ctrestoration: Method 'cnn' needs the Python package 'torch', which is not installed: "
            "pip install 'ctrestoration[torch]'.\n",
        ),
        (Cancelled("Cancelled while reading."), 130, "ctrestoration: Cancelled while reading.\n"),
        (KeyboardInterrupt(), 130, "ctrestoration: Cancelled; nothing half-written was left.\n"),
        (MemoryError(), 2, "ctrestoration: not enough memory for this volume: crop it, or give coarser voxels.\n"),
    ],
)
def test_errors_are_one_sentence_and_a_code(fake, capsys, error: BaseException, code: int, message: str) -> None:
    fake(raising(error))
    assert main(["fake"]) == code
    assert capsys.readouterr() == ("", message)


def test_defects_keep_their_traceback(fake) -> None:
    fake(raising(KeyError("defect")))
    with pytest.raises(KeyError):
        main(["fake"])


def test_notes_go_to_standard_error(fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(lambda: warnings.warn("two series", CTRestorationWarning, stacklevel=1))
    before = warnings.showwarning, list(warnings.filters)
    assert main(["fake"]) == 0
    assert main(["fake"]) == 0
    assert capsys.readouterr() == ("", "note: two series\n" * 2)
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_a_request_to_end_cleans_up_as_ctrl_c(fake, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fake(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["fake"]) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_runs_outside_the_main_thread(fake) -> None:
    fake(lambda: 0)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["fake"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_closed_pipe_is_no_error() -> None:
    code = (
        "import sys\n"
        "from ctrestoration.cli import main as m\n"
        "from types import ModuleType as M\n"
        "f = M('fake'); f.COMMAND, f.HELP, f.EXAMPLE = 'fake', 'x', 'x'\n"
        "f.configure = lambda p: None\n"
        "f.run = lambda a: [print('line' * 50) for _ in range(9999)] and 0\n"
        "m._command_modules = lambda: [f]\n"
        "sys.exit(m.main(['fake']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"psnr_db": None})
    assert capsys.readouterr().out == '{\n  "psnr_db": null\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"psnr_db": float("inf")})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_a_log_is_a_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    control = terminal_control()
    list(control.part(0.0, 0.5).track(range(9), "Reading"))
    list(control.part(0.5, 1.0).track(range(9), "Correcting"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "[  0 %] Reading\n[ 50 %] Correcting\n"


def test_progress_on_a_terminal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    list(terminal_control().track(range(3), "Reading"))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")
    assert "[100 %] Reading" in stream.getvalue()


def test_the_time_left_does_not_count_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([100.0, 100.5, 101.0, 111.0, 161.0, 171.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    control = terminal_control()
    for fraction, message in ((0.0, "Reading"), (0.5, "Going on"), (0.51, "First"), (0.6, "Second"), (1.0, "Last")):
        control.report(fraction, message)
    lines = capsys.readouterr().err.splitlines()
    assert lines[2] == "[ 51 %] First", "too early to say"
    assert lines[3] == "[ 60 %] Second, about 4 min left", "10 % in a minute"
    assert lines[4] == "[100 %] Last"


def test_an_error_does_not_run_into_the_progress_line(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)

    def action() -> None:
        terminal_control().report(0.4, "Reading")
        raise InputError("ct.nrrd is empty.")

    fake(action)
    assert main(["fake"]) == 2
    assert stream.getvalue().splitlines()[-1] == "ctrestoration: ct.nrrd is empty."


def test_every_command_is_one_documented_file() -> None:
    for module in COMMANDS.values():
        assert module.__doc__.startswith(f"`ctrestoration {module.COMMAND}`")
        assert not module.HELP.endswith(".")
        configured = argparse.ArgumentParser()
        module.configure(configured)
        assert [action.dest for action in configured._actions if not action.help] == []
