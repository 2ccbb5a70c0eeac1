"""Blender's properties are those of vmr_backend/settings.py."""

import importlib
import math

import bpy
import pytest


@pytest.fixture
def properties(installed_extension, empty_file):
    return importlib.import_module(f"{installed_extension}.properties")


@pytest.fixture
def props(properties):
    return bpy.context.scene.vmr


def test_every_setting_has_its_property(properties, props):
    rna = {p.identifier: p for p in props.settings.bl_rna.properties}
    assert set(properties.SETTINGS) <= set(rna)
    for name, setting in properties.SETTINGS.items():
        found = rna[name]
        factor = math.radians(1) if setting.unit == "DEGREES" else 1
        kind = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}[type(setting.default)]
        assert (found.type, found.name) == ("ENUM" if setting.choices else kind, setting.label)
        assert found.description.startswith(setting.description) and setting.source in found.description
        assert not found.description.endswith(".")
        if kind in ("INT", "FLOAT"):
            assert found.default == pytest.approx(setting.default * factor)
            for mine, theirs in (("hard_min", "minimum"), ("hard_max", "maximum"), ("soft_max", "soft_maximum")):
                if (limit := getattr(setting, theirs)) is not None:
                    assert getattr(found, mine) == pytest.approx(limit * factor)


def test_a_new_scene_has_the_default_preset_unchanged(properties, props):
    assert props.preset == properties.DEFAULT_PRESET
    assert properties.changed_settings(props) == {}


@pytest.mark.parametrize("preset", ["preview", "standard", "high"])
def test_a_preset_gives_its_values_exactly(properties, props, preset):
    props.settings.bones, props.settings.weight_arap = 3, 7.5
    props.preset = preset
    expected = dict(properties.settings_of(preset).items())
    assert {name: properties.value_of(props.settings, name) for name in expected} == expected
    assert properties.changed_settings(props) == {}


def test_what_the_user_changes_is_told_apart_and_accepted_by_the_backend(properties, props):
    props.settings.field_of_view = math.radians(41.3)
    props.settings.weight_colour = 0.1
    props.settings.upright = not props.settings.upright
    changed = properties.changed_settings(props)
    assert changed == {"field_of_view": 41.3, "weight_colour": 0.1, "upright": props.settings.upright}
    properties.settings_of(props.preset, changed)


def test_the_ends_of_each_range_are_accepted_by_the_backend(properties, props):
    for setting in properties.SETTINGS.values():
        for limit in (setting.minimum, setting.maximum):
            if limit is not None:
                properties.set_value(props.settings, setting.name, type(setting.default)(limit))
                setting.parse(properties.value_of(props.settings, setting.name))


def test_settings_go_back_to_the_preset_one_by_one_or_all(properties, props):
    props.preset = "preview"
    props.settings.bones, props.settings.field_of_view = 3, 1.0
    bpy.ops.vmr.reset_settings(name="bones")
    assert set(properties.changed_settings(props)) == {"field_of_view"}
    bpy.ops.vmr.reset_settings()
    assert properties.changed_settings(props) == {}


def test_the_seed_is_saved_with_the_file(props, tmp_path):
    props.seed, props.settings.bones = 5, 9
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert (bpy.context.scene.vmr.seed, bpy.context.scene.vmr.settings.bones) == (5, 9)
