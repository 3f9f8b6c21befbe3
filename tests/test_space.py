"""What the options of a search mean."""

import dataclasses

import pytest

from rnnapps import config as configs
from rnnapps.captioning.config import Tune as Captioning
from rnnapps.cli import parse
from rnnapps.errors import UsageError
from rnnapps.space import Range, parsed
from rnnapps.text_generation import config as text
from rnnapps.translation.config import Tune as Translation


def test_choices_and_ranges_have_the_types_of_their_options():
    space = "units=64,128", "learning-rate=1e-4..1e-2", "--dropout=0..0.5", "layers=1..3", "tied=true,false"
    found = parsed(text.Tune, (*space, "cell=lstm,gru", "weight_scale=none,0.1", "text=a.txt,b.txt"))
    assert found["units"] == (64, 128) and [type(value) for value in found["units"]] == [int, int]
    assert found["learning_rate"] == Range(1e-4, 1e-2, is_whole=False, by_factors=True)
    assert found["dropout"] == Range(0.0, 0.5, is_whole=False, by_factors=False)
    assert found["layers"] == Range(1, 3, is_whole=True, by_factors=False)
    assert found["tied"] == (True, False) and found["cell"] == ("lstm", "gru") and found["weight_scale"] == (None, 0.1)
    assert [tuple(map(str, value)) for value in found["text"]] == [("a.txt",), ("b.txt",)]
    assert parsed(Translation, ("batch_tokens=1000..2000",))["batch_tokens"] == Range(1000, 2000, True, False)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("units", "--space units: wanted OPTION=VALUES"),
        ("units=", "--space units=: wanted OPTION=VALUES"),
        ("unit=1,2", "no option --unit that can be searched, did you mean units"),
        ("run=a,b", "no option --run that can be searched"),
        ("preset=tiny,base", "no option --preset that can be searched"),
        ("units=a,2", "--units a: wanted a whole number"),
        ("units=1.5,2", "--units 1.5: wanted a whole number"),
        ("cell=lstm,gri", "--cell gri: did you mean gru"),
        ("tied=yes,no", "--tied 'yes': wanted true or false"),
        ("units=1,1", "a value stands there twice"),
        ("units=8..4", "wanted LOW..HIGH with LOW below HIGH"),
        ("learning_rate=0..inf", "--learning-rate inf: wanted a finite number"),
        ("cell=lstm..gru", "a range is for numbers"),
    ],
)
def test_a_space_that_is_none_is_refused(part, sentence):
    with pytest.raises(UsageError, match=sentence):
        parsed(text.Tune, (part,))


def test_the_scores_of_trials_must_be_of_one_kind():
    with pytest.raises(UsageError, match="no option --best that can be searched"):
        parsed(Captioning, ("best=loss,cider",))
    with pytest.raises(UsageError, match="--units was given twice"):
        parsed(Captioning, ("units=1,2", "units=3,4"))


def test_the_command_line_takes_the_options_of_train_and_of_the_search(tmp_path):
    line = f"--preset tiny --space units=8,16 layers=1,2 --trials 3 --epochs 2 --run {tmp_path / 'search'}"
    options = parse(text, "tune", line.split(), "prog")
    assert isinstance(options, text.Tune)
    assert (options.space, options.trials, options.epochs, options.minutes) == (
        ("units=8,16", "layers=1,2"),
        3,
        2,
        None,
    )
    same = [field.name for field in dataclasses.fields(text.Config) if field.name not in ("run", "epochs", "minutes")]
    assert all(getattr(options, name) == getattr(text.PRESETS["tiny"], name) for name in same)
    assert parse(text, "tune", [], "prog").run == text.Tune.run != text.Config.run
    configs.save(options, options.run / "config.json")
    again = parse(text, "tune", ["--resume", "--trials", "5", "--run", str(options.run)], "prog")
    assert again == dataclasses.replace(options, resume=True, trials=5)
