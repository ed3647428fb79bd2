"""Images for a network that none were given for: procedural ones, trained further where it has batch norms."""

from dataclasses import replace

from momos_compress.calibration.channels import batch_norms
from momos_compress.calibration.synthetic import BatchNormMatch
from momos_compress.calibration.wanted import STAGE, Wanted, affordable, batch_size, made_data
from momos_compress.data.draws import CalibrationData
from momos_compress.data.preprocessing import image_form
from momos_compress.data.procedural import natural_images
from momos_compress.networks.costs import sample_values

IMAGES = 192
"""Images that are made where no number is asked for and the time allows."""
LEAST_IMAGES = 32
"""Images that are made in any case."""
STEPS = 96
"""Steps that images are trained for where the time allows; with 24 the demo loses 0.4 points more, over three seeds."""
LEAST_STEPS = 8
"""Below these, fewer images are trained instead, where no number is asked for."""
TRAINED_TOGETHER = 64
"""Images of a batch whose statistics are matched, about."""
TRAINED_VALUES = 2**27
"""Values of all layers' outputs that a step may hold: 512 MiB; of a larger batch it takes a few images at a time."""
TRIAL_IMAGES = 4
"""Images of the step that is timed, where they are large."""
TRIAL_PLACES = TRIAL_IMAGES * 224 * 224
"""Places of its images: of small images a few would take as long as many, and promise too little."""


def trained_images(wanted: Wanted) -> CalibrationData:
    """Procedural images, trained to leave the statistics that batch norms keep.

    Raises:
        MomosError: The network fails on images.
    """
    form = image_form(wanted.model, wanted.source)
    match = BatchNormMatch(wanted.model)
    count = wanted.samples or IMAGES
    height, width = form.shape[1:]
    few = min(count, TRAINED_TOGETHER, max(TRIAL_IMAGES, TRIAL_PLACES // (height * width)))
    trial = form.scaled(natural_images(few, form.shape, seed=wanted.seed)).to(wanted.device)
    at_once = max(1, TRAINED_VALUES // max(1, sample_values(wanted.model, trial[:1]).every))
    # A batch that does not fit takes a pass more.
    tried = few if at_once >= min(count, TRAINED_TOGETHER) else min(at_once, -(-few // 2))
    image_steps = len(trial) * affordable(wanted.seconds, lambda: match.train(trial, 1, at_once=tried))
    count, apart, steps = planned(image_steps, wanted.samples, wanted.held_out)
    pixels = natural_images(count + apart, form.shape, seed=wanted.seed)
    if wanted.trial:
        data = made_data(form.scaled(pixels), apart, "procedural images", form.batch)
        share = (count + apart) * steps / max(1.0, image_steps)
        return replace(data, left_out_seconds=(wanted.seconds or 0.0) * share)
    total = (count + apart) * max(1, steps)
    together = batch_size(count, apart, TRAINED_TOGETHER)
    for start in range(0, len(pixels), together):
        part = slice(start, start + together)
        images = form.scaled(pixels[part]).to(wanted.device)
        made = match.train(images, steps, lambda done: wanted.tell(STAGE, done, total), at_once=at_once)
        pixels[part] = made.cpu()
    kind = "procedural images, trained to the statistics of batch norms" if steps else "procedural images"
    return made_data(pixels, apart, kind, form.batch)


def procedural_images(wanted: Wanted) -> CalibrationData:
    """Images with the statistics of natural ones, as the network takes them."""
    form = image_form(wanted.model, wanted.source)
    count = wanted.samples or IMAGES
    apart = min(wanted.held_out, count // 2)
    images = form.scaled(natural_images(count + apart, form.shape, seed=wanted.seed))
    return made_data(images, apart, "procedural images", form.batch)


def has_batch_norms(wanted: Wanted) -> bool:
    """Whether images can be trained to statistics that the network keeps."""
    return bool(batch_norms(wanted.model))


def planned(image_steps: float, samples: int | None, held_out: int) -> tuple[int, int, int]:
    """Images, further ones and steps that fit into a number of steps of one image.

    Steps give way first, down to ``LEAST_STEPS``; then images; then steps again, down to none.
    """

    def apart(count: int) -> int:
        return min(held_out, max(1, count // 2))

    count = samples or IMAGES
    if not samples:
        share = (count + apart(count)) / count
        count = int(max(min(LEAST_IMAGES, count), min(count, image_steps / (share * LEAST_STEPS))))
    steps = min(STEPS, image_steps / (count + apart(count)))
    return count, apart(count), int(steps)
