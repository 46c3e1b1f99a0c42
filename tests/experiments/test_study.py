from collections.abc import Callable
from pathlib import Path

import pytest

from mpiqe.errors import ConfigError
from mpiqe.experiments.study import Place, Run, Study, read_roots, read_settings
from mpiqe.experiments.variants import FULL, READINGS, VARIANTS
from mpiqe.model.options import LossOptions
from mpiqe.training.options import resolve

Make = Callable[..., Study]


def test_every_variant_is_some_switches_of_one_model() -> None:
    for name, variant in VARIANTS.items():
        if variant.leaves_out is not None:  # what it differs in is what it is trained on
            continue
        options = resolve({"data": "livec", **variant.settings}, where=name)
        assert (options == resolve({"data": "livec"})) == (name == FULL), name


def test_table_4_takes_five_variants_on_each_dataset_that_is_there(make_study: Make) -> None:
    runs = make_study("table4").runs()
    assert {run.variant for run in runs} == {FULL, "no-scene", "no-distortion", "no-visual", "shallow-visual"}
    assert {(run.dataset, run.split) for run in runs} == {("livec", 1), ("livec", 2)}
    assert len(runs) == 10


def test_a_run_that_several_tables_need_is_done_once(make_study: Make) -> None:
    runs = make_study("table1", "table2", "table4", "table5", "table6", datasets=("livec",)).runs()
    assert len(runs) == len(set(runs))
    assert sum(run.variant == FULL for run in runs) == 2
    assert {run.variant for run in runs} == {
        name for name, variant in VARIANTS.items() if variant.leaves_out is None
    } - {"visual-only", "tune-all", "liqe-frozen", "linear-probe", *READINGS}


def test_liqe_is_trained_as_by_its_authors_whatever_a_study_says_of_the_losses_of_mp_iqe(make_study: Make) -> None:
    study = make_study("table1", datasets=("livec",), settings={"score_weight": 1.0, "learning_rate": 1e-2})
    options = study.options(Run(1, "livec", "liqe"))
    assert (options.model.method, options.model.tune, options.loss) == ("liqe", "all", LossOptions())
    assert options.run.learning_rate * options.run.backbone_rate == 5e-6
    assert study.options(Run(1, "livec", "liqe-frozen")).run.learning_rate == 1e-2
    assert study.options(Run(1, "livec", FULL)).loss.score_weight == 1.0


def test_a_study_that_caches_the_stem_trains_the_stem_in_some_runs(make_study: Make) -> None:
    study = make_study("table1", "lines", datasets=("livec",), settings={"cache_stem": True}, repeats=1)
    cached = {run.variant: study.options(run).run.cache_stem for run in study.runs()}
    assert {variant for variant, kept in cached.items() if not kept} == {"liqe", "tune-all"}
    assert cached["liqe-frozen"]


def test_the_study_of_readings_changes_one_at_a_time(make_study: Make) -> None:
    study = make_study("readings", repeats=1)
    assert [run.variant for run in study.runs()] == [FULL, *READINGS]
    full = study.options(Run(1, "livec", FULL)).to_mapping()
    changed = {
        name: {key for key, value in study.options(Run(1, "livec", name)).to_mapping().items() if value != full[key]}
        for name in READINGS
    }
    assert changed.pop("whole-images") == {"batch_unit", "mix_crops"}
    assert all(len(keys) == 1 for keys in changed.values())
    with pytest.raises(ConfigError, match="'pooling' is not for a study of readings to say"):
        make_study("readings", settings={"pooling": "max"})
    assert make_study("table4", settings={"pooling": "max"}).options(Run(1, "livec", FULL)).model.pooling == "max"


def test_only_the_variants_that_are_named_are_run_beside_the_full_model(make_study: Make) -> None:
    study = make_study("table4", "lines", datasets=("livec",), repeats=1, variants=("visual-only", "no-scene"))
    assert [run.variant for run in study.runs()] == [FULL, "no-scene", "visual-only"]
    reasons = {cell.variant: study.lacks(cell) for table in study.tables for cell in study.cells(table)}
    assert reasons["tune-all"] is not None
    with pytest.raises(ConfigError, match="no variant is called 'half'"):
        make_study("table4", variants=("half",))


def test_a_table_of_the_users_own_is_a_dataset_of_every_table(make_study: Make, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "held_out.csv").write_text("image,mos\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "roots.toml").write_text('"csv:held_out.csv" = "photos"\nlabels = "labels"\n')
    places, labels = read_roots(tmp_path / "roots.toml")
    assert places["held_out"] == Place(f"csv:{tmp_path / 'held_out.csv'}", tmp_path / "photos")
    study = make_study("table4", "lines", "table3", repeats=1, labels_of=labels, places_of=places)
    assert {run.dataset for run in study.runs()} == {"held_out"}
    assert {"no-scene", "visual-only"} < {run.variant for run in study.runs()}
    options = study.options(Run(1, "held_out", FULL))
    assert (options.run.labels, options.run.root) == (None, str(tmp_path / "photos"))  # LIQE's are of published sets
    assert options.loss.score_weight == 0.5
    assert make_study("table4", places_of=places, datasets=("held_out",)).runs() != []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('"csv:gone.csv" = "."', "csv:gone.csv: no such table"),
        ('"csv:livec.csv" = "."', "livec is the name of a published dataset"),
        ('"csv:" = "."', "csv:: no such table"),
    ],
)
def test_a_table_that_cannot_be_meant_is_named(line: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "livec.csv").write_text("image,mos\n")
    (tmp_path / "roots.toml").write_text(line + "\n")
    with pytest.raises(ConfigError, match=fault):
        read_roots(tmp_path / "roots.toml")


def test_whole_repeats_come_first(make_study: Make) -> None:
    splits = [run.split for run in make_study("table4").runs()]
    assert splits == sorted(splits)


def test_a_dataset_that_the_paper_leaves_out_of_a_table_is_run_if_it_is_named(make_study: Make) -> None:
    assert make_study("table6").runs() == []  # the paper's is on LIVE and CSIQ
    named = make_study("table6", datasets=("livec",))
    assert len(named.runs()) == 14  # 2, 4, 8, 16 contexts; 1, 2, 8 prompts, where 4 is the full model again
    further = [cell for cell in named.cells(named.tables[0]) if cell.test == "livec"]
    assert len(further) == 8
    assert all(cell.paper == {} for cell in further)


def test_what_cannot_be_run_says_why(make_study: Make) -> None:
    study = make_study("table1", datasets=("livec",), unreadable={"livec": "a file is missing\nmore"})
    reasons = {cell.test: study.lacks(cell) for cell in study.cells(study.tables[0])}
    assert reasons["livec"] == "livec cannot be used: a file is missing"
    assert reasons["kadid"] == "kadid was not asked for"
    assert make_study("table1").lacks(study.tables[0].cells[0]) == "no place of live in the roots file"
    assert study.runs() == []


def test_the_papers_protocol_trains_on_the_whole_80_percent_and_reports_the_last_epoch(make_study: Make) -> None:
    options = make_study("table4").options(Run(2, "livec", "no-scene"))
    assert (options.run.validation, options.run.epoch, options.run.split) == (False, "last", 2)
    assert options.model.scene_prompts is False
    own = {"no-scene": {"learning_rate": 0.5}}
    assert make_study("table4", own=own).options(Run(1, "livec", "no-scene")).run.learning_rate == 0.5
    assert make_study("table4", own=own).options(Run(1, "livec", FULL)).run.learning_rate == 1e-2


def test_each_dataset_has_the_papers_batch_and_weight() -> None:
    for name, batch, weight in (
        ("live", 32, 0.1),
        ("csiq", 32, 0.1),
        ("bid", 32, 0.5),
        ("livec", 64, 0.5),
        ("kadid", 64, 0.5),
        ("koniq", 64, 0.5),
    ):
        options = resolve({"data": name})
        assert (options.run.batch_size, options.loss.score_weight) == (batch, weight), name


def test_all_faults_of_a_study_come_together(make_study: Make) -> None:
    wanted = r"repeats = 11.*no dataset is called 'flickr'.*no variant .*'half'.*'split' is not for a study"
    with pytest.raises(ConfigError, match=wanted):
        make_study("table4", repeats=11, datasets=("flickr",), own={"half": {}}, settings={"split": 3})


@pytest.mark.parametrize("key", ["whole", "also", "context_length", "visual_depth", "fraction", "method"])
def test_what_tells_rows_apart_cannot_be_set_for_all_of_them(make_study: Make, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is not for a study to say"):
        make_study("table4", settings={key: 1})


@pytest.mark.parametrize("key", ["whole", "splits", "backbone", "labels_as_published", "visual_length"])
def test_what_all_runs_share_cannot_be_set_for_one(make_study: Make, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is not for no-scene alone"):
        make_study("table4", own={"no-scene": {key: 1}})


def test_a_roots_file_says_where_datasets_lie(tmp_path: Path) -> None:
    for name in ("a", "b", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "roots.toml").write_text(
        f'livec = "a"\n"koniq:512x384" = "{(tmp_path / "b").as_posix()}"\nlabels = "labels"\n'
    )
    places, labels = read_roots(tmp_path / "roots.toml")
    assert places["livec"].root == tmp_path / "a"
    assert (places["koniq"].spec, places["koniq"].root) == ("koniq:512x384", tmp_path / "b")
    assert labels == tmp_path / "labels"


def test_all_faults_of_a_roots_file_come_together(tmp_path: Path) -> None:
    (tmp_path / "roots.toml").write_text('livec = "nowhere"\nflickr = "."\n')
    with pytest.raises(ConfigError, match=r"livec = 'nowhere': no such folder; no dataset is called 'flickr'"):
        read_roots(tmp_path / "roots.toml")


def test_settings_of_one_variant_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('epochs = 3\nnote = "so"\n[variants.tune-all]\nscore_weight = 1.0\n')
    assert read_settings(tmp_path / "s.toml") == ({"epochs": 3}, {"tune-all": {"score_weight": 1.0}}, "so")
    (tmp_path / "s.toml").write_text("variants = 3\n")
    with pytest.raises(ConfigError, match="must be tables"):
        read_settings(tmp_path / "s.toml")


def test_a_mixture_trains_on_every_dataset_that_is_there_but_the_one_it_is_tested_on(make_study: Make) -> None:
    study = make_study("mixture", settings={"plcc_weight": 0.5})
    reasons = {cell.test: study.lacks(cell) for cell in study.cells(study.tables[0])}
    assert reasons["livec"] == "no place of live in the roots file"
    assert study.runs() == []
    for name in ("bid", "koniq"):
        study.places[name] = study.places["livec"]  # type: ignore[index]  # stands for it
    assert [(run.dataset, run.variant) for run in study.runs() if run.split == 1] == [
        ("livec", "without-bid"),
        ("livec", "without-koniq"),
        ("bid", "without-livec"),
    ]
    run = Run(1, "livec", "without-koniq")
    assert (study.trained_on(run), study.others(run)) == (["livec", "bid"], ["koniq"])
    options = study.options(run)
    assert options.run.extra_data == (f"livec={study.places['bid'].root}",)
    assert (options.run.sampling, options.run.set_lines, options.loss.plcc_weight) == ("sets", "learned", 0.5)
    two = make_study("mixture", datasets=("livec", "bid"))
    two.places["bid"] = two.places["livec"]  # type: ignore[index]
    cell = next(cell for cell in two.cells(two.tables[0]) if cell.test == "bid")
    assert two.lacks(cell) == "there are fewer than two other datasets to train on"
