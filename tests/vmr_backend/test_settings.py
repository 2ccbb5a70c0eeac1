"""Settings: defaults and presets that hold what they promise, and values from texts, files and panels."""

import math

import pytest

from vmr_backend.methods import METHODS
from vmr_backend.settings import DEFAULT_PRESET, GROUPS, PRESETS, Setting, Settings, settings_of

SETTINGS = {setting.name: setting for setting in Settings.describe()}
BILLS = Setting("bill", "short", "Bill", "Which bill", "shape", choices={"short": "of finches", "long": "of storks"})


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_default_lies_in_its_range_and_says_what_it_is(setting):
    parsed = setting.parse(setting.default)
    assert parsed == setting.default and type(parsed) is type(setting.default)
    assert setting.parse(str(setting.default)) == setting.default
    assert setting.group in GROUPS and set(setting.methods) <= set(METHODS)
    assert setting.label and setting.description and setting.source
    if setting.soft_maximum is not None:
        assert setting.minimum < setting.soft_maximum <= (setting.maximum or math.inf)
        assert setting.default <= setting.soft_maximum


@pytest.mark.parametrize("setting", [s for s in SETTINGS.values() if s.minimum is not None], ids=lambda s: s.name)
def test_the_ends_of_a_range_belong_to_it_and_what_is_beyond_does_not(setting):
    for end, beyond in ((setting.minimum, -1), (setting.maximum, 1)):
        if end is not None:
            assert setting.parse(end) == end
            with pytest.raises(ValueError, match=f"setting {setting.name}: found .*, needs {setting.minimum:g}"):
                setting.parse(end + beyond)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_changes_only_what_it_names(name):
    found, defaults = settings_of(name), Settings()
    for setting, value in found.items():
        assert value == PRESETS[name].values.get(setting, getattr(defaults, setting))


def test_presets_go_from_fast_to_fine():
    assert list(PRESETS) == ["preview", "standard", "high"] and DEFAULT_PRESET in PRESETS
    faster, standard, finer = (settings_of(name) for name in PRESETS)
    for name in ("crop_size", "hypotheses", "rigid_iterations", "coarse_iterations", "fine_iterations", "subdivision",
                 "bones", "texture_size"):
        assert getattr(faster, name) <= getattr(standard, name) <= getattr(finer, name)


@pytest.mark.parametrize(("name", "given", "expected"), [
    ("bones", "12", 12), ("bones", 12, 12), ("bones", 12.0, 12), ("bones", "1.2e1", 12), ("bones", " 12 ", 12),
    ("weight_flow", "0.25", 0.25), ("weight_flow", 2, 2.0), ("weight_flow", 0, 0.0), ("weight_flow", "1e3", 1000.0),
    ("upright", True, True), ("upright", "False", False), ("upright", "on", True), ("upright", 0, False),
])
def test_values_come_as_numbers_or_as_texts(name, given, expected):
    found = SETTINGS[name].parse(given)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(("name", "given", "message"), [
    ("bones", "1.5", "setting bones: found '1.5', needs a whole number"),
    ("bones", 1.5, "setting bones: found 1.5, needs a whole number"),
    ("bones", "many", "setting bones: found 'many', needs a whole number"),
    ("bones", "", "setting bones: found '', needs a whole number"),
    ("bones", math.nan, "setting bones: found nan, needs a whole number"),
    ("bones", "inf", "setting bones: found 'inf', needs a whole number"),
    ("bones", None, "setting bones: found None, needs a whole number"),
    ("bones", [3], "setting bones: found [3], needs a whole number"),
    ("bones", True, "setting bones: found True, needs a whole number"),
    ("bones", 0, "setting bones: found 0, needs 1 to 128"),
    ("bones", "99999999999999999999", "setting bones: found 100000000000000000000, needs 1 to 128"),
    pytest.param("bones", 10**400, f"setting bones: found {10**400}, needs a whole number", id="beyond all floats"),
    ("field_of_view", "wide", "setting field_of_view: found 'wide', needs a number"),
    ("field_of_view", "nan", "setting field_of_view: found 'nan', needs a number"),
    ("field_of_view", 180, "setting field_of_view: found 180.0, needs 2 to 120"),
    ("weight_flow", -0.5, "setting weight_flow: found -0.5, needs 0 or more"),
    ("weight_flow", math.inf, "setting weight_flow: found inf, needs a number"),
    ("upright", "perhaps", "setting upright: found 'perhaps', needs true or false"),
    ("upright", 2, "setting upright: found 2, needs true or false"),
    ("upright", None, "setting upright: found None, needs true or false"),
])
def test_a_value_that_cannot_be_used_is_told_with_what_is_needed(name, given, message):
    with pytest.raises(ValueError) as error:
        Settings().with_values({name: given})
    assert str(error.value) == message


def test_a_choice_is_one_of_its_names():
    assert BILLS.parse("long") == "long"
    with pytest.raises(ValueError, match="^setting bill: found 'curved', needs one of short, long$"):
        BILLS.parse("curved")
    with pytest.raises(ValueError, match="^setting bill: found 3, needs a text$"):
        BILLS.parse(3)


def test_only_a_least_or_only_a_largest_value_is_told_as_such():
    assert Setting("depth", 1, "Depth", "", "shape", maximum=3).parse(-50) == -50
    with pytest.raises(ValueError, match="needs 3 or less$"):
        Setting("depth", 1, "Depth", "", "shape", maximum=3).parse(4)
    with pytest.raises(ValueError, match="needs 0 or more$"):
        Setting("depth", 1, "Depth", "", "shape", minimum=0).parse(-1)


def test_an_unknown_setting_is_told_with_those_there_are():
    with pytest.raises(ValueError, match="^setting bonse: unknown; known are crop_size, .*bones"):
        Settings().with_values({"bones": 3, "bonse": 4})


def test_an_unknown_preset_is_told_with_those_there_are():
    with pytest.raises(ValueError, match="^preset: found 'best', needs one of preview, standard, high$"):
        settings_of("best")


def test_single_values_replace_a_presets_and_nothing_else_changes():
    found = settings_of("preview", {"bones": "3", "upright": "false"})
    expected = dict(settings_of("preview").items()) | {"bones": 3, "upright": False}
    assert dict(found.items()) == expected
    assert Settings() == Settings().with_values({})
