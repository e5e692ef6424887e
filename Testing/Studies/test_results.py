"""The tables of the results: from the files of a small study that was run, against its rows."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.Studies import results
from Testing.Studies.cases_for_tests import make_study, simple_methods, write_cases, write_template
from Testing.Studies.evaluation import measure as measuring
from Testing.Studies.evaluation.run import run_study
from Testing.Studies.evaluation.statistics import statistics
from Testing.Studies.evaluation.table import write_tables


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Rows and folder of a study of two spheres, two networks and three methods."""
    folder = tmp_path_factory.mktemp("results")
    write_cases(folder)
    write_template(folder / "template.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "_MORE_EMD_SEEDS", ())  # the exact EMD is slow and tested elsewhere
        rows = run_study(
            make_study(folder, folder / "template.safetensors"), folder / "nets_of_spheres", methods_of=simple_methods
        )
    write_tables(rows, folder / "nets_of_spheres", lambda words: None)
    return rows, folder / "nets_of_spheres"


def printed(capsys, *words) -> list[list[str]]:
    assert results.main([str(word) for word in words]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def mean_of(rows, metric, method, variant=None):
    chosen = [row for row in rows if row["method"] == method and variant in (None, row["variant"])]
    return np.mean([row[metric] for row in chosen])


def test_a_study_has_a_line_and_each_network_another(study, capsys):
    rows, folder = study
    head, _, whole, island, right = printed(capsys, folder, "--method", "largest")
    assert head[0] == "study" and head[-1] == "median CD / HD95"
    assert [line[0] for line in (whole, island, right)] == [
        folder.name,
        f"{folder.name} island",
        f"{folder.name} right",
    ]
    assert [line[1] for line in (whole, island, right)] == ["4", "2", "2"]
    column = head.index("HD95 mm")
    for line, variant in ((whole, None), (island, "island"), (right, "right")):
        before, after = (mean_of(rows, "hd95_mm", method, variant) for method in ("input", "largest"))
        assert line[column].startswith(f"{before:.4g} -> {after:.4g} ("), variant
    assert "-" in island[column] and right[column].endswith("(0)")


def test_a_method_that_fails_leaves_the_input(study, capsys):
    _, _, whole, *_ = printed(capsys, study[1], "--method", "failing")
    before, after = whole[2].partition(" (")[0].split(" -> ")
    assert before == after and whole[-2] == "0%"


def test_rivals_have_a_line_each(study, capsys):
    rows, folder = study
    head, _, *lines = printed(capsys, folder, "--rivals")
    of_study = {line[1]: line for line in lines if line[0] == folder.name}
    assert set(of_study) == {"input", "largest", "failing", "empty"}
    assert of_study["largest"][head.index("DSC %")] == f"{100 * mean_of(rows, 'dsc', 'largest'):.4g}"


def test_what_is_read_is_what_was_computed(study):
    rows, folder = study
    read = results.read_statistics(folder / "statistics.csv")
    computed = statistics(rows)
    assert [(one.method, one.metric, one.inputs) for one in read] == [(c.method, c.metric, c.inputs) for c in computed]
    for one, other in zip(read, computed, strict=True):
        assert one.mean == pytest.approx(other.mean, nan_ok=True) or not np.isfinite(other.mean)


def test_a_folder_without_results_and_a_method_without_rows_are_refused(study, tmp_path, capsys):
    assert results.main([str(tmp_path)]) == 2
    assert "name the output folder of a study" in capsys.readouterr().err
    assert results.main([str(study[1]), "--method", "unknown"]) == 2
    assert "has the method unknown" in capsys.readouterr().err
    (tmp_path / "statistics.csv").write_text("a,b\n1,2\n")
    assert results.main([str(tmp_path)]) == 2
    assert "does not hold the statistics" in capsys.readouterr().err


def test_two_methods_of_a_study_are_compared_on_the_same_inputs(study, capsys):
    rows, folder = study
    head, _, whole, *_ = printed(capsys, folder, "--method", "largest", "--against", "failing")
    column = head.index("HD95 mm")
    before, after = (mean_of(rows, "hd95_mm", method) for method in ("input", "largest"))
    assert whole[column].startswith(f"{before:.4g} -> {after:.4g} ("), "a method that fails leaves the input"


def test_an_earlier_programs_rows_stand_in_the_place_of_the_input(study, tmp_path, capsys):
    rows, folder = study
    earlier = [{**row, "hd95_mm": row["hd95_mm"] + 1.0} for row in rows if row["method"] == "largest"]
    (tmp_path / folder.name).mkdir()
    write_tables(
        [*earlier, *(row for row in rows if row["method"] == "input")], tmp_path / folder.name, lambda words: None
    )
    words = (folder, "--method", "largest", "--against", "largest", "--earlier", tmp_path)
    head, _, whole, *_ = printed(capsys, *words)
    after = mean_of(rows, "hd95_mm", "largest")
    assert whole[head.index("HD95 mm")].startswith(f"{after + 1:.4g} -> {after:.4g} (-")
