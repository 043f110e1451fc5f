import signal
import subprocess
import sys
import threading

import pytest

from spectralseg.signals import handled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_forwarded_to_children_despite_other_handlers(number):
    child = """
import signal
numbers = [signal.SIGTERM, signal.SIGUSR1]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print(flush=True)
print(signal.sigwait(numbers).name)
"""
    parent = f"""
import signal, subprocess, sys
from spectralseg.signals import pass_on
pass_on()
signal.signal(signal.SIGTERM, lambda *_: None)  # later, as Snakemake's scheduler
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(flush=True)
print(child.communicate()[0], child.returncode)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(number)
    assert process.communicate()[0].split() == [number.name, "0"]
    assert process.returncode == 0


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with handled({signal.SIGTERM: signal.SIG_IGN}):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_set_no_handlers():
    handlers = []

    def work():
        with handled({signal.SIGTERM: signal.SIG_IGN}):
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
