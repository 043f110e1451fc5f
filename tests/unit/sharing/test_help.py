import shlex

import pytest

from spectralseg import cli


@pytest.mark.parametrize("name", ["bundle", "merge"])
def test_the_help_ends_with_a_valid_example(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    _, _, example = " ".join(capsys.readouterr().out.split()).partition("example: spectralseg ")
    arguments = cli.parser().parse_args(shlex.split(example))
    assert arguments.command.name == name
