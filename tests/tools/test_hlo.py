"""The tool that says what XLA makes of the models."""

import hlo
import pytest

from rnnapps.inspect import counts
from rnnapps.text_generation.config import PRESETS, replace

PROGRAM = """HloModule a
%body (arg: (s32[], f32[4,16]{1,0})) -> (s32[], f32[4,16]{1,0}) {
  %x = f32[4,16]{1,0} parameter(0)
  %dot.1 = f32[4,16]{1,0} dot(%x, %y), lhs_contracting_dims={1}
  ROOT %tuple.1 = (s32[], f32[4,16]{1,0}) tuple(%n, %dot.1)
}
ENTRY %main (a: f32[4]) -> f32[4] {
  %while.1 = (s32[], f32[4,16]{1,0}, /*index=2*/f32[2,3]{1,0}) while(%tuple.2), condition=%c, body=%body
  %gates = f32[4,64]{1,0} fusion(%while.1), kind=kLoop, calls=%fused_computation, metadata={op_name="dot( while("}
  %top = (f32[1,1]{1,0}, s32[1,1]{1,0}) custom-call(%gates), custom_call_target="TopK"
  ROOT %sum = f32[4]{0} add(%gates, %gates)
}
"""


def test_operations_are_counted_by_kind():
    found = counts(PROGRAM)
    assert (found["fusion"], found["while"], found["dot"], found["custom-call"]) == (1, 1, 1, 1)
    assert found["convolution"] == 0 and found["instructions"] == 5


@pytest.mark.usefixtures("one_step_a_turn")
@pytest.mark.parametrize("cell", ["simple_rnn", pytest.param("lstm", marks=pytest.mark.full)])
def test_the_loops_and_products_of_a_text_model(cell, tmp_path, capsys, monkeypatch):
    smaller = replace(PRESETS["tiny"], cell=cell, units=4, steps=6, batch_size=2)
    monkeypatch.setitem(PRESETS, "tiny", smaller)
    assert hlo.main(["text_generation", "--dump", str(tmp_path)]) == 0
    header, _, step, sampler = capsys.readouterr().out.splitlines()
    assert header.startswith("| program | fusion | while | dot |")
    found = [int(cell) for cell in step.split("|")[2:5]]
    assert found[1] == 2, "forward and back: what is no recurrence is outside of the loops"
    assert found[2] >= 8 and found[0] > 20
    assert sampler.startswith("| text_generation, sampler |") and int(sampler.split("|")[3]) == 1
    programs = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert set(programs) == {"text_generation_step.hlo", "text_generation_sampler.hlo"}
    assert all(counts(program)["fusion"] for program in programs.values())


@pytest.mark.full
@pytest.mark.usefixtures("one_step_a_turn")
@pytest.mark.parametrize("task", ["forecasting", "translation", "captioning"])
def test_every_other_task_has_its_programs(task):
    found = hlo.measured([task], "tiny", None)
    assert len(found) == 2 and all(row["fusion"] and row["dot"] for row in found.values())


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit):
        hlo.main(["texts"])
    assert "texts: wanted text_generation" in capsys.readouterr().err
