"""Bits for each weight, in place of a number of motifs."""

import pytest

from momos_compress import MomosError, Settings, open_checkpoint
from momos_compress.planning.choices import check_compression, choose


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3.0, "c": 0.01}, "give either `bits` or `c`"),
        ({"bits": 3.0, "k": 64}, "give either `bits` or `k`"),
        ({"bits": 3.0, "s": 4}, r"`bits` is for motifs of one value; drop `s=4`"),
        ({"bits": 3.0, "protocol": "paper"}, "`bits` is not for `protocol='paper'`"),
        ({"bits": 0.0}, r"bits a weight `bits` must lie in \(0, 16\], not 0"),
        ({"quality": "best"}, "unknown `quality` 'best'; choose from high, balanced, small"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(MomosError, match=message):
        check_compression(Settings(**settings))  # type: ignore[arg-type]


def test_bits_without_a_network_are_refused() -> None:
    with pytest.raises(MomosError, match="`bits` shares them out by what the network computes"):
        choose(open_checkpoint("digits"), Settings(bits=3.0, calibrate="none"))


@pytest.mark.parametrize(("quality", "bits"), [("high", 4.5), ("balanced", 3.5), ("small", 2.75)])
def test_quality_is_bits_in_words(quality: str, bits: float) -> None:
    chosen = choose(open_checkpoint("digits"), Settings(quality=quality))  # type: ignore[arg-type]
    assert (chosen.bits, chosen.s, chosen.c, chosen.coding) == (bits, 1, None, "spread")


def test_motifs_are_counted_where_anything_counts_them() -> None:
    digits = open_checkpoint("digits")
    for settings in (Settings(c=0.05), Settings(k=64), Settings(s=8), Settings(calibrate="none")):
        chosen = choose(digits, settings)
        assert chosen.bits is None
        assert chosen.s == (settings.s or 4)
        assert chosen.rate_weight == 3
