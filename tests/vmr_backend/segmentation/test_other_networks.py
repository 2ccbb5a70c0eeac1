"""Networks of the user's own in place of the one that comes along: tiny ones that the tests make."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch

from vmr_backend.cli import main
from vmr_backend.job import BadInput
from vmr_backend.segmentation.cues import CHANNELS
from vmr_backend.segmentation.mask_network import SIDE
from vmr_backend.segmentation.onnx_network import OnnxNetwork
from vmr_backend.segmentation.sam2 import config_of, load_predictor


def save_network(path, side=64, channels=3, probabilities=True):
    """A network that finds what is red: log-odds 8 (red - green) - 2, as probabilities or as they are."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = [1, channels, side, side]
    weights = np.float32([8 * 0.229, -8 * 0.224, 0, *[0] * 9][:channels]).reshape(1, channels, 1, 1)
    bias = np.float32([8 * (0.485 - 0.456) - 2])
    nodes = [helper.make_node("Conv", ["picture", "w", "b"], ["odds"]), helper.make_node("Sigmoid", ["odds"], ["sure"])]
    takes = helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)
    gives = helper.make_tensor_value_info("sure" if probabilities else "odds", TensorProto.FLOAT, [1, 1, side, side])
    graph = helper.make_graph(nodes if probabilities else nodes[:1], "red", [takes], [gives], [
        onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(bias, "b")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture
def runtime():
    return pytest.importorskip("onnxruntime")


def looked_at():
    """Cues: two red squares on green, of which the mask so far covers half the left one."""
    cues = torch.zeros(1, CHANNELS, SIDE, SIDE)
    cues[:, 1] = 0.6
    for columns in (slice(40, 80), slice(140, 180)):
        cues[:, 0, 60:120, columns], cues[:, 1, 60:120, columns] = 0.9, 0.1
    cues[:, 3, 60:120, 40:60] = 1
    return cues


@pytest.mark.parametrize("arguments", [{}, {"probabilities": False}, {"side": "any"}])
def test_what_stands_out_at_the_mask_so_far_is_the_subject(runtime, tmp_path, arguments):
    found = OnnxNetwork(save_network(tmp_path / "red.onnx", **arguments))(looked_at())[0, 0].numpy() > 0
    truth = np.zeros((SIDE, SIDE), bool)
    truth[60:120, 40:80] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_masks_of_a_clip_come_from_it(runtime, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "clip").mkdir()
    grass = np.dstack([0 * (green := rng.integers(80, 160, (96, 128))), green, 0 * green]).astype(np.uint8)
    for number in range(5):
        picture = grass.copy()
        picture[30:60, 20 + 5 * number:60 + 5 * number] = 20, 20, 220
        cv2.imwrite(str(tmp_path / "clip" / f"{number:03d}.png"), picture)
    network = save_network(tmp_path / "red.onnx")
    assert main(["segment", str(tmp_path / "clip"), "--out", str(tmp_path / "out"), "--box", "18,28,44,34",
                 "--network", str(network)]) == 0
    assert json.loads((tmp_path / "out" / "segment.json").read_text())["network"] == str(network)
    for number in range(5):
        found = cv2.imread(str(tmp_path / "out" / "masks" / f"{number:06d}.png"), 0) > 127
        truth = np.zeros_like(found)
        truth[30:60, 20 + 5 * number:60 + 5 * number] = True
        assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_bad_networks_give_one_line(runtime, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for path, line in ((tmp_path / "missing.onnx", "no such file"), (tmp_path / "broken.onnx", "cannot be read as an"),
                       (save_network(tmp_path / "four.onnx", channels=4), "needs one picture of floats")):
        with pytest.raises(BadInput, match=line):
            OnnxNetwork(path)


@pytest.mark.parametrize(("package", "file", "make"), [
    ("onnxruntime", "own.onnx", OnnxNetwork),
    ("sam2", "sam2.1_hiera_tiny.pt", lambda path: load_predictor(path, torch.device("cpu")))])
def test_a_missing_package_is_named(monkeypatch, tmp_path, package, file, make):
    for name in (package, f"{package}.build_sam"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(BadInput, match=f"{file}: needs .*install {package} there"):
        make(tmp_path / file)


def test_a_file_that_is_neither_is_refused(tmp_path, capsys):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((32, 32, 3), np.uint8))
    command = ["segment", str(tmp_path), "--out", str(tmp_path / "out"), "--box", "1,1,5,5"]
    assert main([*command, "--network", "x.bin"]) == 2
    assert "x.bin: found no network by its name" in capsys.readouterr().err


def test_checkpoints_of_sam_2_are_known_by_name(tmp_path):
    assert config_of(tmp_path / "sam2.1_hiera_base_plus.pt") == "configs/sam2.1/sam2.1_hiera_b+.yaml"
    assert config_of(tmp_path / "sam2_hiera_large.pt") == "configs/sam2/sam2_hiera_l.yaml"
    with pytest.raises(BadInput, match="sam_vit_h.pt: found no checkpoint of SAM 2"):
        config_of(tmp_path / "sam_vit_h.pt")


def test_sam_2_carries_a_box_through_a_clip(tmp_path):
    """With weights that know nothing: it is asked as it wants to be, and its answer has the right shape."""
    build = pytest.importorskip("sam2.build_sam", reason="SAM 2 is not installed")
    from vmr_backend.segmentation.marks import Mark
    from vmr_backend.segmentation.sam2 import find_by_sam2

    torch.manual_seed(0)
    checkpoint = tmp_path / "sam2.1_hiera_tiny.pt"
    model = build.build_sam2_video_predictor(config_of(checkpoint), None, device="cpu")
    torch.save({"model": model.state_dict()}, checkpoint)
    pictures = list(np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3), np.uint8))
    steps = []
    found = find_by_sam2(load_predictor(checkpoint, torch.device("cpu")), pictures, 0.5,
                         [Mark(1, (20, 20, 80, 60), ((60, 50),)), Mark(2, mask="drawn")], [1, 2],
                         {2: np.ones((120, 160), np.float32)}, lambda done, of: steps.append(done))
    assert found.shape == (3, 60, 80) and 0 <= found.min() and found.max() <= 1 and steps[-1] == 3
    assert np.ptp(found[0]) > 0
