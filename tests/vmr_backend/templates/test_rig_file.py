"""What Blender hands over of a user's object: read back in both processes, known by its content, refused in a line."""

import json

import numpy as np
import pytest
from tiny_templates import tiny_template

from vmr_backend.job import BadInput
from vmr_backend.templates.rig_file import FACTS, RIG_NAME, digest_of, load_rig, save_rig, template_in

FACTS_OF_POLE = {"name": "pole", "bone_names": ["lower", "upper"], "source": "pole.blend: pole", "shape": "adapt",
                 "front": "-Y", "warnings": ["found nothing"], "armature": "pole rig"}


def arrays_of(template):
    names = ("vertices", "faces", "uv", "skin_bones", "skin_weights", "bone_parents", "bone_rest", "bone_lengths",
             "bone_twins")
    return {name: getattr(template, name) for name in names} | {"placement": np.eye(4, dtype=np.float32)}


def test_a_run_takes_either_kind_of_file(tmp_path):
    template = tiny_template()
    template.save(tmp_path / "pole.safetensors")
    save_rig(tmp_path / RIG_NAME, arrays_of(template), FACTS_OF_POLE)
    assert template_in(tmp_path / "pole.safetensors").card == template.card
    found = template_in(tmp_path / RIG_NAME)
    assert (found.card.shape, found.card.bone_names) == ("adapt", ("lower", "upper"))
    assert np.array_equal(found.vertices, template.vertices)


def test_blender_reads_it_back(tmp_path):
    save_rig(tmp_path / RIG_NAME, arrays_of(tiny_template()), FACTS_OF_POLE)
    arrays, facts = load_rig(tmp_path / RIG_NAME)
    assert facts == FACTS_OF_POLE and FACTS not in arrays and np.array_equal(arrays["placement"], np.eye(4))


def test_rigs_are_told_apart_by_what_a_template_is_made_of():
    arrays = arrays_of(tiny_template())
    digest = digest_of(arrays, FACTS_OF_POLE)
    assert digest == digest_of(dict(reversed(arrays.items())), FACTS_OF_POLE | {"source": "x", "warnings": []})
    assert digest != digest_of(arrays, FACTS_OF_POLE | {"shape": "keep"})
    assert digest != digest_of(arrays | {"vertices": arrays["vertices"] + 1}, FACTS_OF_POLE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", "facts that are no object", "no facts"])
def test_what_holds_no_rig_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / RIG_NAME
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        arrays = arrays_of(tiny_template())
        facts = {FACTS: np.frombuffer(json.dumps([1]).encode(), np.uint8)} if content.startswith("facts") else {}
        np.savez(path, **arrays, **facts)
    for read in (load_rig, template_in):
        with pytest.raises(BadInput, match="holds no rig") as error:
            read(path)
        assert len(str(error.value).splitlines()) == 1
