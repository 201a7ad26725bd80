"""Write made-up shapes to disk: `python scripts/generate.py out=DIR count=24 seed=0`."""

from omegaconf import DictConfig

from mvdecor.engine.cli import main
from mvdecor.made_up.generate import GenerateSettings, write_partnet, write_people_like


def generate(config: DictConfig) -> None:
    """Write the data set that the config describes and print where it is."""
    out = GenerateSettings.of(config).out
    shared = {"count": config.count, "seed": config.seed, "test_fraction": config.test_fraction}
    if config.format == "partnet":
        root = write_partnet(out, categories=tuple(config.categories), **shared)
    else:
        root = write_people_like(out, category=config.categories[0], **shared)
    print(f"{config.count} made-up shapes of each of {', '.join(config.categories)} are in {root}")


if __name__ == "__main__":
    main(generate, "generate")
