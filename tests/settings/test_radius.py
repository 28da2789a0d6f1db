import pytest

from adsr_hf.settings.radius import Radius


@pytest.mark.parametrize(("value", "radius"), [(0.25, 0.25), (1, 1.0), ("8/255", 8 / 255), (" 1 / 4 ", 0.25)])
def test_numbers_and_fractions(value: str | float, radius: float) -> None:
    assert Radius(value) == radius


@pytest.mark.parametrize(
    "value", ["abc", "", "8/0", "8/", "/255", "8/255/2", "nan", "inf", "1.2.3", "5%", "0x8", True, None, [0.1]]
)
def test_anything_else_is_rejected(value: object) -> None:
    with pytest.raises(ValueError, match=r"a number such as 0\.03 or a fraction such as 8/255, got"):
        Radius(value)  # type: ignore[arg-type]
