"""One model, three runtimes: what the exported graphs answer, and what is refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image
from skimage import data as photos_of_scikit_image

import mpiqe
from mpiqe.errors import ConfigError, WeightsError
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig, save_checkpoint
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.runtimes.export import export
from mpiqe.runtimes.graph import GraphCard, read_card, write_card
from mpiqe.runtimes.onnx import OnnxPredictor
from mpiqe.runtimes.openvino import OpenVINOPredictor
from mpiqe.view import View

KINDS = {
    "whole": ModelOptions(windows=3, decoder_layers=2),
    "windows that do not divide the patches": ModelOptions(windows=3, decoder_layers=1, visual_depth=1),
    "no scenes": ModelOptions(windows=2, decoder_layers=1, scene_prompts=False),
    "visual only": ModelOptions(windows=2, decoder_layers=1, scene_prompts=False, distortion_prompts=False),
    "CLIP-IQA": ModelOptions(method="clip-iqa", windows=2),
    "LIQE": ModelOptions(method="liqe", windows=2),
    "LIQE without scenes": ModelOptions(method="liqe", windows=2, scene_prompts=False),
    "heads on the photo and its mirror image": ModelOptions(
        windows=2, decoder_layers=1, stem_head=True, stem_head_width=8, stem_head_layers=2, class_heads=True
    ),
}


def _run(folder, backbone, options, **more):
    model = build_model(FrozenCLIP.from_pretrained(backbone), options)
    config = CheckpointConfig(
        options=options,
        backbone=str(backbone),
        backbone_digest=model.clip.digest(),
        target_mean=50.0,
        target_std=20.0,
        dataset="livec",
        mos_low=3.0,
        mos_high=92.5,
        crops=3,
        **more,
    )
    folder.mkdir()
    save_checkpoint(folder / "mpiqe.safetensors", model, config)
    return folder


@pytest.fixture(scope="module")
def exported(tiny_folder, stem_folder, lite_folder, tmp_path_factory):
    """Each kind of model as a run folder and as an ONNX folder, made when it is first asked for: seconds each."""

    class Exported(dict):
        def __missing__(self, kind):
            root, backbone = tmp_path_factory.mktemp("kind"), stem_folder if kind == "whole" else tiny_folder
            if KINDS[kind].stem_head:
                backbone = root / "backbone"
                FrozenCLIP.from_pretrained(lite_folder).with_mirrored_pooling().save(backbone)
            run = _run(root / "run", backbone, KINDS[kind])
            export(run, root / "graph")
            self[kind] = (run, root / "graph")
            return self[kind]

    return Exported()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "whole")) for kind in KINDS])
def test_a_graph_answers_as_torch_does_for_any_number_of_crops(exported, kind):
    run, graph = exported[kind]
    torch_says, onnx_says = mpiqe.load(run).predictor, mpiqe.load(graph).predictor
    assert isinstance(onnx_says, OnnxPredictor)
    assert (onnx_says.scenes, onnx_says.distortions) == (torch_says.scenes, torch_says.distortions)
    assert (onnx_says.scale, onnx_says.crop_size) == (torch_says.scale, torch_says.crop_size)
    photo, side = photos_of_scikit_image.coffee(), torch_says.crop_size
    for count in (1, 2, 7):
        crops = np.stack([photo[i : i + side, 3 * i : 3 * i + side] for i in range(count)])
        for one, other in zip(torch_says.predict(crops), onnx_says.predict(crops), strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(other, one, atol=1e-3, rtol=0)
        if kind != "CLIP-IQA" and not kind.startswith("LIQE"):
            for one, other in zip(torch_says.attention_maps(crops), onnx_says.attention_maps(crops), strict=True):
                assert one.shape == other.shape
                np.testing.assert_allclose(other, one, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CLIP-IQA", "LIQE"])
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_of_a_model_that_uses_cls_alone_has_no_map_as_in_torch(exported, kind, runtime):
    predictor = mpiqe.load(exported[kind][1], runtime=runtime).predictor
    with pytest.raises(ConfigError, match="no map to draw"):
        predictor.attention_maps(np.zeros((1, 32, 32, 3), dtype=np.uint8))


@pytest.mark.slow
def test_openvino_reads_both_formats_and_agrees(exported, openvino_folder):
    (run, graph), (folder_of_openvino, checked) = exported["whole"], openvino_folder
    assert checked[0].precision == "fp32"
    assert checked[0].score < 1e-4
    crops = np.stack([photos_of_scikit_image.coffee()[:32, i : i + 32] for i in range(5)])
    expected = mpiqe.load(run).predictor
    for folder in (graph, folder_of_openvino):
        predictor = OpenVINOPredictor(folder, precision="fp32")
        assert predictor.computes == "openvino fp32 cpu"
        for one, other in zip(expected.predict(crops), predictor.predict(crops), strict=True):
            np.testing.assert_allclose(other, one, atol=1e-3, rtol=0)
        np.testing.assert_allclose(
            predictor.attention_maps(crops).attention, expected.attention_maps(crops).attention, atol=1e-4, rtol=0
        )
    assert isinstance(mpiqe.load(folder_of_openvino).predictor, OpenVINOPredictor)
    chosen = mpiqe.load(graph, runtime="openvino").predictor
    assert isinstance(chosen, OpenVINOPredictor)
    assert chosen.computes == f"openvino {chosen.precision} cpu"


@pytest.fixture(scope="module")
def openvino_folder(exported, tmp_path_factory):
    """The whole model in OpenVINO's own format, and what its check found."""
    folder = tmp_path_factory.mktemp("openvino") / "graph"
    return folder, export(exported["whole"][0], folder, form="openvino")


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(form, marks=pytest.mark.slow) for form in ("onnx int8", "openvino"))]
)
def test_the_readme_beside_a_graph_runs_without_this_package(request, exported, tmp_path, form):
    if form == "onnx":
        made = exported["whole"][1]
    else:
        made, _ = request.getfixturevalue("eight_bits" if form == "onnx int8" else "openvino_folder")
    folder = shutil.copytree(made, tmp_path / form)
    script = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1)
    blocked = "import sys\nfor name in ('mpiqe', 'torch'):\n    sys.modules[name] = None\n"
    (folder / "run.py").write_text(blocked + script)
    Image.fromarray(photos_of_scikit_image.chelsea()).save(tmp_path / "cat.png")
    done = subprocess.run(
        [sys.executable, "run.py", "../cat.png"], cwd=folder, capture_output=True, text=True, check=True
    )
    path, score, spread = done.stdout.split()
    expected = mpiqe.load(folder, precision="auto")(tmp_path / "cat.png")
    assert path == "../cat.png"
    assert float(score) == pytest.approx(expected.score, abs=1e-3)
    assert float(spread) == pytest.approx(expected.spread, abs=1e-3)


def _off_by(share):
    """``OnnxPredictor.predict`` with scores that are too high by a share of the scale."""
    predict = OnnxPredictor.predict

    def wrong(self, crops):
        found = predict(self, crops)
        return found._replace(score=found.score + share * (self.scale.high - self.scale.low))

    return wrong


@pytest.mark.slow
def test_a_graph_that_differs_from_torch_is_not_left_as_if_it_were_right(exported, tmp_path, monkeypatch):
    run, _ = exported["whole"]
    monkeypatch.setattr(OnnxPredictor, "predict", _off_by(0.01))
    with pytest.raises(WeightsError, match=r"answers otherwise than PyTorch, by 0\.01 of the score's range"):
        export(run, tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def eight_bits(tmp_path_factory, tiny_folder):
    """A small model with weights of eight bits."""
    root = tmp_path_factory.mktemp("eight")
    run = _run(root / "run", tiny_folder, KINDS["whole"])
    return root / "graph", export(run, root / "graph", precision="int8")


@pytest.mark.slow
def test_the_embedded_model_loses_too_much_to_eight_bits(tmp_path):
    with pytest.raises(WeightsError, match="eight bits are too few for this model: export it in fp32"):
        export("embedded", tmp_path / "graph", precision="int8")


@pytest.mark.slow
def test_weights_of_eight_bits_answer_nearly_as_torch_does(eight_bits):
    folder, checked = eight_bits
    assert [entry.precision for entry in checked] == ["int8"]
    assert 1e-7 < checked[0].score < 1e-2
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "mpiqe.json", "mpiqe.onnx"]
    scorer, exact = mpiqe.load(folder), mpiqe.load(folder.parent / "run", runtime="torch")
    assert scorer.predictor.computes == "onnx int8 cpu"
    for photo in (photos_of_scikit_image.coffee(), photos_of_scikit_image.rocket()):
        assert abs(scorer(photo).score - exact(photo).score) < 1e-2 * (exact.scale.high - exact.scale.low)


@pytest.mark.slow
def test_eight_bits_too_give_a_crop_the_same_answer_in_any_company(eight_bits):
    predictor = mpiqe.load(eight_bits[0]).predictor
    photo = photos_of_scikit_image.coffee()
    size = predictor.crop_size
    dark = photo[100 : 100 + size, 300 : 300 + size] // 8
    crops = np.stack([photo[:size, :size], dark, np.full((size, size, 3), 255, np.uint8)])
    together = predictor.predict(crops)
    for i in range(3):
        for one, all_of_them in zip(predictor.predict(crops[i : i + 1]), together, strict=True):
            np.testing.assert_array_equal(one[0], all_of_them[i])


@pytest.mark.slow
def test_a_graph_in_eight_bits_is_not_run_as_if_it_were_in_others(eight_bits, tmp_path):
    folder, _ = eight_bits
    for asked in ("fp32", "bf16"):
        with pytest.raises(ConfigError, match="exported in int8"):
            mpiqe.load(folder, precision=asked)
    with pytest.raises(ConfigError, match="exported in int8, which the runtime onnx runs"):
        mpiqe.load(folder, runtime="openvino")
    with pytest.raises(ConfigError, match="take the format onnx"):
        export("embedded", tmp_path / "no", form="openvino", precision="int8")


@pytest.mark.slow
def test_a_model_that_loses_too_much_to_eight_bits_is_not_written(exported, tmp_path, monkeypatch):
    run, _ = exported["whole"]
    monkeypatch.setattr(OnnxPredictor, "predict", _off_by(0.02))
    with pytest.raises(WeightsError, match="eight bits are too few for this model: export it in fp32"):
        export(run, tmp_path / "wrong", precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_the_facts_of_the_check_stand_on_the_card(exported):
    card = json.loads((exported["whole"][1] / "mpiqe.json").read_text())
    assert card["photos"] == 4
    assert card["checked"][0]["precision"] == "fp32"
    assert 0 <= card["checked"][0]["score"] < 1e-4
    assert set(card["versions"]) == {"mpiqe", "torch", "onnx", "onnxscript"}


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_flipped_bit_of_a_graph_is_seen_unless_its_card_is_of_mpiqe_0_1(exported, tmp_path, runtime):
    folder = shutil.copytree(exported["whole"][1], tmp_path / "flipped")
    content = bytearray((folder / "mpiqe.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "mpiqe.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"mpiqe\.onnx is not the file that its card says: damaged"):
        mpiqe.load(folder, runtime=runtime)
    shutil.copy(exported["whole"][1] / "mpiqe.onnx", folder)
    card = json.loads((folder / "mpiqe.json").read_text())
    del card["digests"]
    (folder / "mpiqe.json").write_text(json.dumps(card))
    mpiqe.load(folder, runtime=runtime)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("ReduceMax", [0, 1, 2, 3])], r"with a score of float32 \(\) and not of float32 \(3,\)"),
        ([("ReduceMax", [1, 2])], r"with a score of float32 \(3, 3\) and not of float32 \(3,\)"),
    ],
)
def test_a_graph_that_answers_in_another_shape_is_told(tmp_path, runtime, nodes, said):
    folder = _foreign_graph(tmp_path / "graph", nodes)
    predictor = mpiqe.load(folder, runtime=runtime).predictor
    with pytest.raises(WeightsError, match=said):
        predictor.predict(np.zeros((3, 32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_that_fails_at_run_time_is_told(tmp_path, runtime):
    from onnx import helper

    # five numbers cannot be laid over a batch of three
    five = helper.make_node("Constant", [], ["five"], value=helper.make_tensor("v", 1, [5], [1.0] * 5))
    folder = _foreign_graph(tmp_path / "graph", [("ReduceMax", [1, 2, 3])], more=[five], last=("Add", "five"))
    scorer = mpiqe.load(folder, runtime=runtime, precision="fp32", crops=3)
    with pytest.raises(WeightsError, match=r"the graph in .* failed on 3 crops: .*; export the model anew"):
        scorer(photos_of_scikit_image.coffee())


def _foreign_graph(folder, nodes, *, more=(), last=("Identity",)):
    """A graph whose score is what ``nodes`` make of the pixels, with a card."""
    from onnx import TensorProto, helper, save

    made = [helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT), *more]
    name = "x"
    for index, (kind, axes) in enumerate(nodes):
        axis = helper.make_tensor(f"axes{index}", TensorProto.INT64, [len(axes)], axes)
        made.append(helper.make_node("Constant", [], [f"a{index}"], value=axis))
        made.append(helper.make_node(kind, [name, f"a{index}"], [f"y{index}"], keepdims=0))
        name = f"y{index}"
    made.append(helper.make_node(last[0], [name, *last[1:]], ["score"]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["crops", 32, 32, 3])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, None)
    graph = helper.make_graph(made, "foreign", [pixels], [score])
    folder.mkdir()
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "mpiqe.onnx")
    card = GraphCard(
        crop_size=32,
        crops=3,
        low=0.0,
        high=1.0,
        unit="MOS",
        scenes=(),
        distortions=(),
        window_temperature=0.05,
        source="",
        outputs=("score",),
        precision="fp32",
    )
    write_card(folder, card)
    return folder


def test_a_graph_whose_axes_do_not_fit_is_refused_before_openvino_reads_it(exported, tmp_path):
    """OpenVINO 2026.4.1 reads it and dies of SIGSEGV: the model is loaded in a process apart."""
    folder = shutil.copytree(exported["whole"][1], tmp_path / "graph")
    graph = onnx.load(folder / "mpiqe.onnx")
    (norm, *_) = [node for node in graph.graph.node if node.op_type == "ReduceL2"]
    (axes,) = [tensor for tensor in graph.graph.initializer if tensor.name == norm.input[1]]
    axes.CopyFrom(onnx.numpy_helper.from_array(np.array([127]), axes.name))
    onnx.save(graph, folder / "mpiqe.onnx")
    write_card(folder, replace(read_card(folder), digests={}))
    program = f"from mpiqe import load; load({str(folder)!r}, runtime='openvino')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # not by a signal
    assert "WeightsError" in done.stderr
    assert "axis must be in [-rank, rank-1]" in done.stderr


def test_an_openvino_graph_that_is_no_text_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported["whole"][1], tmp_path / "graph")
    (folder / "mpiqe.onnx").unlink()
    for content in (b"\xff\xfe\xfa<net", b"<net>", b"", bytes(range(256))):
        (folder / "mpiqe.xml").write_bytes(content)
        write_card(folder, read_card(folder))
        with pytest.raises(WeightsError, match=r"mpiqe\.xml cannot be loaded, damaged or incomplete"):
            mpiqe.load(folder, runtime="openvino")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_gives_a_crop_the_same_answer_in_any_company(precision):
    try:
        predictor = mpiqe.load(runtime="openvino", precision=precision).predictor
    except ConfigError as error:
        pytest.skip(str(error))
    size = predictor.crop_size
    photo = np.asarray(Image.fromarray(photos_of_scikit_image.coffee()).resize((2 * size, 2 * size)))
    crops = np.stack([photo[i : i + size, 2 * i : 2 * i + size] for i in range(0, 120, 6)])
    together = predictor.predict(crops)
    for count in (1, 3, 8, 16):
        parts = [predictor.predict(crops[start : start + count]) for start in range(0, 20, count)]
        for one, other in zip(map(np.concatenate, zip(*parts, strict=True)), together, strict=True):
            if precision == "bf16":
                np.testing.assert_array_equal(one, other)
            else:
                np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)


def test_a_folder_that_is_not_empty_is_left_alone(exported, tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years")
    with pytest.raises(ConfigError, match="is not empty"):
        export(exported["whole"][0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_the_graph_cannot_take_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("ten years")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("mpiqe.runtimes.export.load_checkpoint", lambda *_, **__: pytest.fail("it works"))
    with pytest.raises(ConfigError, match="is a file; name a new folder"):
        export("embedded", tmp_path / "thesis.txt")
    with pytest.raises(ConfigError, match="is the folder that this runs in"):
        export("embedded", tmp_path / "here")


def test_damaged_and_foreign_graphs_are_refused(exported, tmp_path):
    whole, other = exported["whole"][1], _foreign_graph(tmp_path / "other", [("ReduceMax", [1, 2, 3])])
    for name, content in (("cut", (whole / "mpiqe.onnx").read_bytes()[:5000]), ("empty", b"")):
        folder = shutil.copytree(whole, tmp_path / name)
        (folder / "mpiqe.onnx").write_bytes(content)
        with pytest.raises(WeightsError, match=r"mpiqe\.onnx"):
            mpiqe.load(folder)
    folder = shutil.copytree(whole, tmp_path / "mixed")
    shutil.copy(other / "mpiqe.onnx", folder)
    with pytest.raises(WeightsError, match="do not belong together"):
        mpiqe.load(folder)
    (folder / "mpiqe.onnx").unlink()
    with pytest.raises(WeightsError, match=r"neither mpiqe\.xml nor mpiqe\.onnx"):
        mpiqe.load(folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runtime": "torch"}, "torch does not run"),
        ({"device": "cuda"}, "name the run for other devices"),
        ({"runtime": "onnx", "device": "cuda"}, "computes on the CPU"),
        ({"runtime": "onnx", "precision": "bf16"}, "computes in fp32"),
    ],
)
def test_what_a_graph_cannot_do_is_said(exported, options, said):
    with pytest.raises(ConfigError, match=said):
        mpiqe.load(exported["whole"][1], **options)


def test_a_run_is_to_be_exported_before_onnx_runs_it(exported):
    with pytest.raises(ConfigError, match="mpiqe export DIR"):
        mpiqe.load(exported["whole"][0], runtime="onnx")


@pytest.mark.slow
def test_cards_name_the_weights_that_they_were_made_from(exported):
    sources = {read_card(exported[kind][1]).source for kind in ("whole", "no scenes", "CLIP-IQA")}
    assert len(sources) == 3


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("change", "said"),
    [({"crop_size": 64}, "takes crops of 32"), ({"scenes": ["day"]}, r"'scene': 9.*its card says 32 and {'scene': 1")],
)
def test_a_card_of_another_graph_is_refused_before_the_first_photo(exported, tmp_path, runtime, change, said):
    folder = shutil.copytree(exported["whole"][1], tmp_path / "changed")
    card = json.loads((folder / "mpiqe.json").read_text())
    (folder / "mpiqe.json").write_text(json.dumps(card | change))
    with pytest.raises(WeightsError, match=said):
        mpiqe.load(folder, runtime=runtime)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_two_threads_may_share_a_predictor(exported, runtime):
    predictor = mpiqe.load(exported["whole"][1], runtime=runtime).predictor
    photo = photos_of_scikit_image.coffee()
    crops = [np.stack([photo[i : i + 32, j : j + 32] for j in range(0, 500, 9)]) for i in (0, 90, 180, 270)]
    alone = [predictor.predict(each).score for each in crops]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for one, other in zip(alone, pool.map(lambda each: predictor.predict(each).score, crops), strict=True):
                np.testing.assert_allclose(other, one, atol=1e-4, rtol=0)


_SIGNAL_AFTER_TWO = """\
import signal, sys
import mpiqe

heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append("heard"))
first = mpiqe.load(sys.argv[1], runtime="openvino")
second = mpiqe.load(sys.argv[1], runtime="openvino")
del first
del second
signal.raise_signal(signal.SIGUSR1)
print(*heard)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no signal to raise")
def test_a_signal_reaches_its_handler_after_openvino_predictors_are_let_go_of(exported):
    command = [sys.executable, "-c", _SIGNAL_AFTER_TWO, str(exported["whole"][1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("view", "mode"),
    [
        (View("square", 64), "grid"),
        (View("scaled", 64), "grid"),
        (View("scaled", 40), "seeded"),
        (View(), "grid"),
    ],
)
def test_a_graph_keeps_its_models_view_and_its_readme_shows_it_without_this_package(tiny_folder, tmp_path, view, mode):
    run = _run(tmp_path / "run", tiny_folder, KINDS["visual only"], view=view, crop_mode=mode)
    folder = tmp_path / "graph"
    export(run, folder)
    scorer = mpiqe.load(folder)
    assert (scorer.view, scorer.crop_mode) == (view, mode)
    text = (folder / "README.md").read_text()
    shown = {"native": "at native resolution", "scaled": "to at most {0} x {0} pixels", "square": "to {0} x {0} pixels"}
    assert shown[view.kind].format(view.side) in text
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    blocked = "import sys\nfor name in ('mpiqe', 'torch'):\n    sys.modules[name] = None\n"
    (folder / "run.py").write_text(blocked + script)
    photo = Image.fromarray(photos_of_scikit_image.chelsea())
    photo.save(tmp_path / "cat.png")
    photo.crop((0, 0, 450, 40)).save(tmp_path / "strip.png")
    done = subprocess.run(
        [sys.executable, "run.py", "../cat.png", "../strip.png"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        path, score, spread = line.split()
        expected = mpiqe.load(run)(folder / path)
        assert (float(score), float(spread)) == pytest.approx((expected.score, expected.spread), abs=2e-3)
