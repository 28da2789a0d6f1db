"""Ctrl-C and what machines send: real signals to this process."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from adsr_hf import ADSRTrainer
from adsr_hf.cli.main import main
from adsr_hf.networks.weights import CheckpointError
from adsr_hf.records.checkpoint_folders import checkpoint_folders
from adsr_hf.training.checkpoints import verify_checkpoint
from adsr_hf.training.interrupt import InterruptRequest, StoppableCommand, Stopped, TrainingInterrupted, exit_status
from tests.snapshots import assert_identical, snapshot
from tests.tiny import tiny_trainer, tiny_vit

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits" / "vit_adsr.yaml")
MACHINE = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.fixture(autouse=True)
def _a_terminal_is_listening() -> Any:
    """Tests may run as a background job, where SIGINT is ignored from the start."""
    before = {one: signal.signal(one, signal.SIG_DFL) for one in MACHINE}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def receive(manager: Any, *signals: int) -> None:
    with manager:
        for signum in signals:
            signal.raise_signal(signum)


# ---- the request ----------------------------------------------------------------------------------------------------


def test_the_first_signal_is_a_request_and_the_second_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    requests: list[InterruptRequest] = []

    def train() -> None:
        with InterruptRequest() as request:
            requests.append(request)
            assert not request.requested
            signal.raise_signal(signal.SIGINT)
            assert request.requested
            assert "press Ctrl-C again to stop at once" in capfd.readouterr().err
            signal.raise_signal(signal.SIGINT)
            requests.clear()

    with pytest.raises(KeyboardInterrupt):
        train()
    assert requests
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("signum", MACHINE)
def test_what_a_machine_sends_is_the_same_request_however_often(
    signum: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped, match="training had just finished") as stopped:
        receive(InterruptRequest(), signum, signum, signum)
    assert stopped.value.signum == signum
    assert capfd.readouterr().err.count(f"{signum.name}: stopping after this step") == 1
    assert signal.getsignal(signum) is signal.SIG_DFL


def test_ctrl_c_after_another_signal_stops_at_once() -> None:
    with pytest.raises(Stopped, match=r"^$") as stopped:
        receive(InterruptRequest(), signal.SIGTERM, signal.SIGINT)
    assert stopped.value.signum == signal.SIGINT


@pytest.mark.parametrize("signum", MACHINE)
def test_a_handler_that_the_program_has_for_it_stays(signum: signal.Signals) -> None:
    seen: list[int] = []
    signal.signal(signum, lambda number, frame: seen.append(number))
    with InterruptRequest() as request, StoppableCommand():
        signal.raise_signal(signum)
        assert not request.requested
    assert seen == [signum]


def test_the_message_does_not_collide_with_a_print_that_the_signal_cut_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream refuses to be entered twice by one thread."""

    class Busy:
        def write(self, text: str) -> int:
            raise RuntimeError("reentrant call")

        flush = write

    monkeypatch.setattr("sys.stdout", Busy())
    monkeypatch.setattr("sys.stderr", Busy())
    with pytest.raises(Stopped, match="just finished"), InterruptRequest():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("manager", [InterruptRequest, StoppableCommand])
def test_forked_processes_can_still_be_ended(manager: Any) -> None:
    ready, started = os.pipe()
    with manager():
        child = os.fork()
        if child == 0:
            # Python forgets a signal that comes before a forked process is set up.
            os.write(started, b"1")
            for _ in range(2000):
                time.sleep(0.01)
            os._exit(7)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    os.close(ready)
    os.close(started)
    assert os.WTERMSIG(status) == signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_forked_processes_leave_the_matter_to_their_parent(
    signum: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal sends Ctrl-C to the processes that load images, too."""
    with InterruptRequest():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signum)
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert not capfd.readouterr().err


# ---- commands -------------------------------------------------------------------------------------------------------


class Command:
    """In the place of a command's module."""

    def __init__(self, *signals: int) -> None:
        self.signals = signals

    def run(self, words: list[str]) -> int:
        for signum in self.signals:
            signal.raise_signal(signum)
        return 0


@pytest.mark.parametrize("signum", [signal.SIGINT, *MACHINE])
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate", "adsr: stopped; what is finished is kept, and the same command continues\n"),
        ("study", "adsr: stopped; what is finished is kept, and the same command continues\n"),
        ("gate", "adsr: stopped; the same command does it again\n"),
    ],
)
def test_a_command_ends_with_the_signal_s_status_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, signum: int, command: str, message: str
) -> None:
    monkeypatch.setattr("adsr_hf.cli.main.import_module", lambda name: Command(signum))
    assert main([command]) == 128 + signum
    assert capsys.readouterr().err == message
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_is_sent_twice_does_not_cut_into_the_end(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Saving(Command):
        def run(self, words: list[str]) -> int:
            try:
                return super().run(words)
            finally:
                signal.raise_signal(signal.SIGTERM)
                print("saved")

    monkeypatch.setattr("adsr_hf.cli.main.import_module", lambda name: Saving(signal.SIGTERM))
    assert main(["study"]) == 143
    assert capsys.readouterr().out == "saved\n"


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([], "nothing was saved, and the same command starts again"),
        (["run.json"], "nothing to continue; choose another output_dir"),
    ],
)
def test_train_says_how_to_go_on_from_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, held: list[str], message: str
) -> None:
    def train_recipe(*_: Any) -> None:
        for name in held:
            (tmp_path / name).write_text("{}")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("adsr_hf.runs.train.train_recipe", train_recipe)
    assert main(["train", DIGITS, "--output_dir", str(tmp_path)]) == 143
    assert capsys.readouterr().err.startswith("adsr: stopped; ")
    monkeypatch.setattr("adsr_hf.runs.train.train_recipe", train_recipe)
    main(["train", DIGITS, "--output_dir", str(tmp_path)])
    assert message in capsys.readouterr().err


# ---- handlers -------------------------------------------------------------------------------------------------------


def test_the_handler_is_restored_after_success_and_after_an_error() -> None:
    def mine(*_: Any) -> None: ...

    signal.signal(signal.SIGINT, mine)
    with InterruptRequest():
        assert signal.getsignal(signal.SIGINT) is not mine
    assert signal.getsignal(signal.SIGINT) is mine
    with pytest.raises(ZeroDivisionError), InterruptRequest():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is mine


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with InterruptRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert not request.requested
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_request_that_nobody_honoured_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt, match="training had just finished"), InterruptRequest():
        signal.raise_signal(signal.SIGINT)


def test_a_request_does_not_hide_an_error() -> None:
    def train() -> None:
        with InterruptRequest():
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()


def test_threads_other_than_the_main_one_are_left_alone() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with InterruptRequest() as request:
                assert not request.requested
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- training in this process ---------------------------------------------------------------------------------------

# 4 steps an epoch.
CONFIG: dict[str, Any] = {
    "max_steps": 10,
    "logging_steps": 3,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "learning_rate": 3e-3,
}


class PressCtrlC(TrainerCallback):
    """Sends SIGINT, or another signal, to this process at an event of a step."""

    def __init__(self, event: str, step: int, signum: int = signal.SIGINT) -> None:
        setattr(self, f"on_{event}", self._press)
        self.step, self.signum = step, signum

    def _press(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            signal.raise_signal(self.signum)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = tiny_trainer(tmp_path_factory.mktemp("whole"), **CONFIG)
    trainer.train()
    return snapshot(trainer)


@pytest.mark.parametrize(
    ("event", "step", "stops_at", "signum"),
    [
        ("step_begin", 0, 1, signal.SIGINT),
        ("step_begin", 5, 6, signal.SIGTERM),
        ("log", 6, 7, signal.SIGHUP),
        # The end of an epoch is evaluated before the run stops: a continued run would never come back to it.
        ("step_begin", 7, 8, signal.SIGINT),
        ("evaluate", 4, 5, signal.SIGUSR1),
        ("step_begin", 9, 10, signal.SIGINT),
    ],
)
def test_an_interrupted_run_is_saved_and_continues_bit_by_bit(
    tmp_path: Path, whole: dict[str, Any], event: str, step: int, stops_at: int, signum: int
) -> None:
    trainer = tiny_trainer(tmp_path, callbacks=[PressCtrlC(event, step, signum)], **CONFIG)
    with pytest.raises(TrainingInterrupted) as stopped:
        trainer.train()
    checkpoint = tmp_path / f"checkpoint-{stops_at}"
    assert stopped.value.checkpoint == str(checkpoint)
    assert f"Continue with resume_from_checkpoint={checkpoint}" in str(stopped.value)
    assert stopped.value.signum == signum
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [signal.getsignal(one) for one in MACHINE] == [signal.SIG_DFL] * 3
    assert trainer.state.global_step == stops_at
    verify_checkpoint(checkpoint)
    continued = tiny_trainer(tmp_path, model=tiny_vit(seed=99), **CONFIG)
    continued.train(resume_from_checkpoint=True)
    assert_identical(snapshot(continued), whole)


def test_the_second_signal_stops_at_once_and_saves_nothing(tmp_path: Path) -> None:
    presses = [PressCtrlC("step_begin", 1), PressCtrlC("step_end", 2)]
    # Callbacks of one class share a name; Trainer keeps both.
    trainer = tiny_trainer(tmp_path, callbacks=presses, **CONFIG)
    with pytest.raises(KeyboardInterrupt) as stopped:
        trainer.train()
    assert not isinstance(stopped.value, TrainingInterrupted)
    assert checkpoint_folders(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not trainer.is_in_train


def test_a_signal_after_the_last_step_still_stops_the_program(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, callbacks=[PressCtrlC("train_end", 3)])
    with pytest.raises(KeyboardInterrupt, match="training had just finished"):
        trainer.train()


@pytest.mark.parametrize(
    ("config", "resumable"),
    [
        # An evaluation that is no improvement would cancel the save.
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "never"}, True),
        ({"save_strategy": "no", "eval_strategy": "no"}, True),
        ({"save_only_model": True}, False),
        ({"save_strategy": "steps", "save_steps": 3, "save_total_limit": 1}, True),
    ],
)
def test_there_is_a_checkpoint_whatever_the_strategy(tmp_path: Path, config: dict[str, Any], resumable: bool) -> None:
    def trainer(callbacks: list[Any]) -> ADSRTrainer:
        return tiny_trainer(
            tmp_path, callbacks=callbacks, compute_metrics=lambda _: {"never": 0.0}, **(CONFIG | config)
        )

    with pytest.raises(TrainingInterrupted) as stopped:
        trainer([PressCtrlC("step_begin", 2)]).train()
    assert stopped.value.checkpoint == str(tmp_path / "checkpoint-3")
    assert stopped.value.resumable == resumable
    assert ("cannot be continued" in str(stopped.value)) != resumable
    verify_checkpoint(tmp_path / "checkpoint-3")
    if not resumable:
        with pytest.raises(CheckpointError, match="save_only_model=True"):
            trainer([]).train(resume_from_checkpoint=True)


def test_a_stop_whose_signal_another_process_had_ends_as_sigterm_does() -> None:
    stopped = TrainingInterrupted("runs/a/checkpoint-3", signum=None)
    assert stopped.signum == signal.SIGTERM
    assert exit_status(stopped) == 128 + signal.SIGTERM
